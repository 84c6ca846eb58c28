-- What an API key may do: spend so many nano-dollars in a calendar month (UTC), null for any; use these models, a JSON list of
-- their ids, null for all. A key is never changed, so that what it was given holds until it is deleted.
alter table api_keys add column monthly_cap_nano bigint;
alter table api_keys add column allowed_models text;

-- With which key it was asked for; null for a person's own hands, and for what was there before. The key may be gone.
alter table ledger add column key_id text;
