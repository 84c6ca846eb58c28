"""SQL of the doctor: invariants of the database."""

from collections.abc import Iterator
from typing import Final

from app.db.transaction import Transaction
from app.maintenance.schemas import AppliedMigration, Invariant, ReferencedFile, Violations

MAX_SHOWN: Final = 20  # ids listed per invariant; the rest are counted

# Each billed row beside the totals of its ledger entries.
_LEDGER_TOTALS: Final = (
    "with totals as (select subject_id, min(owner_id) as first_owner, max(owner_id) as last_owner,"
    " sum(case when entry = 'hold' then 1 else 0 end) as holds,"
    " sum(case when entry = 'settlement' then 1 else 0 end) as settlements,"
    " sum(case when entry = 'correction' then 1 else 0 end) as corrections,"
    " sum(held_nano) as held, sum(spent_nano) as spent"
    " from ledger where subject_kind = '{kind}' group by subject_id)"
    " select s.id from {table} s left join totals b on b.subject_id = s.id where "
)
_LEDGER_RULES: Final = (
    ("does not have exactly one hold in the ledger", "coalesce(b.holds, 0) <> 1"),
    ("has ended without exactly one settlement", "s.ended_at is not null and coalesce(b.settlements, 0) <> 1"),
    ("is unfinished but already settled", "s.ended_at is null and b.settlements + b.corrections > 0"),
    ("has ended but still has a held amount", "s.ended_at is not null and b.held <> 0"),
    ("is unfinished but already has a cost", "s.ended_at is null and s.cost_nano is not null"),
    ("has ledger entries of another user", "b.first_owner <> s.owner_id or b.last_owner <> s.owner_id"),
)


def _ledger() -> Iterator[Invariant]:
    jobs = _LEDGER_TOTALS.format(kind="job", table="jobs")
    answers = _LEDGER_TOTALS.format(kind="answer", table="messages")
    answers += "s.role = 'assistant' and s.copy_of is null and "
    for message, where in _LEDGER_RULES:
        yield Invariant(("jobs", "ledger"), f"job {{id}} {message}", f"{jobs}({where})")
        yield Invariant(("messages", "ledger"), f"answer {{id}} {message}", f"{answers}({where})")
    cost = "s.ended_at is not null and s.cost_nano is distinct from b.spent"
    # A job cancelled before it was sent has no cost, while the ledger has zero.
    unsent = "s.status = 'cancelled' and s.cost_nano is null and b.spent = 0"
    yield Invariant(
        ("jobs", "ledger"), "job {id} has a cost that differs from the ledger", f"{jobs}({cost}) and not ({unsent})"
    )
    yield Invariant(("messages", "ledger"), "answer {id} has a cost that differs from the ledger", f"{answers}({cost})")
    yield Invariant(
        "ledger",
        "ledger entry {id} has a different API key than its hold",
        "select e.id from ledger e join ledger h on h.subject_id = e.subject_id and h.entry = 'hold'"
        " where e.key_id is distinct from h.key_id",
    )
    yield Invariant(
        ("ledger", "jobs"),
        "ledger entry {id} belongs to a missing job",
        "select id from ledger where subject_kind = 'job' and subject_id not in (select id from jobs)",
    )
    yield Invariant(
        ("ledger", "messages"),
        "ledger entry {id} belongs to a missing answer",
        # An answer requested by API has no row before it ends.
        "select id from ledger where subject_kind = 'answer' and entry <> 'hold'"
        " and subject_id not in (select id from messages where role = 'assistant')",
    )
    yield Invariant(
        "ledger",
        "ledger entry {id} has amounts that are invalid for its type",
        "select id from ledger where spent_nano < 0 or (entry = 'hold' and (held_nano < 0 or spent_nano is not null))"
        " or (entry = 'settlement' and held_nano > 0)"
        " or (entry = 'correction' and (held_nano <> 0 or spent_nano is null))",
    )


