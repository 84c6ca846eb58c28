-- The images of a user message in a conversation, in order: images of the user's library.
create table message_images (
    message_id text not null,
    position integer not null,
    owner_id text not null,
    asset_id text not null,
    primary key (message_id, position)
);
