-- The first answer to a paid request that carried an Idempotency-Key: a repeat is answered with the same job.
create table idempotency (
    owner_id text not null,
    idempotency_key text not null,
    request_hash text not null,
    job_id text not null,
    created_at timestamp not null,
    primary key (owner_id, idempotency_key)
);

-- `priority`: the higher goes first among one person's own. `late_result_policy`: what becomes of a result that comes after a cancel
-- (`keep` or `discard`), null when none is expected. `recovery_count`: how often a start found this job in the middle of its work.
alter table jobs add column priority integer default 0;
alter table jobs add column late_result_policy text;
alter table jobs add column recovery_count integer default 0;
