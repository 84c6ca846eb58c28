-- The models that the providers offered at the last refresh. A retired model keeps its row and its `enabled` flag in case it
-- returns.
create table models (
    id text primary key,
    upstream_id text not null,
    provider text not null,
    name text not null,
    description text not null,
    input_modalities text not null,
    output_modalities text not null,
    context_length bigint,
    pricing text not null,
    parameters text not null,
    route text not null,
    enabled boolean not null default true,
    first_seen_at timestamp not null,
    changed_at timestamp not null,
    retired_at timestamp
);
