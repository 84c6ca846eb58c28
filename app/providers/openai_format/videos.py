"""Video generation: submit once, poll until the job ends, then download.

A failed poll does not fail the job, which continues upstream. A job ends only when the provider reports a final state or no
longer knows it.
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.providers import failures
from app.providers.bodies import EncodedBody
from app.providers.coerce import amount, cost_nano, integer, mapping, text
from app.providers.contract import ErrorCode, Failed, Kind, Outcome, Pending, Request, UpstreamJob
from app.providers.errors import ClientError
from app.providers.openai_format import error_responses
from app.providers.openai_format.api import Api, segment
from app.providers.openai_format.video_downloads import VideoDownloads
from app.providers.responses import JsonResponse

_PATH = "/videos"
_RUNNING = ("pending", "queued", "in_progress")
_MAX_NOT_FOUND = 5  # consecutive 404 polls; a few are normal right after the submit
_MAX_ID = 500
_MAX_STATE = 100
_MAX_DELAY = 60.0  # seconds
_INVALID_ID = re.compile(r"\.{1,2}|\s*")

_FAILED = "The provider could not generate this video. Change the request or choose another model."
_CANCELLED = "The provider cancelled this video. Generate it again."


class VideoClient:
    """Video generation through one API."""

    def __init__(
        self, api: Api, max_bytes: int, encode: Callable[[Request], EncodedBody], *, numbered: bool = False
    ) -> None:
        """`encode` makes the body of a submit, and runs in a thread. `numbered` says that a job can have several videos."""
        self._api = api
        self._max_bytes = max_bytes
        self._encode = encode
        self._numbered = numbered
        self._not_found: dict[str, int] = {}  # upstream job id -> consecutive 404 polls
        self._polls_failing = False  # polls are failing now; logged once, not for every poll
        self._unknown_states: set[str] = set()  # unknown states, each logged once

    async def submit(self, request: Request) -> Outcome:
        content = await asyncio.to_thread(self._encode, request)
        try:
            response = await self._api.post(_PATH, content, total=self._api.timeouts.video)
        except ClientError as exc:
            return failures.no_response(exc)
        detail = self._api.detail(f"{response.status} {error_responses.message_of(response)}")
        if response.status not in (200, 201, 202):
            return error_responses.failed(response, Kind.VIDEO, detail)
        body = mapping(response.body)
        identifier = _identifier(body.get("id"))
        if identifier is None:
            if error_responses.error_of(body):
                return _failed(body, None, detail)
            return Failed(code=ErrorCode.OUTCOME_UNKNOWN, message=failures.UNKNOWN, detail=detail)
        polling_url = text(body.get("polling_url"))
        upstream_job = UpstreamJob(id=identifier, polling_url=self._api.own(polling_url) if polling_url else None)
        return Pending(upstream_job=upstream_job, state=text(body.get("status"))[:_MAX_STATE] or "pending")

    async def poll(self, upstream_job: UpstreamJob, folder: Path) -> Outcome:
        try:
            response = await self._request_state(upstream_job)
        except ClientError as exc:
            self._poll_failed(upstream_job, str(exc))
            return Pending(upstream_job=upstream_job, state="unanswered")
        outcome = await self._outcome(upstream_job, response, folder)
        if not (isinstance(outcome, Pending) and outcome.state == "missing"):
            self._not_found.pop(upstream_job.id, None)
        return outcome

    async def _request_state(self, upstream_job: UpstreamJob) -> JsonResponse:
        """Poll the stored URL if it still has the API's origin, because the key is sent to it. Behind a proxy with a path
        prefix that URL is wrong; after a 404, the URL is built from the id."""
        by_id = self._api.url(f"{_PATH}/{segment(upstream_job.id)}")
        stored = self._api.own(upstream_job.polling_url) if upstream_job.polling_url else None
        response = await self._api.get(stored or by_id, self._api.timeouts.poll)
        if response.status == 404 and stored not in (None, by_id):
            return await self._api.get(by_id, self._api.timeouts.poll)
        return response

    async def _outcome(self, upstream_job: UpstreamJob, response: JsonResponse, folder: Path) -> Outcome:
        if response.status != 200 or not isinstance(response.body, dict):
            return self._inconclusive(upstream_job, response)
        self._poll_succeeded()
        state = text(response.body.get("status"))[:_MAX_STATE]
        cost = cost_nano(response.body)
        detail = self._api.detail(f"{state}: {error_responses.message_of(response)}")
        if state == "completed":
            downloads = VideoDownloads(self._api, upstream_job, folder, self._max_bytes, numbered=self._numbered)
            return await downloads.run(response.body, cost)
        if state == "failed":
            return _failed(response.body, cost, detail)
        if state == "cancelled":
            return Failed(code=ErrorCode.PROVIDER_FAILED, message=_CANCELLED, cost_nano=cost, detail=detail)
        if state == "expired":
            return failures.expired(detail, cost)
        if state not in _RUNNING and state not in self._unknown_states:
            self._unknown_states.add(state)
            self._api.log.warning("unknown video job state", upstream_job=upstream_job.id, state=state)
        progress = integer(response.body.get("progress"))
        return Pending(
            upstream_job=upstream_job,
            state=state or "unknown",
            progress=progress if progress is not None and 0 <= progress <= 100 else None,
            wait=_poll_delay(response.headers),
        )

    def _inconclusive(self, upstream_job: UpstreamJob, response: JsonResponse) -> Outcome:
        """A response that says nothing about the job. This includes a rejected key, which an admin may be replacing."""
        detail = self._api.detail(f"{response.status} {error_responses.message_of(response)}")
        if response.status == 404:
            self._not_found[upstream_job.id] = self._not_found.get(upstream_job.id, 0) + 1
            if self._not_found[upstream_job.id] < _MAX_NOT_FOUND:
                return Pending(upstream_job=upstream_job, state="missing")
        if response.status in (404, 410):
            return failures.expired(detail)
        self._poll_failed(upstream_job, detail)
        return Pending(upstream_job=upstream_job, state="unanswered", wait=failures.retry_after(response.headers))

    def _poll_failed(self, upstream_job: UpstreamJob, reason: str) -> None:
        if not self._polls_failing:
            self._api.log.warning("video polls failing", upstream_job=upstream_job.id, reason=reason)
        self._polls_failing = True

    def _poll_succeeded(self) -> None:
        if self._polls_failing:
            self._api.log.info("video polls recovered")
        self._polls_failing = False


def _failed(body: dict[str, Any], cost: int | None, detail: str) -> Failed:
    error = error_responses.error_of(body)
    if error_responses.is_refusal(error, 403):
        return failures.refused(detail, cost)
    return Failed(code=ErrorCode.PROVIDER_FAILED, message=_FAILED, cost_nano=cost, detail=detail)


def _poll_delay(headers: dict[str, str]) -> float | None:
    milliseconds = amount(headers.get("openai-poll-after-ms"))
    return failures.retry_after(headers) if milliseconds is None else min(float(milliseconds) / 1000, _MAX_DELAY)


def _identifier(value: Any) -> str | None:
    """The job's id as text; None when it is missing, too long, or would be read as a relative path segment."""
    identifier = str(value) if integer(value) is not None else text(value)
    return None if _INVALID_ID.fullmatch(identifier) or len(identifier) > _MAX_ID else identifier
