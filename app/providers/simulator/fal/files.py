"""The host of generated files, which is another origin: public to all who know a URL, and never to be sent the key."""

from pathlib import Path

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from app.providers.contract import InputRole
from app.providers.simulator import responses, sizes
from app.providers.simulator.fal.errors import FalErrorAnswer
from app.providers.simulator.fal.faults import requested_faults, without_faults
from app.providers.simulator.fal.outputs import NOT_MEDIA, inputs_of, render_image, seconds_of
from app.providers.simulator.openai_format.admission import PlainRequest
from app.providers.simulator.openai_format.origins import log_visit
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import JobStore, SimulatedJob

MIMES = {"mp4": "video/mp4", "png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@get("/files/{job_id:str}/{name:str}")
async def file(
    request: PlainRequest, job_id: FromPath[str], name: FromPath[str], runtime: NamedDependency[Runtime]
) -> ASGIApp:
    """A generated file."""
    await log_visit(request, runtime, job_id)
    job = await runtime.run_io(runtime.store.job, job_id)
    index, _, extension = name.partition(".")
    if job is None or job.phase(runtime.clock.now()) != "ended" or extension not in MIMES or not index.isdigit():
        raise FalErrorAnswer(404, "Not found")
    return await _answer(request, runtime, job, int(index), MIMES[extension])


async def _answer(request: PlainRequest, runtime: Runtime, job: SimulatedJob, index: int, mime: str) -> ASGIApp:
    faults = requested_faults(job.prompt)
    if "gone" in faults:
        raise FalErrorAnswer(404, "Not found")
    if "notyet" in faults and await runtime.run_io(runtime.store.first_time, "notyet", job.id, str(index)):
        raise FalErrorAnswer(503, "Try again")
    if "redirect" in faults and "moved" not in request.query_params:
        return responses.PlainResponse(b"", "text/plain", 302, {"location": f"{request.url.path}?moved=1"})
    if "badmedia" in faults:
        return responses.PlainResponse(NOT_MEDIA, mime)
    if "huge" in faults:
        return responses.StreamedResponse(responses.endless(b"", bytes(1024)), mime)
    if job.kind == "video":
        path = await runtime.render_once(job.id, _render_video, runtime.store, job)
        content = await runtime.run_io(path.read_bytes)
    else:
        content = await runtime.render_once(f"{job.id}/{index}", render_image, runtime.store, job, index)
    return responses.damaged(runtime, responses.PlainResponse(content, mime), faults)


def _render_video(store: JobStore, job: SimulatedJob) -> Path:
    """Path of the video, rendered if it is missing. Blocks."""
    from app.providers.simulator import images, videos  # late: they load Pillow and PyAV

    inputs = inputs_of(store, job)
    first = next(iter(inputs.get(InputRole.FIRST_FRAME, [])), None)
    last = next(iter(inputs.get(InputRole.LAST_FRAME, [])), None)
    ratio = job.request.get("aspect_ratio")
    if ratio in (None, "auto") and isinstance(first, bytes):
        width, height = images.size_of(first)
        ratio = f"{min(21 / 9, max(9 / 21, width / height)):.4f}:1"
    size = sizes.video_size_in_pixels(None if ratio == "auto" else ratio, job.request.get("resolution"))
    video = videos.Video(
        prompt=without_faults(job.prompt),
        seed=job.seed,
        size=sizes.STAMP if "stamp" in requested_faults(job.prompt) else size,
        seconds=seconds_of(job),
        audio=bool(job.request.get("generate_audio")),
        first=first,
        last=last,
    )
    return videos.cached(store.videos / f"{job.id}.mp4", video)


OTHER_ORIGIN_HANDLERS = [file]
