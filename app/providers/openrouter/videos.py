"""Clips: handed in once, asked about until they end, then fetched.

Whatever goes wrong while asking is no failure of the clip, which goes on being made: only the provider's own final word
ends it, or its having forgotten the clip.
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from app.base import logging
from app.providers.client import Answer, ClientError, Refused, TooBig
from app.providers.contract import Completed, ErrorCode, Failed, Kind, Media, Outcome, Pending, Request, UpstreamJob
from app.providers.openrouter import failures
from app.providers.openrouter.api import Api, segment
from app.providers.openrouter.chat import image_part
from app.providers.openrouter.coerce import cost_nano, mapping, text, texts, whole
from app.providers.openrouter.media import Unsaved, full

_PATH = "/videos"
_PLAIN = ("aspect_ratio", "resolution", "size", "duration", "seed", "generate_audio", "creativity", "upscale_factor")
_FRAMES = ("first_frame", "last_frame")
_RUNNING = ("pending", "in_progress")
_MISSING_LIMIT = 5  # polls answered 404 in a row; just after the submit a few are normal
_MAX_CLIPS = 10
_MAX_ID = 500
_MAX_STATE = 100
_ODD_ID = re.compile(r"\.{1,2}|\s*")

_FAILED = "The provider could not make this clip. Change the request, or choose another model."
_CANCELLED = "The provider cancelled this clip. Start it anew."
_WITHHELD = "The clip was made, but the provider does not hand it over. Ask an administrator to check the key."
_NO_CLIP = "The clip was made, but what the provider sent is not a clip. Start it anew, or choose another model."

_log = logging.get("providers.openrouter")


class Videos:
    """Clips over one API."""

    def __init__(self, api: Api, max_bytes: int, callback: Callable[[str], str] | None = None) -> None:
        """`callback` gives the address, by our job's id, where the provider may say that a clip has ended."""
        self._api = api
        self._max_bytes = max_bytes
        self._callback = callback
        self._missing: dict[str, int] = {}  # ticket -> polls answered 404 in a row
        self._troubled = False  # polls bring nothing at present: said once, not at every poll of every clip
        self._odd: set[str] = set()  # states that were met and are not known, each said once

    async def submit(self, request: Request) -> Outcome:
        callback = self._callback(request.job_id) if self._callback else None
        content = await asyncio.to_thread(_body, request, callback)
        try:
            answer = await self._api.post(_PATH, content, total=self._api.patience.video)
        except ClientError as exc:
            return failures.unanswered(exc)
        detail = self._api.detail(f"{answer.status} {failures.message_of(answer)}")
        if answer.status not in (200, 201, 202):
            return failures.failed(answer, Kind.VIDEO, detail)
        body = mapping(answer.body)
        identifier = _identifier(body.get("id"))
        if identifier is None:
            if failures.error_of(body):
                return _failed(body, None, detail)
            return Failed(code=ErrorCode.OUTCOME_UNKNOWN, message=failures.UNKNOWN, detail=detail)
        polling_url = text(body.get("polling_url"))
        upstream_job = UpstreamJob(id=identifier, polling_url=self._api.own(polling_url) if polling_url else None)
        return Pending(upstream_job=upstream_job, state=text(body.get("status"))[:_MAX_STATE] or "pending")

    async def poll(self, upstream_job: UpstreamJob, folder: Path) -> Outcome:
        try:
            answer = await self._ask(upstream_job)
        except ClientError as exc:
            self._trouble(upstream_job, str(exc))
            return Pending(upstream_job=upstream_job, state="unanswered")
        outcome = await self._outcome(upstream_job, answer, folder)
        if not (isinstance(outcome, Pending) and outcome.state == "missing"):
            self._missing.pop(upstream_job.id, None)
        return outcome

    async def _ask(self, upstream_job: UpstreamJob) -> Answer:
        """The stored address is asked while it is the API's own: the key goes there, and the base URL may have changed
        since. Behind a proxy that adds a folder to the path it is wrong; then the id alone leads there."""
        by_id = self._api.url(f"{_PATH}/{segment(upstream_job.id)}")
        stored = self._api.own(upstream_job.polling_url) if upstream_job.polling_url else None
        answer = await self._api.get(stored or by_id, self._api.patience.poll)
        if answer.status == 404 and stored not in (None, by_id):
            return await self._api.get(by_id, self._api.patience.poll)
        return answer

    async def _outcome(self, upstream_job: UpstreamJob, answer: Answer, folder: Path) -> Outcome:
        if answer.status != 200 or not isinstance(answer.body, dict):
            return self._unknown(upstream_job, answer)
        self._healed()
        state = text(answer.body.get("status"))[:_MAX_STATE]
        cost = cost_nano(answer.body)
        detail = self._api.detail(f"{state}: {failures.message_of(answer)}")
        if state == "completed":
            return await _Fetch(self._api, upstream_job, folder, self._max_bytes).run(answer.body, cost)
        if state == "failed":
            return _failed(answer.body, cost, detail)
        if state == "cancelled":
            return Failed(code=ErrorCode.PROVIDER_FAILED, message=_CANCELLED, cost_nano=cost, detail=detail)
        if state == "expired":
            return Failed(code=ErrorCode.PROVIDER_EXPIRED, message=failures.EXPIRED, cost_nano=cost, detail=detail)
        if state not in _RUNNING and state not in self._odd:
            self._odd.add(state)
            _log.warning("a clip is in a state that is not known", upstream_job=upstream_job.id, state=state)
        progress = whole(answer.body.get("progress"))
        return Pending(
            upstream_job=upstream_job,
            state=state or "unknown",
            progress=progress if progress is not None and 0 <= progress <= 100 else None,
            wait=failures.retry_after(answer.headers),
        )

    def _unknown(self, upstream_job: UpstreamJob, answer: Answer) -> Outcome:
        """An answer that says nothing about the clip. Also a refused key: it may be the admin who is changing it."""
        detail = self._api.detail(f"{answer.status} {failures.message_of(answer)}")
        gone = Failed(code=ErrorCode.PROVIDER_EXPIRED, message=failures.EXPIRED, detail=detail)
        if answer.status == 410:
            return gone
        if answer.status == 404:
            self._missing[upstream_job.id] = self._missing.get(upstream_job.id, 0) + 1
            return (
                gone
                if self._missing[upstream_job.id] >= _MISSING_LIMIT
                else Pending(upstream_job=upstream_job, state="missing")
            )
        self._trouble(upstream_job, detail)
        return Pending(upstream_job=upstream_job, state="unanswered", wait=failures.retry_after(answer.headers))

    def _trouble(self, upstream_job: UpstreamJob, problem: str) -> None:
        if not self._troubled:
            _log.warning("polls are not answered", upstream_job=upstream_job.id, problem=problem)
        self._troubled = True

    def _healed(self) -> None:
        if self._troubled:
            _log.info("polls are answered again")
        self._troubled = False


