-- Who changed what, for admins to read. Rows are never changed or removed. `actor_email` is the address at that time,
-- because the user may have been deleted since. `action` is a code (Action in app/audit/schemas.py), `subject` the email
-- of a user or the id of a job or model (null when the action concerns many), `detail` a JSON object.
create table audit (
    id text primary key,
    happened_at timestamp not null,
    actor_id text,
    actor_email text not null,
    action text not null,
    subject text,
    detail text not null
);
