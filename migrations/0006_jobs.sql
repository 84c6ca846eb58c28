-- Every job. There are only these five states: a job that waits for a retry is `queued` with `run_at` in the future.
-- `upstream_job_id` is stored as soon as it is known, before anything else is done with it. `priority`: higher runs first among
-- the jobs of one user. `late_result_policy`: what happens to a result that arrives after a cancellation (`keep` or `discard`),
-- null when none is expected. `recovery_count`: how often a start found the job unfinished. `batch_id`, `clip_id` and `plan_id`
-- name what the job was created for. `search_text` is the prompt as it is searched (`folded` in app/base/text.py).
create table jobs (
    id text primary key,
    owner_id text not null,
    kind text not null,
    generation_type text not null,
    provider text not null,
    model text not null,
    model_name text not null,
    upstream_model text not null,
    route text not null,
    prompt text not null,
    search_text text not null default '',
    system_prompt text,
    params text not null,
    status text not null check (status in ('queued', 'processing', 'completed', 'failed', 'cancelled')),
    progress integer,
    upstream_state text,
    attempts integer not null default 0,
    priority integer not null default 0,
    recovery_count integer not null default 0,
    cancel_requested boolean not null default false,
    late_result_policy text,
    error_code text,
    error_message text,
    error_detail text,
    text text,
    usage text,
    cost_nano bigint,
    retry_of text,
    batch_id text,
    clip_id text,
    plan_id text,
    upstream_job_id text,
    upstream_poll_url text,
    generation_id text,
    run_at timestamp,
    created_at timestamp not null,
    started_at timestamp,
    ended_at timestamp,
    deleted_at timestamp,
    check ((ended_at is not null) = (status in ('completed', 'failed', 'cancelled')))
);

-- The assets that a job starts from, in order. `role` says what each is for (JobInputRole in app/jobs/schemas.py), `weight` how
-- strongly it counts, null for the model's default.
create table job_inputs (
    job_id text not null,
    position integer not null,
    owner_id text not null,
    role text not null,
    asset_id text not null,
    weight double precision,
    primary key (job_id, position)
);

-- The events of a job, in order. `event` is a code (EventType in app/jobs/schemas.py), `detail` a JSON object.
create table job_events (
    job_id text not null,
    owner_id text not null,
    happened_at timestamp not null,
    event text not null,
    detail text not null
);