def _states() -> Iterator[Invariant]:
    jobs = "select id from jobs where "
    yield Invariant(
        "jobs",
        "job {id} has timestamps that do not match its status",
        jobs + "status not in ('queued', 'processing', 'completed', 'failed', 'cancelled')"
        " or (ended_at is not null) <> (status in ('completed', 'failed', 'cancelled'))"
        " or (status in ('processing', 'completed') and started_at is null) or attempts < 0",
    )
    yield Invariant(
        "jobs",
        "job {id} has an error that does not match its status",
        jobs + "(status = 'failed') <> (error_code is not null)",
    )
    yield Invariant("jobs", "job {id} has a late result policy but was not cancelled", jobs + _LATE)
    yield Invariant(
        "jobs", "job {id} was deleted before it ended", jobs + "deleted_at is not null and ended_at is null"
    )
    yield Invariant(
        "messages",
        "answer {id} has timestamps that do not match its status",
        "select id from messages where (ended_at is null) <> (status = 'streaming')",
    )
    yield Invariant(
        "users",
        "there is no active admin among {id} users",
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
            (table, "users"),
            f"{what} {{id}} belongs to a missing user",
            f"select {column} as id from {table} where user_id not in (select id from users)",
        )
    # A deleted user leaves what accounting needs, but no content.
    for table, what, content in (
        ("jobs", "job", "deleted_at is null or prompt <> '' or enhanced_prompt is not null or text is not null"),
        ("assets", "asset", "deleted_at is null"),
        ("conversations", "conversation", "true"),
        ("messages", "message", "status <> 'streaming' and (role = 'user' or text <> '')"),
        ("responses", "response", "true"),
        ("prompts", "prompt", "true"),
    ):
        yield Invariant(
            (table, "users"),
            f"{what} {{id}} belongs to a missing user",
            f"select id from {table} where owner_id not in (select id from users) and ({content})",
        )
    yield Invariant(
        "jobs",
        "job {id} retries a missing job",
        "select id from jobs j where retry_of is not null"
        " and not exists (select 1 from jobs o where o.id = j.retry_of and o.owner_id = j.owner_id)",
    )
    yield Invariant(
        ("jobs", "job_events"),
        "job {id} has no events",
        "select id from jobs where deleted_at is null and id not in (select job_id from job_events)",
    )
    yield Invariant(
        ("job_events", "jobs"),
        "job {id} is missing but has events",
        "select distinct job_id as id from job_events t"
        " where not exists (select 1 from jobs j where j.id = t.job_id and j.owner_id = t.owner_id)",
    )
    yield Invariant(
        ("job_inputs", "jobs"),
        "job {id} is missing but has inputs",
        "select distinct job_id as id from job_inputs t"
        " where not exists (select 1 from jobs j where j.id = t.job_id and j.owner_id = t.owner_id)",
    )
    yield Invariant(
        "job_inputs",
        "job {id} has inputs that are not numbered from 0",
        "select job_id as id from job_inputs group by job_id having min(position) <> 0 or max(position) <> count(*) - 1",
    )
    yield Invariant(
        ("idempotency_keys", "jobs", "messages"),
        "job {id} is missing but has an idempotency key",
        # Also chat answers. An admin may have retried another user's job.
        "select distinct result_id as id from idempotency_keys t where not exists (select 1 from jobs j"
        " where j.id = t.result_id and (j.owner_id = t.owner_id or j.retry_of is not null))"
        " and not exists (select 1 from messages m where m.id = t.result_id and m.owner_id = t.owner_id)",
    )
    yield Invariant(
        ("assets", "jobs"),
        "asset {id} belongs to a missing job",
        "select id from assets a where job_id is not null"
        " and not exists (select 1 from jobs j where j.id = a.job_id and j.owner_id = a.owner_id)",
    )
    yield Invariant(
        ("message_images", "messages"),
        "an image belongs to the missing message {id}",
        "select message_id as id from message_images where message_id not in (select id from messages)",
    )
    yield Invariant(
        ("messages", "conversations"),
        "message {id} belongs to a missing conversation",
        "select id from messages m where conversation_id is not null and role = 'user'"
        " and not exists (select 1 from conversations c where c.id = m.conversation_id and c.owner_id = m.owner_id)",
    )
    yield Invariant(
        ("messages", "conversations"),
        "message {id} follows a missing message",
        "select id from messages m where parent_id is not null"
        " and conversation_id in (select id from conversations)"
        " and not exists (select 1 from messages p where p.id = m.parent_id and p.owner_id = m.owner_id)",
    )
    yield Invariant(
        ("conversations", "messages"),
        "conversation {id} ends with a missing message",
        "select id from conversations c where leaf_id not in (select id from messages)",
    )


INVARIANTS: Final = (*_ledger(), *_states(), *_orphans())


def violations_any(tx: Transaction, invariant: Invariant) -> Violations:
    """The violations of an invariant: all are counted, the first ids are listed."""
    count = int(tx.value(invariant.tables, f"select count(*) from ({invariant.sql}) as found"))
    if not count:
        return Violations(invariant.message, 0, [])
    rows = tx.rows(invariant.tables, f"select id from ({invariant.sql}) as found order by id limit {MAX_SHOWN}")
    return Violations(invariant.message, count, [row["id"] for row in rows])


def referenced_files_any(tx: Transaction) -> list[ReferencedFile]:
    """Every referenced file once, by key. Rows marked as deleted count, since they can be restored."""
    rows = tx.rows(
        "assets",
        "select key, max(bytes) as bytes, min(id) as asset from (select file_key as key, bytes, id from assets"
        " union all select thumbnail_key as key, null as bytes, id from assets where thumbnail_key is not null)"
        " as files group by key order by key",
    )
    return [ReferencedFile(row["key"], row["bytes"], row["asset"]) for row in rows]


def is_referenced_any(tx: Transaction, key: str) -> bool:
    """Whether any row references this file."""
    return tx.value("assets", "select 1 from assets where file_key = $1 or thumbnail_key = $1 limit 1", key) is not None


def migrations_any(tx: Transaction) -> list[AppliedMigration]:
    """In the order in which they were applied."""
    rows = tx.rows("migrations", "select name, checksum from migrations order by number")
    return [AppliedMigration(row["name"], row["checksum"]) for row in rows]
