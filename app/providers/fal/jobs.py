"""fal's queue: a request is submitted once, its status is polled until it has ended, then its result is downloaded.

The queue has three states, and COMPLETED only means that the job has ended: the status' `error` and the result's HTTP
status show whether it has failed. A failed poll does not fail the job, which continues upstream.
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urldefrag

import msgspec
from cachetools import LRUCache

from app.base import clock, logging
from app.providers import failures
from app.providers.coerce import integer, mapping, rows, text
from app.providers.contract import ErrorCode, Failed, Failure, Outcome, Pending, Request, UpstreamJob
from app.providers.errors import ClientError, TooBig
from app.providers.fal import errors, request_body
from app.providers.fal.api import FalApi
from app.providers.fal.descriptions import description
from app.providers.fal.inputs import InputFiles
from app.providers.fal.results import COMPLETED, ResultFiles
from app.providers.responses import JsonResponse

QUEUED: Final = "IN_QUEUE"
RUNNING: Final = "IN_PROGRESS"

_ACCEPTED: Final = (200, 201, 202)
_MAX_NOT_FOUND: Final = 5  # consecutive 404 polls; a few are normal right after the submit
_MAX_ID: Final = 500
_MAX_STATE: Final = 100
_INVALID_ID: Final = re.compile(r"\.{1,2}|\s*")
_PERCENT: Final = re.compile(r"\b(\d{1,3})(?:\.\d+)?\s?%")
_LAST_LOGS: Final = 20  # log lines that are searched for the progress
_STATUS: Final = "/status"
# A poll comes after a tenth of the job's age, in seconds: an image is there within seconds, and a job that waits for an hour is
# not asked about every second.
_PATIENCE: Final = 0.1
_FIRST_POLL: Final = 1.0
_REMEMBERED: Final = 10_000  # jobs

_log = logging.get("providers.fal")


class FalJobs:
    """Jobs in fal's queue."""

    def __init__(
        self,
        api: FalApi,
        inputs: InputFiles,
        results: ResultFiles,
        max_result_bytes: int,
        callback: Callable[[str], str] | None = None,
    ) -> None:
        """`max_result_bytes` limits an output object, which may contain its files. `callback` returns the webhook URL for a
        job id."""
        self._api = api
        self._inputs = inputs
        self._results = results
        self._max_result_bytes = max_result_bytes
        self._callback = callback
        self._not_found: dict[str, int] = {}  # upstream job id -> consecutive 404 polls
        self._first_polls: LRUCache[str, float] = LRUCache(_REMEMBERED)  # upstream job id -> monotonic seconds
        self._polls_failing = False  # polls are failing now; logged once, not for every poll
        self._unknown_states: set[str] = set()  # unknown states, each logged once

    async def submit(self, request: Request) -> Outcome:
        try:
            endpoint, content = await self._prepared(request)
        except Failure as exc:
            return exc.outcome
        webhook = {"fal_webhook": self._callback(request.job_id)} if self._callback else {}
        try:
            response = await self._api.submit(endpoint, content, **webhook)
        except TooBig as exc:
            return Failed(code=ErrorCode.OUTCOME_UNKNOWN, message=failures.UNKNOWN, detail=str(exc))
        except ClientError as exc:
            return failures.no_response(exc)
        if response.status not in _ACCEPTED:
            return errors.not_accepted(self._api, response)
        return self._accepted(endpoint, response)

    async def _prepared(self, request: Request) -> tuple[str, bytes]:
        """The endpoint and the body. Raises Failure."""
        offer = await asyncio.to_thread(description, request.model)
        if request.inputs is not None:
            offer = msgspec.structs.replace(offer, inputs=request.inputs, outputs=request.outputs or offer.outputs)
        slots = request_body.slots(offer, [image.role for image in request.images])
        files = [(slot, await self._inputs.url(image)) for slot, image in zip(slots, request.images, strict=True)]
        body = request_body.body(request, offer, files)
        endpoint = request_body.endpoint(offer, has_inputs=bool(files))
        return endpoint, await asyncio.to_thread(msgspec.json.encode, body)

    def _accepted(self, endpoint: str, response: JsonResponse) -> Outcome:
        body = mapping(response.body)
        identifier = text(body.get("request_id"))
        if _INVALID_ID.fullmatch(identifier) or len(identifier) > _MAX_ID:
            detail = errors.detail_of(self._api, response)
            return Failed(code=ErrorCode.OUTCOME_UNKNOWN, message=failures.UNKNOWN, detail=detail)
        url = self._api.own(text(body.get("status_url")))
        if url is None or not url.endswith(_STATUS):
            url = self._api.request_url(endpoint, identifier) + _STATUS
        # The price of a result depends on the model, whose whole id is not in the URL; a fragment is never sent.
        url = f"{url}#{quote(endpoint)}"
        return self._pending(UpstreamJob(id=identifier, polling_url=url), _state(body) or QUEUED)

    async def poll(self, upstream_job: UpstreamJob, folder: Path) -> Outcome:
        url = self._request_url(upstream_job)
        if url is None:  # the settings name another server now
            return Pending(upstream_job=upstream_job, state="unanswered")
        try:
            response = await self._api.get(f"{url}{_STATUS}?logs=1", self._api.timeouts.poll)
            state = self._conclusive(response)
            if state.get("status") == COMPLETED:
                outcome = await self._result(upstream_job, url, state, folder)
            elif state:
                outcome = self._unfinished(upstream_job, state, response)
            else:
                outcome = self._inconclusive(upstream_job, response)
        except ClientError as exc:
            self._poll_failed(upstream_job, str(exc))
            return self._pending(upstream_job, "unanswered")
        if not (isinstance(outcome, Pending) and outcome.state == "missing"):
            self._not_found.pop(upstream_job.id, None)
        return outcome

    async def cancel(self, upstream_job: UpstreamJob) -> bool:
        """True when the job was taken off the queue or is being stopped; what is running may still be finished and billed."""
        url = self._request_url(upstream_job)
        if url is None:
            return False
        try:
            response = await self._api.put(f"{url}/cancel")
        except ClientError as exc:
            _log.warning("cancel not confirmed", upstream_job=upstream_job.id, reason=str(exc))
            return False
        return response.status in (200, 202)

    def _request_url(self, upstream_job: UpstreamJob) -> str | None:
        """The stored URL without `/status`, if it is still one of the queue, because the key is sent to it."""
        url = self._api.own(urldefrag(upstream_job.polling_url or "").url)
        return url.removesuffix(_STATUS) if url is not None else None

    @staticmethod
    def _conclusive(response: JsonResponse) -> dict[str, Any]:
        """The status object; empty when the response is none."""
        body = mapping(response.body)
        return body if response.status in (200, 202) and text(body.get("status")) else {}

    def _unfinished(self, upstream_job: UpstreamJob, body: dict[str, Any], response: JsonResponse) -> Pending:
        self._poll_succeeded()
        state = _state(body)
        if body["status"] not in (QUEUED, RUNNING) and state not in self._unknown_states:
            self._unknown_states.add(state)
            _log.warning("unknown job state", upstream_job=upstream_job.id, state=state)
        wait = failures.retry_after(response.headers)
        return self._pending(upstream_job, state, progress=_progress(body), wait=wait)

    async def _result(self, upstream_job: UpstreamJob, url: str, state: dict[str, Any], folder: Path) -> Outcome:
        try:
            response = await self._api.get(
                self._api.own(text(state.get("response_url"))) or url,
                self._api.timeouts.result,
                self._max_result_bytes,
            )
        except TooBig as exc:
            return Failed(code=ErrorCode.RESULT_TOO_LARGE, message=failures.TOO_BIG, detail=str(exc))
        if response.status == 200 and not state.get("error"):
            self._poll_succeeded()
            model = unquote(urldefrag(upstream_job.polling_url or "").fragment)
            return await self._results.download(response, upstream_job, model, folder)
        if errors.is_final(response, state):
            self._poll_succeeded()
            return errors.ended(self._api, response, state)
        return self._inconclusive(upstream_job, response)

    def _inconclusive(self, upstream_job: UpstreamJob, response: JsonResponse) -> Outcome:
        """A response that says nothing about the job. This includes a rejected key, which an admin may be replacing."""
        detail = errors.detail_of(self._api, response)
        if response.status == 404:
            self._not_found[upstream_job.id] = self._not_found.get(upstream_job.id, 0) + 1
            if self._not_found[upstream_job.id] < _MAX_NOT_FOUND:
                return self._pending(upstream_job, "missing")
        if response.status in (404, 410):
            return failures.expired(detail)
        self._poll_failed(upstream_job, detail)
        return self._pending(upstream_job, "unanswered", wait=failures.retry_after(response.headers))

    def _pending(
        self, upstream_job: UpstreamJob, state: str, *, progress: int | None = None, wait: float | None = None
    ) -> Pending:
        age = clock.steady() - self._first_polls.setdefault(upstream_job.id, clock.steady())
        within = max(_FIRST_POLL, age * _PATIENCE)
        return Pending(upstream_job=upstream_job, state=state, progress=progress, wait=wait, poll_within=within)

    def _poll_failed(self, upstream_job: UpstreamJob, reason: str) -> None:
        if not self._polls_failing:
            _log.warning("polls failing", upstream_job=upstream_job.id, reason=reason)
        self._polls_failing = True

    def _poll_succeeded(self) -> None:
        if self._polls_failing:
            _log.info("polls recovered")
        self._polls_failing = False


def _state(body: dict[str, Any]) -> str:
    """fal's name for the state, with the position in the queue."""
    state, position = text(body.get("status")), integer(body.get("queue_position"))
    return (f"{state}, position {position}" if state == QUEUED and position is not None else state)[:_MAX_STATE]


def _progress(body: dict[str, Any]) -> int | None:
    """The last percentage in the logs of a running job, which most models print for each step."""
    if body.get("status") != RUNNING:
        return None
    for row in reversed(rows(body.get("logs"))[-_LAST_LOGS:]):
        found = _PERCENT.findall(text(mapping(row).get("message")))
        if found and int(found[-1]) <= 100:
            return int(found[-1])
    return None
