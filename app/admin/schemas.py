"""Data structures of the admin section."""

import msgspec

from app.accounts.schemas import User
from app.jobs.schemas import Job


class OwnedJob(msgspec.Struct, frozen=True):
    """A job with the email of its owner; None if the user was deleted."""

    job: Job
    user_email: str | None


class Retried(msgspec.Struct, frozen=True):
    """The job that a retry created; `repeated` if an earlier request with the same idempotency key created it."""

    job: OwnedJob
    repeated: bool


class DeletionPreview(msgspec.Struct, frozen=True):
    """A user, and the numbers of jobs, unfinished jobs and assets that would be deleted with them."""

    user: User
    jobs: int
    unfinished: int
    assets: int


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of users by role, refresh tokens by state and jobs by state, and the total known cost."""

    users: dict[str, int]
    tokens: dict[str, int]
    jobs: dict[str, int]
    cost_nano: int | None


class DatabaseHealth(msgspec.Struct, frozen=True):
    """Whether the database responds, and its latency in milliseconds."""

    ok: bool
    latency_ms: float


class Disk(msgspec.Struct, frozen=True):
    """Stored and free bytes."""

    stored: int
    free: int
