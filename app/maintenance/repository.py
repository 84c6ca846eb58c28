"""SQL of the doctor: what must never be found in a sound database."""

from collections.abc import Iterator
from typing import Final

from app.db.database import Transaction
from app.maintenance.schemas import Applied, Faults, Invariant, ReferencedFile

SHOWN: Final = 20  # ids of one fault that are told; the others are counted

# What every thing that costs something has in the ledger, added up, beside the thing itself.
_BOOKS: Final = (
    "with books as (select subject_id, min(owner_id) as first_owner, max(owner_id) as last_owner,"
    " sum(case when entry = 'hold' then 1 else 0 end) as holds,"
    " sum(case when entry = 'settlement' then 1 else 0 end) as settlements,"
    " sum(case when entry = 'correction' then 1 else 0 end) as corrections,"
    " sum(held_nano) as held, sum(spent_nano) as spent"
    " from ledger where subject_kind = '{kind}' group by subject_id)"
    " select s.id from {table} s left join books b on b.subject_id = s.id where "
)
_ACCOUNTS: Final = (
    ("has not exactly one hold in the ledger", "coalesce(b.holds, 0) <> 1"),
    ("has ended and has not exactly one settlement", "s.ended_at is not null and coalesce(b.settlements, 0) <> 1"),
    ("is unfinished and is settled already", "s.ended_at is null and b.settlements + b.corrections > 0"),
    ("has ended and money is still held for it", "s.ended_at is not null and b.held <> 0"),
    ("is unfinished and has a cost already", "s.ended_at is null and s.cost_nano is not null"),
    ("has entries of another person in the ledger", "b.first_owner <> s.owner_id or b.last_owner <> s.owner_id"),
)


def _ledger() -> Iterator[Invariant]:
    jobs = _BOOKS.format(kind="job", table="jobs")
    answers = _BOOKS.format(kind="answer", table="messages") + "s.role = 'assistant' and "
    for fault, where in _ACCOUNTS:
        yield Invariant(f"job {{id}} {fault}", f"{jobs}({where})")
        yield Invariant(f"answer {{id}} {fault}", f"{answers}({where})")
    cost = "s.ended_at is not null and s.cost_nano is distinct from b.spent"
    # A job that was cancelled before it was sent has cost nothing, and nobody has named a price.
    unsent = "s.status = 'cancelled' and s.cost_nano is null and b.spent = 0"
    yield Invariant("job {id} cost something else than the ledger says", f"{jobs}({cost}) and not ({unsent})")
    yield Invariant("answer {id} cost something else than the ledger says", f"{answers}({cost})")
    yield Invariant(
        "ledger entry {id} names another API key than its hold",
        "select e.id from ledger e join ledger h on h.subject_id = e.subject_id and h.entry = 'hold'"
        " where e.key_id is distinct from h.key_id",
    )
    yield Invariant(
        "ledger entry {id} is of a job that does not exist",
        "select id from ledger where subject_kind = 'job' and subject_id not in (select id from jobs)",
    )
    yield Invariant(
        "ledger entry {id} is of an answer that does not exist",
        # One to a program has no row before it ends.
        "select id from ledger where subject_kind = 'answer' and entry <> 'hold'"
        " and subject_id not in (select id from messages where role = 'assistant')",
    )
    yield Invariant(
        "ledger entry {id} has amounts that such an entry cannot have",
        "select id from ledger where spent_nano < 0 or (entry = 'hold' and (held_nano < 0 or spent_nano is not null))"
        " or (entry = 'settlement' and held_nano > 0)"
        " or (entry = 'correction' and (held_nano <> 0 or spent_nano is null))",
    )


def _states() -> Iterator[Invariant]:
    jobs = "select id from jobs where "
    yield Invariant(
        "job {id} is in a state that does not fit its times",
        jobs + "status not in ('queued', 'processing', 'completed', 'failed', 'cancelled')"
        " or (ended_at is not null) <> (status in ('completed', 'failed', 'cancelled'))"
        " or (status in ('processing', 'completed') and started_at is null) or attempts < 0",
    )
    yield Invariant(
        "job {id} has an error that does not fit its state", jobs + "(status = 'failed') <> (error_code is not null)"
    )
    yield Invariant("job {id} waits for what comes late_result_policy without having been cancelled", jobs + _LATE)
    yield Invariant("job {id} was deleted before it ended", jobs + "deleted_at is not null and ended_at is null")
    yield Invariant(
        "answer {id} is in a state that does not fit its times",
        "select id from messages where (ended_at is null) <> (status = 'streaming')",
    )
    yield Invariant(
        "nobody who is active is an admin, and {id} people are registered",
        "select cast(count(*) as text) as id from users"
        " having count(*) > 0 and sum(case when role = 'admin' and is_active then 1 else 0 end) = 0",
    )


