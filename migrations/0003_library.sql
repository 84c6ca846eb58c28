-- Every asset, generated or uploaded. `kind` is image, video, audio or document. `file_key` and `thumbnail_key` name files by
-- their content, so rows may share a file, which is removed with the last row. Deleted rows can be restored for a while before
-- they are removed. `search_text` is the prompt and the name as they are searched (`folded` in app/base/text.py).
create table assets (
    id text primary key,
    owner_id text not null,
    kind text not null,
    origin text not null,
    mime text not null,
    bytes bigint not null,
    width integer not null,
    height integer not null,
    duration double precision,
    file_key text not null,
    thumbnail_key text,
    job_id text,
    position integer not null default 0,
    name text,
    prompt text not null default '',
    search_text text not null default '',
    created_at timestamp not null,
    deleted_at timestamp
);
