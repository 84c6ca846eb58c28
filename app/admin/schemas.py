"""The shapes of what an admin sees."""

import msgspec

from app.accounts.schemas import User
from app.jobs.schemas import Job


class OwnedJob(msgspec.Struct, frozen=True):
    """A job and whose it is; the email is None once the person is gone."""

    job: Job
    user_email: str | None


class Retried(msgspec.Struct, frozen=True):
    """The job that a retry made; `repeated` when the same request had made it before."""

    job: OwnedJob
    repeated: bool


class Leaving(msgspec.Struct, frozen=True):
    """A person about to be deleted, and how much would go along: jobs, unfinished ones among them, files."""

    user: User
    jobs: int
    unfinished: int
    assets: int


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in figures: people by role, refresh tokens by state, jobs by state, what was spent as far as it is
    known."""

    users: dict[str, int]
    tokens: dict[str, int]
    jobs: dict[str, int]
    cost_nano: int | None


class DatabaseHealth(msgspec.Struct, frozen=True):
    """Whether the database answers, and how long that took in milliseconds."""

    ok: bool
    latency_ms: float


class Disk(msgspec.Struct, frozen=True):
    """Bytes: what is stored, and what the disk still has."""

    stored: int
    free: int
