-- Providers that an admin added on a page; those of the environment have no row. `kind` says which API it is (ProviderKind in
-- app/providers/registry.py). `encrypted_key` is encrypted with a key derived from the secret key, null for a server without
-- one; `key_hint` is its end, which is shown. The provider with the lowest `priority` comes first.
create table provider_accounts (
    name text primary key,
    kind text not null,
    base_url text not null,
    encrypted_key text,
    key_hint text not null,
    enabled boolean not null,
    priority integer not null,
    created_at timestamp not null,
    changed_at timestamp not null
);
