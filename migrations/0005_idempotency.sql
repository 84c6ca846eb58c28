-- Requests that carried an Idempotency-Key: a repeated request returns what the first one created.
create table idempotency_keys (
    owner_id text not null,
    idempotency_key text not null,
    request_hash text not null,
    result_id text not null,
    created_at timestamp not null,
    primary key (owner_id, idempotency_key)
);
