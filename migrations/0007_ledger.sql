-- All costs in whole nano-dollars; rows are only inserted. A subject (a job or a chat answer) has one hold while it is unfinished
-- and one settlement when it ends; a cost that becomes known later is a correction. The sum of `spent_nano` over a subject is
-- its cost; null means unknown, which is never 0. Deleting a job or a user leaves these rows.
create table ledger (
    id text primary key,
    owner_id text not null,
    subject_kind text not null check (subject_kind in ('job', 'answer')),
    subject_id text not null,
    entry text not null check (entry in ('hold', 'settlement', 'correction')),
    held_nano bigint not null,
    spent_nano bigint,
    happened_at timestamp not null
);

-- Entries for jobs that are older than the ledger.
insert into ledger
select id || '-h', owner_id, 'job', id, 'hold', 0, null, created_at from jobs;
insert into ledger
select id || '-s', owner_id, 'job', id, 'settlement', 0, cost_nano, ended_at from jobs where ended_at is not null;
