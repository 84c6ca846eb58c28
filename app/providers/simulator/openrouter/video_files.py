"""Renders the video of a job. It depends only on the job, so its file may be deleted at any time."""

from pathlib import Path

from app.providers.simulator import sizes
from app.providers.simulator.faults import faults_in, strip_faults
from app.providers.simulator.openai_format.admission import JsonObject, reference_image
from app.providers.simulator.openrouter.persona import model_for
from app.providers.simulator.openrouter.video_requests import ability_of, image_parts, spec_of
from app.providers.simulator.state import JobStore, SimulatedJob


def render(store: JobStore, job: SimulatedJob) -> Path:
    """Path of the video, rendered if it is missing. Blocks."""
    from app.providers.simulator import videos  # late: it loads PyAV

    def frame(kind: str) -> bytes | str | None:
        for part in image_parts(job.request, "frame_images"):
            if part["frame_type"] == kind:
                return reference_image(store, part["image_url"]["url"])
        return None

    first = frame("first_frame")
    spec = spec_of(_with_frame_ratio(job.request, first), ability_of(model_for(job.request, "videos")))
    references = [
        reference_image(store, part["image_url"]["url"])
        for part in image_parts(job.request, "input_references")
        if part["type"] == "image_url"
    ]
    video = videos.Video(
        prompt=strip_faults(job.prompt),
        seed=job.seed,
        size=sizes.STAMP if "stamp" in faults_in(job.prompt, "video") else spec.size,
        seconds=spec.seconds,
        audio=spec.audio,
        first=first or (references[0] if references else None),
        last=frame("last_frame"),
    )
    return videos.cached(store.videos / f"{job.id}.mp4", video)


def _with_frame_ratio(request: JsonObject, first: bytes | str | None) -> JsonObject:
    """The request with the aspect ratio of the first frame, if it has no size or aspect ratio."""
    from app.providers.simulator import images  # late: it loads Pillow

    if not isinstance(first, bytes) or request.get("size") or request.get("aspect_ratio"):
        return request
    width, height = images.size_of(first)
    across = min(21 / 9, max(9 / 21, width / height))
    return {**request, "aspect_ratio": f"{across:.4f}:1"}
