-- `warnings` is what a job's user should know although it did not fail, as a JSON array (JobWarning in app/jobs/schemas.py): outputs
-- that could not be had, and what was lost of its inputs. `queue_rank` is what the waiting jobs of one user and one priority are
-- sorted by: the id of a job, null for its own, so that they are sorted by age until the user moves one.
alter table jobs add column warnings text default '[]';
alter table jobs add column queue_rank text;