class _Fetch:
    """Brings the clips of one finished job into `folder`, each from the first of its addresses that has it."""

    def __init__(self, api: Api, upstream_job: UpstreamJob, folder: Path, max_bytes: int) -> None:
        self._api = api
        self._ticket = upstream_job
        self._folder = folder
        self._max_bytes = max_bytes
        self._statuses: list[int] = []  # what the addresses answered that did not have it; 0 is no answer

    async def run(self, body: dict[str, Any], cost: int | None) -> Outcome:
        signed, unsigned = texts(body.get("urls")), texts(body.get("unsigned_urls"))
        media = []
        try:
            for index in range(min(max(len(signed), len(unsigned), 1), _MAX_CLIPS)):
                clip = await self._one(index, signed, unsigned, text(body.get("video_url")))
                if clip is None:
                    return self._not_had(cost)
                media.append(clip)
        except Unsaved as exc:
            return exc.outcome(cost)
        return Completed(media=tuple(media), cost_nano=cost, generation_id=text(body.get("generation_id")) or None)

    async def _one(self, index: int, signed: list[str], unsigned: list[str], legacy: str) -> Media | None:
        """A signed link needs no key. The others need it when they are the API's own, and must not have it otherwise."""
        to = self._folder / f"clip-{index}"
        content = self._api.url(f"{_PATH}/{segment(self._ticket.id)}/content", index=index)
        addresses = [(link, False) for link in signed[index : index + 1]]
        for link in [*unsigned[index : index + 1], *([legacy] if legacy and index == 0 else []), content]:
            addresses.append((link, self._api.own(link) is not None))
        for link, with_key in dict.fromkeys(addresses):
            got = await self._from(link, to, with_key=with_key)
            if got in (401, 403) and not with_key and self._api.own(link):
                got = await self._from(link, to, with_key=True)
            if isinstance(got, Media):
                return got
            self._statuses.append(got)
        return None

    async def _from(self, link: str, to: Path, *, with_key: bool) -> Media | int:
        """The clip, or the status that came in place of it; 0 is no answer."""
        try:
            got = await self._api.download(
                self._api.own(link) or link, to, max_bytes=self._max_bytes, with_key=with_key
            )
        except TooBig as exc:
            raise Unsaved(ErrorCode.RESULT_TOO_LARGE, failures.TOO_BIG, str(exc)) from None
        except Refused as exc:
            _log.warning("a clip's address may not be reached", upstream_job=self._ticket.id, exc=str(exc))
            return 403
        except ClientError:
            return 0
        except OSError as exc:
            raise full(exc) from None
        if got.status == 200 and got.bytes and not got.mime.startswith(("text/", "application/json")):
            return Media(path=to, said_mime=got.mime or None)
        return got.status

    def _not_had(self, cost: int | None) -> Outcome:
        """The clip is there, or was: whether to come back depends on the best word among the addresses."""
        if any(status in (0, 408, 409, 429) or status >= 500 for status in self._statuses):
            return Pending(upstream_job=self._ticket, state="completed")
        detail = f"the addresses of the clip answered {self._statuses}"
        if any(status in (404, 410) for status in self._statuses):
            return Failed(code=ErrorCode.PROVIDER_EXPIRED, message=failures.EXPIRED, cost_nano=cost, detail=detail)
        if 200 in self._statuses:
            return Failed(code=ErrorCode.RESULT_INVALID, message=_NO_CLIP, cost_nano=cost, detail=detail)
        return Failed(code=ErrorCode.PROVIDER_FAILED, message=_WITHHELD, cost_nano=cost, detail=detail)


