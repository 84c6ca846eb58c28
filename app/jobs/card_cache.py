"""The card of a job as HTML, as every page shows it and as an unfinished one asks for itself every few seconds.

A card that was written is kept until anything on it changes, its clock included; and the version of what it shows, the
clock left out because the page itself counts on, comes back with each poll: most are answered with nothing at all.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from markupsafe import Markup

from app.base import clock
from app.jobs.schemas import Job
from app.web import render

MOST: Final = 1_024  # cards that are kept, about 3 kB each
SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
LONGEST: Final = 8_000  # characters of a job that is kept with its card


class _Card(NamedTuple):
    job: Job
    until: datetime  # when the next figure on it changes
    html: str


# Stands in a kept card where the form token of whoever looks belongs; nobody outside this process knows it.
_TOKEN: Final = secrets.token_hex(32)

_kept: OrderedDict[str, _Card] = OrderedDict()  # by job


def cards(jobs: Sequence[Job], csrf_token: str) -> Markup:
    """The cards of these jobs, with the form token of whoever looks."""
    moment = clock.now()
    html = "\n".join([_card(job, moment) for job in jobs])
    return Markup(html.replace(_TOKEN, csrf_token))  # noqa: S704 (escaped when the template was written)


def _card(job: Job, moment: datetime) -> str:
    kept = _kept.get(job.id)
    if kept is not None and kept.job is job and moment < kept.until:
        return kept.html
    html = render.render_template("jobs/_card.html", job=job, csrf_token=_TOKEN)
    if len(job.prompt) + len(job.text or "") <= LONGEST:
        _kept[job.id] = _Card(job, _until(job, moment), html)
        _kept.move_to_end(job.id)
        if len(_kept) > MOST:
            _kept.popitem(last=False)
    return html


def _until(job: Job, moment: datetime) -> datetime:
    """Its age is told in minutes after the first one; while it is unfinished its seconds are counted."""
    age = (moment - job.created_at).total_seconds()
    step = SECOND if age < 60 else MINUTE
    until = job.created_at + (int(age / step.total_seconds()) + 1) * step
    if job.final:
        return until
    began = job.started_at or job.created_at
    return min(until, began + (int((moment - began).total_seconds()) + 1) * SECOND)


def version(job: Job) -> str:
    """The version of an unfinished job's card: what it shows, in short."""
    shown = (job.id, job.status, job.progress, job.attempts, job.cancel_requested, job.started_at, job.estimate)
    return hashlib.sha256(f"{shown} {render.ago(job.created_at)}".encode()).hexdigest()[:20]


render.add_global("cards", cards)
render.add_global("card_version", version)
