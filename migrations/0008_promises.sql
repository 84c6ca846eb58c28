-- Paid requests that carried an Idempotency-Key: a repeated request returns the same job.
create table idempotency (
    owner_id text not null,
    idempotency_key text not null,
    request_hash text not null,
    job_id text not null,
    created_at timestamp not null,
    primary key (owner_id, idempotency_key)
);

-- `priority`: higher runs first among the jobs of one user. `late_result_policy`: what happens to a result that arrives after a
-- cancellation (`keep` or `discard`), null when none is expected. `recovery_count`: how often a start found the job unfinished.
alter table jobs add column priority integer default 0;
alter table jobs add column late_result_policy text;
alter table jobs add column recovery_count integer default 0;