def _failed(body: dict[str, Any], cost: int | None, detail: str) -> Failed:
    error = failures.error_of(body)
    if failures.is_refusal(error, 403):
        return Failed(code=ErrorCode.PROVIDER_REFUSED, message=failures.REFUSED, cost_nano=cost, detail=detail)
    return Failed(code=ErrorCode.PROVIDER_FAILED, message=_FAILED, cost_nano=cost, detail=detail)


def _body(request: Request, callback: str | None) -> bytes:
    """The JSON of a submit; reads the pictures, so it belongs in a thread."""
    body: dict[str, Any] = {"model": request.model}
    if request.prompt:
        body["prompt"] = request.prompt
    body |= {name: request.params[name] for name in _PLAIN if name in request.params}
    frames = [
        {**image_part(picture), "frame_type": picture.role} for picture in request.pictures if picture.role in _FRAMES
    ]
    references = [image_part(picture) for picture in request.pictures if picture.role not in _FRAMES]
    if frames:
        body["frame_images"] = frames
    if references:
        body["input_references"] = references
    if callback:
        body["callback_url"] = callback
    return msgspec.json.encode(body)


def _identifier(value: Any) -> str | None:
    """The job's id as text. What could be taken for a folder in a path is no id."""
    identifier = str(value) if whole(value) is not None else text(value)
    return None if _ODD_ID.fullmatch(identifier) or len(identifier) > _MAX_ID else identifier
