-- What the providers offered when they were last asked. A model that is gone keeps its row (and whether an admin had
-- switched it off), so that it comes back as it was. JSON is kept as text and read in Python.
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
