"""What the suite must know of a provider, and the providers that it tests."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from app.providers.client import Client
from app.providers.contract import Kind, Provider, Request
from app.providers.fal import Fal
from app.providers.openai import OpenAI
from app.providers.openrouter import OpenRouter
from tests.providers.fake_upstream import Upstream, js
from tests.providers.openrouter.kit import PATIENT

KEY = "sk-conformance-very-secret-0123456789"
MAX_IMAGE = 2_000_000
MAX_VIDEO = 20_000_000
FAULTS = frozenset(
    {
        "ambiguous",
        "refuse",
        "credits",
        "fail",
        "ratelimit",
        "ratelimit-long",
        "cut",
        "huge",
        "stuck",
        "gone",
        "redirect",
    }
    | {"html", "unreachable", "error-in-stream"}
)


class ProviderUnderTest(msgspec.Struct, frozen=True, kw_only=True):
    """One provider. `requests` has a small valid request for each kind, whose prompt the tests replace."""

    name: str
    base_paths: tuple[str, ...]  # of its APIs, at the simulator and at the scripted server
    build: Callable[[Client, Sequence[str], str], Provider]  # with the base URLs and a key
    requests: Mapping[Kind, Request]
    reports_cost: bool
    submits: Mapping[Kind, str]  # the path of each kind's paid POST at the scripted server
    polls: Mapping[
        Kind, str
    ]  # the path of the poll of the job that `script_result` makes, for each kind that is polled
    # Make the scripted server end a job of this kind with results at these links; one link at most for videos.
    script_result: Callable[[Upstream, Kind, Sequence[str]], None]
    faults: frozenset[str] = FAULTS  # that the persona plays
    guessed: frozenset[str] = frozenset()  # models of whose values the service says nothing, so that it may refuse some

    def request(self, kind: Kind, prompt: str) -> Request:
        return msgspec.structs.replace(self.requests[kind], prompt=prompt)

    @property
    def polled(self) -> list[Kind]:
        """The kinds whose submit is answered with a job."""
        return list(self.polls)

    @property
    def media(self) -> list[Kind]:
        return [kind for kind in self.requests if kind in (Kind.IMAGE, Kind.VIDEO)]


def _request(kind: Kind, model: str, route: str, **params: Any) -> Request:
    return Request(job_id="j", kind=kind, model=model, prompt="", params=params, route=route)


# OpenRouter


def _openrouter(client: Client, base_urls: Sequence[str], key: str) -> Provider:
    return OpenRouter(
        client,
        base_urls[0],
        key,
        max_image_bytes=MAX_IMAGE,
        max_video_bytes=MAX_VIDEO,
        is_openrouter=True,
        timeouts=PATIENT,
    )


def _script_openrouter(upstream: Upstream, kind: Kind, links: Sequence[str]) -> None:
    upstream.on("POST", "/api/v1/images", js({"data": [{"url": link} for link in links]}))
    upstream.on("POST", "/api/v1/videos", js({"id": "v1", "status": "pending"}, 202))
    upstream.on("GET", "/api/v1/videos/v1", js({"id": "v1", "status": "completed", "unsigned_urls": links}))


OPENROUTER = ProviderUnderTest(
    name="openrouter",
    base_paths=("/api/v1",),
    build=_openrouter,
    requests={
        Kind.TEXT: _request(Kind.TEXT, "deepseek/deepseek-v4", "chat"),
        Kind.IMAGE: _request(Kind.IMAGE, "bytedance-seed/seedream-5", "images"),
        Kind.VIDEO: _request(
            Kind.VIDEO, "kwaivgi/kling-v3.0-pro", "videos", duration=2, resolution="480p", aspect_ratio="16:9"
        ),
    },
    reports_cost=True,
    submits={Kind.TEXT: "/api/v1/chat/completions", Kind.IMAGE: "/api/v1/images", Kind.VIDEO: "/api/v1/videos"},
    polls={Kind.VIDEO: "/api/v1/videos/v1"},
    guessed=frozenset({"alibaba/wan-2.6"}),
    script_result=_script_openrouter,
)

# OpenAI, and a compatible server, which also has videos and links to images


def _openai(client: Client, base_urls: Sequence[str], key: str, *, is_openai: bool = True) -> Provider:
    return OpenAI(
        client,
        base_urls[0],
        key,
        name="openai" if is_openai else "local",
        max_image_bytes=MAX_IMAGE,
        max_video_bytes=MAX_VIDEO,
        is_openai=is_openai,
        timeouts=PATIENT,
    )


def _compatible(client: Client, base_urls: Sequence[str], key: str) -> Provider:
    return _openai(client, base_urls, key, is_openai=False)


def _script_openai(upstream: Upstream, kind: Kind, links: Sequence[str]) -> None:
    for base in ("/openai/v1", "/compatible/v1"):
        upstream.on("POST", f"{base}/images/generations", js({"data": [{"url": link} for link in links]}))
        upstream.on("POST", f"{base}/videos", js({"id": "v1", "status": "queued"}))
        upstream.on("GET", f"{base}/videos/v1", js({"id": "v1", "status": "completed"}))
        upstream.on("GET", f"{base}/videos/v1/content", js({}, 302, Location=links[0]))


OPENAI = ProviderUnderTest(
    name="openai",
    base_paths=("/openai/v1",),
    build=_openai,
    requests={
        Kind.TEXT: _request(Kind.TEXT, "gpt-5.5", "chat"),
        Kind.IMAGE: _request(Kind.IMAGE, "gpt-image-2", "images", quality="low"),
    },
    reports_cost=False,
    submits={Kind.TEXT: "/openai/v1/chat/completions", Kind.IMAGE: "/openai/v1/images/generations"},
    polls={},
    script_result=_script_openai,
)
COMPATIBLE = ProviderUnderTest(
    name="openai-compatible",
    base_paths=("/compatible/v1",),
    build=_compatible,
    requests={**OPENAI.requests, Kind.VIDEO: _request(Kind.VIDEO, "sora-2", "videos", seconds="4")},
    reports_cost=False,
    submits={
        Kind.TEXT: "/compatible/v1/chat/completions",
        Kind.IMAGE: "/compatible/v1/images/generations",
        Kind.VIDEO: "/compatible/v1/videos",
    },
    polls={Kind.VIDEO: "/compatible/v1/videos/v1"},
    script_result=_script_openai,
)

# fal


def _fal(client: Client, base_urls: Sequence[str], key: str) -> Provider:
    queue_url, rest_url = base_urls
    return Fal(client, queue_url, rest_url, key, max_image_bytes=MAX_IMAGE, max_video_bytes=MAX_VIDEO)


def _script_fal(upstream: Upstream, kind: Kind, links: Sequence[str]) -> None:
    output = {"images": [{"url": link} for link in links]} if kind is Kind.IMAGE else {"video": {"url": links[0]}}
    for model in ("fal-ai/flux/dev", "fal-ai/veo3.1"):
        base = f"/fal/queue/{'/'.join(model.split('/')[:2])}/requests/v1"
        upstream.on("POST", f"/fal/queue/{model}", js({"request_id": "v1", "status": "IN_QUEUE"}))
        upstream.on("GET", f"{base}/status", js({"status": "COMPLETED"}))
        upstream.on("GET", base, js(output))


FAL = ProviderUnderTest(
    name="fal",
    base_paths=("/fal/queue", "/fal/rest"),
    build=_fal,
    requests={
        Kind.IMAGE: _request(Kind.IMAGE, "fal-ai/flux/dev", "fal-ai/flux/dev/image-to-image", n=1, output_format="png"),
        Kind.VIDEO: _request(Kind.VIDEO, "fal-ai/veo3.1", "", duration="4s"),
    },
    reports_cost=True,
    submits={Kind.IMAGE: "/fal/queue/fal-ai/flux/dev", Kind.VIDEO: "/fal/queue/fal-ai/veo3.1"},
    polls={
        Kind.IMAGE: "/fal/queue/fal-ai/flux/requests/v1/status",
        Kind.VIDEO: "/fal/queue/fal-ai/veo3.1/requests/v1/status",
    },
    script_result=_script_fal,
)

ALL = (OPENROUTER, OPENAI, COMPATIBLE, FAL)
