-- Limits of an API key: nano-dollars per calendar month (UTC), null for no limit; a JSON list of the ids of allowed models, null
-- for all. They are never changed after the key was created.
alter table api_keys add column monthly_cap_nano bigint;
alter table api_keys add column allowed_models text;

-- The API key that was used; null for requests without one and for older entries. The key may have been deleted since.
alter table ledger add column key_id text;
