-- The images of a user message in a conversation, in order: images of the user's library.
create table message_images (
    message_id text not null,
    position integer not null,
    owner_id text not null,
    asset_id text not null,
    primary key (message_id, position)
);

-- An answer that no model was asked for: a copy in a forked conversation, or a version that the user has edited. It costs nothing and
-- is not in the ledger.
alter table messages add column copy_of text;