_LATE: Final = "late_result_policy is not null and status <> 'cancelled' and not cancel_requested"


def _orphans() -> Iterator[Invariant]:
    for table, column, what in (
        ("sessions", "id", "session"),
        ("refresh_tokens", "family_id", "refresh token of the family"),
        ("api_keys", "id", "API key"),
    ):
        yield Invariant(
            f"{what} {{id}} is of a person who does not exist",
            f"select {column} as id from {table} where user_id not in (select id from users)",
        )
    # A person who was deleted leaves what the books need, and nothing that was said or made.
    for table, what, kept in (
        ("jobs", "job", "deleted_at is null or prompt <> '' or text is not null"),
        ("assets", "file", "deleted_at is null"),
        ("conversations", "conversation", "true"),
        ("messages", "message", "status <> 'streaming' and (role = 'user' or text <> '')"),
    ):
        yield Invariant(
            f"{what} {{id}} is of a person who does not exist",
            f"select id from {table} where owner_id not in (select id from users) and ({kept})",
        )
    yield Invariant(
        "job {id} repeats a job that does not exist",
        "select id from jobs j where retry_of is not null"
        " and not exists (select 1 from jobs o where o.id = j.retry_of and o.owner_id = j.owner_id)",
    )
    yield Invariant(
        "job {id} has no history",
        "select id from jobs where deleted_at is null and id not in (select job_id from job_events)",
    )
    yield Invariant(
        "job {id} does not exist and has a history",
        "select distinct job_id as id from job_events t"
        " where not exists (select 1 from jobs j where j.id = t.job_id and j.owner_id = t.owner_id)",
    )
    yield Invariant(
        "job {id} does not exist and is the answer to a repeated request",
        # Also answers of models; an admin's key may have tried somebody else's job again.
        "select distinct job_id as id from idempotency t where not exists (select 1 from jobs j where j.id = t.job_id"
        " and (j.owner_id = t.owner_id or j.retry_of is not null))"
        " and not exists (select 1 from messages m where m.id = t.job_id and m.owner_id = t.owner_id)",
    )
    yield Invariant(
        "file {id} was made by a job that does not exist",
        "select id from assets a where job_id is not null"
        " and not exists (select 1 from jobs j where j.id = a.job_id and j.owner_id = a.owner_id)",
    )
    yield Invariant(
        "message {id} is of a conversation that does not exist",
        "select id from messages m where conversation_id is not null and role = 'user'"
        " and not exists (select 1 from conversations c where c.id = m.conversation_id and c.owner_id = m.owner_id)",
    )
    yield Invariant(
        "message {id} follows a message that does not exist",
        "select id from messages m where parent_id is not null"
        " and conversation_id in (select id from conversations)"
        " and not exists (select 1 from messages p where p.id = m.parent_id and p.owner_id = m.owner_id)",
    )
    yield Invariant(
        "conversation {id} ends in a message that does not exist",
        "select id from conversations c where leaf_id not in (select id from messages)",
    )


QUESTIONS: Final = (*_ledger(), *_states(), *_orphans())


def faults_any(tx: Transaction, question: Invariant) -> Faults:
    """What the question finds. The ids are cut off after the first few; the count is not."""
    count = int(tx.value(f"select count(*) from ({question.sql}) as found"))
    if not count:
        return Faults(question.fault, 0, [])
    rows = tx.rows(f"select id from ({question.sql}) as found order by id limit {SHOWN}")
    return Faults(question.fault, count, [row["id"] for row in rows])


def named_any(tx: Transaction) -> list[ReferencedFile]:
    """Every file that a row names, once each, in the order of the keys; rows marked as deleted may still be restored."""
    rows = tx.rows(
        "select key, max(bytes) as bytes, min(id) as asset from (select file_key as key, bytes, id from assets"
        " union all select thumbnail_key as key, null as bytes, id from assets where thumbnail_key is not null)"
        " as files group by key order by key"
    )
    return [ReferencedFile(row["key"], row["bytes"], row["asset"]) for row in rows]


def names_any(tx: Transaction, key: str) -> bool:
    """Whether some row names this file."""
    return tx.value("select 1 from assets where file_key = $1 or thumbnail_key = $1 limit 1", key) is not None


def migrations_any(tx: Transaction) -> list[Applied]:
    """In the order in which they were applied."""
    rows = tx.rows("select name, checksum from migrations order by number")
    return [Applied(row["name"], row["checksum"]) for row in rows]
