-- Batches: many jobs of one request. `request` is the request as JSON and `axes` what varies in it, with the labels of each value
-- (app/batches/schemas.py). `estimated_nano` is what the jobs were expected to cost, null when that was unknown. The state of a
-- batch follows from its jobs and from these times.
create table batches (
    id text primary key,
    owner_id text not null,
    kind text not null,
    request text not null,
    axes text not null,
    total integer not null,
    estimated_nano bigint,
    created_at timestamp not null,
    paused_at timestamp,
    cancelled_at timestamp
);

-- `batch_position` is the place of the job in its batch, from 0; a retry has that of the job it repeats. A `paused` job is not
-- started as long as it is queued.
alter table jobs add column batch_position integer;
alter table jobs add column paused boolean default false;
