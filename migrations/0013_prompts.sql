-- Prompt templates and wildcard lists (PromptKind in app/prompts/schemas.py). A template has `text`, `negative_prompt` and the kind
-- of `output` that it is for, null for any; a list has `lines`, one entry each. Shared ones are visible to every user. `name_key`
-- is the name as it is compared and sorted, `search_text` what is searched.
create table prompts (
    id text primary key,
    owner_id text not null,
    kind text not null,
    name text not null,
    name_key text not null,
    text text not null,
    negative_prompt text not null,
    output text,
    tags text not null,
    lines text,
    line_count integer not null,
    shared boolean not null,
    version integer not null,
    search_text text not null,
    created_at timestamp not null,
    changed_at timestamp not null,
    deleted_at timestamp
);

-- A prompt as a text model rewrote it before it was sent; `prompt` is what the user wrote.
alter table jobs add column enhanced_prompt text;
-- The text job that rewrote it.
alter table jobs add column enhanced_by text;
