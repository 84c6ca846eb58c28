-- Versions of an image: an edit is a new asset and never overwrites. `parent_asset_id` is the asset that was edited, null for what
-- is no edit; `root_asset_id` is the first asset of the chain, which all its versions share. The `origin` of an asset may also be
-- `prepared`: made for a job, such as a mask, and not shown in the library. A job's `parent_asset_id` is what its results edit.
alter table assets add column parent_asset_id text;
alter table assets add column root_asset_id text;
alter table jobs add column parent_asset_id text;
