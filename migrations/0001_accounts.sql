-- Who may ask, and what proves it. Times are UTC. No foreign keys: DuckDB would refuse to change a person who has a session.

-- A person. The email is kept trimmed and in lower case, so that its key knows no case. Without a password hash a person
-- signs in another way only. `credentials_version` counts the changes of email and password: a sign-in checked against another one is void.
create table users (
    id text primary key,
    email text not null unique,
    name text not null,
    password_hash text,
    role text not null check (role in ('user', 'admin')),
    is_active boolean not null,
    created_at timestamp not null,
    last_login_at timestamp,
    credentials_version integer not null
);

-- Where a person is signed in: a browser by its cookie (`page`, with the hash of the cookie's token), or a program by a
-- family of refresh tokens (`token`). Ending one deletes its row, so whatever is here and not expired is valid.
create table sessions (
    id text primary key,
    user_id text not null,
    kind text not null check (kind in ('page', 'token')),
    token_hash text unique,
    agent text not null,
    created_at timestamp not null,
    last_used_at timestamp not null,
    expires_at timestamp not null
);

-- Refresh tokens by their hash; those descending from one sign-in are a family, and the family is a session. A used or
-- revoked token stays until it is purged, because seeing it again tells that somebody else holds it too.
create table refresh_tokens (
    token_hash text primary key,
    family_id text not null,
    user_id text not null,
    created_at timestamp not null,
    expires_at timestamp not null,
    used_at timestamp,
    successor_hash text,
    revoked_at timestamp,
    check ((used_at is null) = (successor_hash is null))
);

-- Personal API keys by their hash; `prefix` is the part that a person may see again.
create table api_keys (
    id text primary key,
    user_id text not null,
    name text not null,
    prefix text not null,
    key_hash text not null unique,
    created_at timestamp not null,
    expires_at timestamp,
    last_used_at timestamp
);
