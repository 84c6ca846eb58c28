"""Downloads the videos of a finished job. Where they are differs between servers, so several URLs are tried."""

from pathlib import Path
from typing import Any

import msgspec

from app.providers import failures
from app.providers.coerce import text, texts
from app.providers.contract import (
    Completed,
    ErrorCode,
    Failed,
    MissingOutput,
    Outcome,
    Pending,
    ResultFile,
    UpstreamJob,
)
from app.providers.errors import AddressNotAllowed, ClientError, TooBig
from app.providers.openai_format.api import Api, segment
from app.providers.openai_format.media import SaveError, disk_full, too_big

_MAX_VIDEOS = 10
_DOWNLOAD_REFUSED = (
    "The video was generated, but the provider refused the download. Ask an administrator to check the API key."
)
_NOT_A_VIDEO = "The provider returned a file that is not a video. Generate it again or choose another model."


class VideoDownloads:
    """Downloads the videos of a finished job into `folder`, each from the first URL that has it."""

    def __init__(self, api: Api, upstream_job: UpstreamJob, folder: Path, max_bytes: int, *, numbered: bool) -> None:
        """`numbered`: a job can have several videos, each with its number in the download URL."""
        self._api = api
        self._upstream_job = upstream_job
        self._folder = folder
        self._max_bytes = max_bytes
        self._numbered = numbered
        self._statuses: list[int] = []  # of the failed URLs; 0 means no response

    async def run(self, body: dict[str, Any], cost: int | None) -> Outcome:
        signed, unsigned = texts(body.get("urls")), texts(body.get("unsigned_urls"))
        media: list[ResultFile] = []
        failures_by_index: dict[int, Failed] = {}
        for index in range(min(max(len(signed), len(unsigned), 1), _MAX_VIDEOS)):
            self._statuses.clear()
            try:
                video = await self._first_available(index, signed, unsigned, text(body.get("video_url")))
            except SaveError as exc:
                failed: Outcome = msgspec.structs.replace(exc.outcome, cost_nano=cost)
            else:
                if video is not None:
                    media.append(video)
                    continue
                failed = self._unavailable(cost)
            if not isinstance(failed, Failed) or failed.code is ErrorCode.STORAGE_FULL:
                return failed
            failures_by_index[index] = failed
        if not media:
            return failures_by_index[0]
        return Completed(
            media=tuple(media),
            missing=tuple(MissingOutput(index, each.code, each.message) for index, each in failures_by_index.items()),
            cost_nano=cost,
            generation_id=text(body.get("generation_id")) or None,
        )

    async def _first_available(
        self, index: int, signed: list[str], unsigned: list[str], legacy: str
    ) -> ResultFile | None:
        """Signed links need no key. The key is sent to the others only if they have the API's origin."""
        to = self._folder / f"video-{index}"
        content = self._api.url(
            f"/videos/{segment(self._upstream_job.id)}/content", **({"index": index} if self._numbered else {})
        )
        urls = [(link, False) for link in signed[index : index + 1]]
        for link in [*unsigned[index : index + 1], *([legacy] if legacy and index == 0 else []), content]:
            urls.append((link, self._api.own(link) is not None))
        for link, with_key in dict.fromkeys(urls):
            result = await self._download(link, to, with_key=with_key)
            if result in (401, 403) and not with_key and self._api.own(link):
                result = await self._download(link, to, with_key=True)
            if isinstance(result, ResultFile):
                return result
            self._statuses.append(result)
        return None

    async def _download(self, link: str, to: Path, *, with_key: bool) -> ResultFile | int:
        """The downloaded video, or the failing status; 0 means no response."""
        try:
            result = await self._api.download(
                self._api.own(link) or link, to, max_bytes=self._max_bytes, with_key=with_key
            )
        except TooBig as exc:
            raise too_big(str(exc)) from None
        except AddressNotAllowed as exc:
            self._api.log.warning("video URL not allowed", upstream_job=self._upstream_job.id, exc=str(exc))
            return 403
        except ClientError:
            return 0
        except OSError as exc:
            raise disk_full(exc) from None
        if result.status == 200 and result.bytes and not result.mime.startswith(("text/", "application/json")):
            return ResultFile(path=to, reported_mime=result.mime or None)
        return result.status

    def _unavailable(self, cost: int | None) -> Pending | Failed:
        """The outcome when no URL had the video: poll again if any of the failures may be temporary."""
        if any(status in (0, 408, 409, 429) or status >= 500 for status in self._statuses):
            return Pending(upstream_job=self._upstream_job, state="completed")
        detail = f"video URLs returned {self._statuses}"
        if any(status in (404, 410) for status in self._statuses):
            return failures.expired(detail, cost)
        if 200 in self._statuses:
            return Failed(code=ErrorCode.RESULT_INVALID, message=_NOT_A_VIDEO, cost_nano=cost, detail=detail)
        return Failed(code=ErrorCode.PROVIDER_FAILED, message=_DOWNLOAD_REFUSED, cost_nano=cost, detail=detail)
