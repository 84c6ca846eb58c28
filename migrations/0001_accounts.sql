-- Accounts, sessions, tokens and API keys.
--
-- For all migrations: times are UTC; ids are made in Python and sort by time; JSON is stored as text and parsed in Python. There
-- are no foreign keys: DuckDB refuses to update a row that is referenced. Values of enums are checked in Python, because DuckDB
-- can neither add nor drop a CHECK later; only users.role and jobs.status have one.

-- A user. The email is stored trimmed and in lower case, so that uniqueness ignores case. `password_hash` is null for a user who
-- cannot sign in with a password. `credentials_version` increases with each change of email or password: a sign-in that was
-- checked against an older version is rejected. `search_text` is the email and the name as they are searched (`folded` in
-- app/base/text.py).
create table users (
    id text primary key,
    email text not null unique,
    name text not null,
    password_hash text,
    role text not null check (role in ('user', 'admin')),
    is_active boolean not null,
    created_at timestamp not null,
    last_login_at timestamp,
    credentials_version integer not null,
    search_text text not null default ''
);

-- Active sessions: a browser's cookie (`kind` is `page`, with the hash of the cookie's token) or an API client's family of refresh
-- tokens (`token`). Ending a session deletes its row, so every row that has not expired is valid.
create table sessions (
    id text primary key,
    user_id text not null,
    kind text not null,
    token_hash text unique,
    agent text not null,
    created_at timestamp not null,
    last_used_at timestamp not null,
    expires_at timestamp not null
);

-- Refresh tokens by their hash. All tokens that descend from one sign-in are a family; the family is a session. A used or revoked
-- token stays until it is purged, because its reuse shows that someone else has a copy. `used_at` and `successor_hash` are set
-- together.
create table refresh_tokens (
    token_hash text primary key,
    family_id text not null,
    user_id text not null,
    created_at timestamp not null,
    expires_at timestamp not null,
    used_at timestamp,
    successor_hash text,
    revoked_at timestamp
);

-- Personal API keys by their hash; `prefix` is the part that is shown to the user later. Limits never change after the key was
-- created: nano-dollars per calendar month (UTC), null for no limit; a JSON list of the ids of allowed models, null for all.
create table api_keys (
    id text primary key,
    user_id text not null,
    name text not null,
    prefix text not null,
    key_hash text not null unique,
    monthly_cap_nano bigint,
    allowed_models text,
    created_at timestamp not null,
    expires_at timestamp,
    last_used_at timestamp
);
