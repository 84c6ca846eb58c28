-- Every generation job. There are only these five states: a job that waits for a retry is `queued` with `run_at` in the future.
-- `upstream_job_id` is stored as soon as it is known, before anything else is done with it.
create table jobs (
    id text primary key,
    owner_id text not null,
    kind text not null check (kind in ('text', 'image', 'video')),
    generation_type text not null,
    provider text not null,
    model text not null,
    model_name text not null,
    upstream_model text not null,
    route text not null,
    prompt text not null,
    system_prompt text,
    params text not null,
    status text not null check (status in ('queued', 'processing', 'completed', 'failed', 'cancelled')),
    progress integer,
    upstream_state text,
    attempts integer not null default 0,
    cancel_requested boolean not null default false,
    error_code text,
    error_message text,
    error_detail text,
    text text,
    usage text,
    cost_nano bigint,
    input_asset_id text,
    retry_of text,
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

-- The events of a job, in order. `event` is a code (EventType in app/jobs/schemas.py), `detail` a JSON object.
create table job_events (
    job_id text not null,
    owner_id text not null,
    happened_at timestamp not null,
    event text not null,
    detail text not null
);
