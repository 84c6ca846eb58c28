"""Rendered job cards. Every page shows them, and the card of an unfinished job polls itself every few seconds.

A rendered card is cached until anything on it changes, including its times. Each poll sends the version of the card it
shows (without the running time, which the page counts itself), so most polls are answered without a body.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cachetools import LRUCache
from markupsafe import Markup, escape

from app.base import clock
from app.jobs.schemas import Job
from app.web import render

MAX_CARDS: Final = 1_024  # cached cards, about 3 kB each
SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
MAX_CHARACTERS: Final = 8_000  # prompt and text of a job whose card is cached


class _Card(NamedTuple):
    job: Job
    until: datetime  # when a time shown on it changes
    html: str


_cards: LRUCache[str, _Card] = LRUCache(MAX_CARDS)  # by job id


def cards(jobs: Sequence[Job], csrf_token: str) -> Markup:
    """The cards of these jobs, with the viewer's form token."""
    now = clock.now()
    html = "\n".join([_card(job, now) for job in jobs])
    return Markup(html.replace(render.TOKEN_PLACEHOLDER, escape(csrf_token)))  # noqa: S704 (escaped by the template)


def _card(job: Job, now: datetime) -> str:
    cached = _cards.get(job.id)
    if cached is not None and cached.job is job and now < cached.until:
        return cached.html
    html = render.render_template("jobs/_card.html", job=job, csrf_token=render.TOKEN_PLACEHOLDER)
    if len(job.prompt) + len(job.text or "") <= MAX_CHARACTERS:
        _cards[job.id] = _Card(job, _valid_until(job, now), html)
    return html


def _valid_until(job: Job, now: datetime) -> datetime:
    """When a shown time changes: the age every minute after the first, the running time of an unfinished job every
    second."""
    age = (now - job.created_at).total_seconds()
    step = SECOND if age < 60 else MINUTE
    until = job.created_at + (int(age / step.total_seconds()) + 1) * step
    if job.final:
        return until
    started_at = job.started_at or job.created_at
    return min(until, started_at + (int((now - started_at).total_seconds()) + 1) * SECOND)


def version(job: Job) -> str:
    """The version of an unfinished job's card: a hash of what it shows."""
    shown = (
        job.id,
        job.status,
        job.progress,
        job.attempts,
        job.cancel_requested,
        job.paused,
        job.started_at,
        job.estimate,
        job.preview,
        job.estimate.starts_at and render.wait(job.estimate.starts_at),
    )
    return hashlib.sha256(f"{shown} {render.ago(job.created_at)}".encode()).hexdigest()[:20]


render.add_global("cards", cards)
render.add_global("card_version", version)
