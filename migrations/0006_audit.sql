-- Who changed what, for admins to read. Nothing is ever changed or removed here. `actor_email` is written down as it was,
-- because the person may be gone when somebody asks.
create table audit (
    id text primary key,
    happened_at timestamp not null,
    actor_id text,
    actor_email text not null,
    action text not null,
    subject text not null,
    note text not null
);
