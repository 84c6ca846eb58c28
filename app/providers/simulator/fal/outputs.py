"""What a request asks for and what its result contains: the output object, or the error that it ended with."""

import base64
import re

from app.providers.contract import InputRole, ModelOffer
from app.providers.simulator import sizes
from app.providers.simulator.fal.admission import JsonObject, model_at
from app.providers.simulator.fal.errors import FalErrorAnswer, problem
from app.providers.simulator.fal.faults import requested_faults, without_faults
from app.providers.simulator.openai_format.admission import reference_image
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import JobStore, SimulatedJob

PRESETS = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
    "auto_2K": (2048, 2048),
    "auto_4K": (4096, 4096),
}
DEFAULT_SECONDS = 5
DEFAULT_FRAMES = 25
MAX_SECONDS = 15
NOT_MEDIA = b"This is neither an image nor a video. " * 100
PRIVATE_LINK = "http://10.0.0.1/files/result"
UPLOADS = "/simulator/fal/uploads/"


def failure_of(job: SimulatedJob) -> FalErrorAnswer | None:
    """The error that the job has ended with, None if it has a result."""
    wrong_input = job.usage["problems"]
    table = {
        "fail": FalErrorAnswer(500, [problem("internal_server_error", "The model failed.")]),
        "refuse": FalErrorAnswer(422, [problem("content_policy_violation", "The content was flagged.", "prompt")]),
        "no-media": FalErrorAnswer(422, [problem("no_media_generated", "No media was generated.")]),
        "invalid": FalErrorAnswer(422, [problem("image_too_small", "The image is too small.", "image_url")]),
        "detail": FalErrorAnswer(422, "The request could not be processed."),
        "runner": FalErrorAnswer(503, "The runner disconnected.", "runner_disconnected"),
        "cancelled": FalErrorAnswer(499, "The request was cancelled.", "client_cancelled"),
    }
    if job.outcome in table:
        return table[job.outcome]
    return FalErrorAnswer(422, wrong_input) if wrong_input else None


async def output_of(runtime: Runtime, job: SimulatedJob, files_origin: str) -> JsonObject:
    """The output object. Files are at another origin, where they are made when they are fetched."""
    offer, faults = model_at(job.model), requested_faults(job.prompt)
    extension, mime = _format(job)
    entries = []
    for index in range(0 if "empty" in faults else count_of(offer, job)):
        link = f"{files_origin}/simulator/fal/files/{job.id}/{index}.{extension}"
        if "data-url" in faults or job.request.get("sync_mode") is True:
            content = await runtime.render(render_image, runtime.store, job, index)
            link = f"data:{mime};base64,{base64.b64encode(content).decode()}"
        elif "private" in faults:
            link = PRIVATE_LINK
        entries.append({"url": link, "content_type": mime, "file_name": f"{index}.{extension}"})
    if job.kind == "video":
        return {"video": entries[0] if entries else None, "seed": job.seed}
    width, height = size_of(job)
    return {
        "images": [{**entry, "width": width, "height": height} for entry in entries],
        "seed": job.seed,
        "prompt": job.prompt,
        "has_nsfw_concepts": [is_blocked(job, index) for index in range(len(entries))],
        "timings": {"inference": 1.5},
    }


def count_of(offer: ModelOffer, job: SimulatedJob) -> int:
    count = job.request.get(offer.outputs.field, 1) if offer.outputs.field else 1
    return count if isinstance(count, int) else 1


def is_blocked(job: SimulatedJob, index: int) -> bool:
    faults = requested_faults(job.prompt)
    return "nsfw" in faults or ("nsfw-one" in faults and index == 0)


def size_of(job: SimulatedJob) -> tuple[int, int]:
    """Width and height of an image without an input image of its own size."""
    if "stamp" in requested_faults(job.prompt):
        return sizes.STAMP
    size = job.request.get("image_size")
    if isinstance(size, dict):
        return int(size.get("width", 512)), int(size.get("height", 512))
    if isinstance(size, str):
        return PRESETS.get(size) or sizes.pixels(size) or PRESETS["square_hd"]
    return sizes.image_size_in_pixels(job.request.get("aspect_ratio"), job.request.get("resolution"))


def seconds_of(job: SimulatedJob) -> int:
    """The duration of a video: models call it `5`, `"5"` or `"5s"`, or count frames."""
    request = job.request
    digits = re.match(r"\d+", str(request.get("duration", "")))
    if digits:
        return min(MAX_SECONDS, int(digits[0]))
    rate = request.get("fps") or request.get("frames_per_second")
    frames = request.get("num_frames", DEFAULT_FRAMES)
    return (
        min(MAX_SECONDS, max(1, frames // rate))
        if isinstance(rate, int) and isinstance(frames, int)
        else DEFAULT_SECONDS
    )


def inputs_of(store: JobStore, job: SimulatedJob) -> dict[InputRole, list[bytes | str]]:
    """The input files by role."""
    found: dict[InputRole, list[bytes | str]] = {}
    for slot in model_at(job.model).inputs:
        value = job.request.get(slot.field)
        links = value if isinstance(value, list) else [value] if value else []
        if links:
            found[slot.role] = [_input(store, str(link)) for link in links]
    return found


def render_image(store: JobStore, job: SimulatedJob, index: int) -> bytes:
    """The bytes of one image. Blocks."""
    from app.providers.simulator.fal import painter  # late: it loads Pillow

    if is_blocked(job, index):
        return painter.black(size_of(job))
    extension, _ = _format(job)
    seed = f"{job.seed}/{index}" if index else job.seed
    return painter.paint(without_faults(job.prompt), seed, size_of(job), inputs_of(store, job), extension)


def _input(store: JobStore, link: str) -> bytes | str:
    if UPLOADS in link:
        return store.read_input(link.rpartition("/")[2])
    return reference_image(store, link)


def _format(job: SimulatedJob) -> tuple[str, str]:
    if job.kind == "video":
        return "mp4", "video/mp4"
    extension = str(job.request.get("output_format") or "jpeg")
    return extension, f"image/{extension}"
