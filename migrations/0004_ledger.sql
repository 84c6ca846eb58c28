-- All costs in whole nano-dollars; rows are only inserted. A subject (`job`, `answer` or `call`) has one `hold` while it is
-- unfinished and one `settlement` when it ends; a cost that becomes known later is a `correction`. The sum of `spent_nano` over a
-- subject is its cost; null means unknown, which is never 0. Deleting a job or a user leaves these rows. `key_id` is the API key
-- that was used; it may have been deleted since.
create table ledger (
    id text primary key,
    owner_id text not null,
    subject_kind text not null,
    subject_id text not null,
    entry text not null,
    held_nano bigint not null,
    spent_nano bigint,
    happened_at timestamp not null,
    key_id text
);
