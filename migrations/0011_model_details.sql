-- What a model's description says beside its parameters, as a JSON object: `type`, `inputs`, `outputs`, `price`, `button` and
-- `help` (ModelDetails in app/catalog/schemas.py).
alter table models add column details text default '{}';
