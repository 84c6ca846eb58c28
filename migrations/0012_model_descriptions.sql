-- Models as admins describe them. `description` is a JSON object (Description in app/catalog/schemas.py), which replaces the
-- provider's until the row is deleted. `base` is null for a model that its provider lists, and else the JSON of a Model from which
-- everything comes that a description does not say. `version` counts the changes.
create table model_descriptions (
    model_id text primary key,
    base text,
    enabled boolean not null,
    description text not null,
    version integer not null,
    changed_by text not null,
    changed_at timestamp not null
);

-- The model that a form begins with, by what is made from what (`kind` is text, image or video, with `-from-image` for those
-- with an input image), for users who have not used one yet.
create table default_models (
    kind text primary key,
    model_id text not null
);

-- The models that a user has marked, to find them quickly.
create table favorite_models (
    user_id text not null,
    model_id text not null,
    created_at timestamp not null,
    primary key (user_id, model_id)
);
