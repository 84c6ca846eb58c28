"""Faults that a prompt can request, so that users and tests can see how Atelier handles each of them.

For example, `[fail] a lighthouse` makes the generation fail. The sentences are shown on pages as simulator commands; the
simulated services implement the faults.
"""

import re

import msgspec

from app.providers.simulator.state import Kind

GENERATED: tuple[Kind, ...] = ("text", "image", "video")
ALL_KINDS: tuple[Kind, ...] = (*GENERATED, "embeddings", "speech", "transcription", "moderation")
PRICED: tuple[Kind, ...] = (*GENERATED, "embeddings", "speech", "transcription")
MEDIA: tuple[Kind, ...] = ("image", "video")
TEXT_AND_IMAGE: tuple[Kind, ...] = ("text", "image")


class Directive(msgspec.Struct, frozen=True):
    """What a name in square brackets does, as a sentence for users, and the kinds of output that support it."""

    sentence: str
    kinds: tuple[Kind, ...]


HABITS = (
    *(
        "reasoning",
        "logprobs",
        "choices",
        "empty",
        "refusal",
        "images",
        "emoji",
        "no-index",
        "cached",
        "nan",
        "unknown",
    ),
    *("fingerprint", "sse", "error-event", "gzip"),
)
"""What real providers do beyond a plain answer; `openrouter.habits` explains and plays each of them."""

DIRECTIVES: dict[str, Directive] = {
    # Reported errors.
    "fail": Directive("The provider accepts the request, but the generation fails.", ALL_KINDS),
    "refuse": Directive("Content moderation rejects the prompt before generation starts.", ALL_KINDS),
    "credits": Directive("The provider account has no credits left.", ALL_KINDS),
    "key-limit": Directive("The provider API key has reached its spending limit.", ALL_KINDS),
    "in-flight": Directive(
        "The first attempt exceeds the budget for requests in progress; later attempts succeed.", ALL_KINDS
    ),
    "ratelimit": Directive("The first attempt exceeds the rate limit (429); later attempts succeed.", ALL_KINDS),
    "ratelimit-long": Directive(
        "Every attempt exceeds the rate limit (429), with a Retry-After of half an hour.", ALL_KINDS
    ),
    "too-long": Directive("The conversation exceeds the maximum context length of the model (400).", ("text",)),
    "overloaded": Directive("No provider is available at the first attempt (503); later attempts succeed.", ALL_KINDS),
    "busy": Directive("The provider is overloaded at the first attempt (529); later attempts succeed.", ALL_KINDS),
    "html": Directive("A proxy in front of the provider responds with an HTML error page (502).", ALL_KINDS),
    "expire": Directive("The video job expires because it takes too long.", ("video",)),
    "cancelled": Directive("The provider cancels the video job.", ("video",)),
    # Connection failures.
    "unreachable": Directive("The connection breaks before the provider accepts the request.", ALL_KINDS),
    "ambiguous": Directive(
        "The request is accepted and charged, but the connection breaks before the response.", ALL_KINDS
    ),
    "cut": Directive("The result is truncated: the connection breaks in the middle.", ALL_KINDS),
    "trickle": Directive("The result arrives at one byte per second.", ALL_KINDS),
    # Delays.
    "slow": Directive("Every step takes five times as long.", ALL_KINDS),
    "stuck": Directive("The generation never finishes.", ALL_KINDS),
    "odd-state": Directive("The video job reports an unknown status for a while, then completes.", ("video",)),
    # Invalid results.
    "badmedia": Directive("The result is not a valid image, video or audio file.", (*MEDIA, "speech")),
    "huge": Directive("The result is far larger than the maximum download size.", (*GENERATED, "speech")),
    "stamp": Directive("The image or video is 64 × 64 pixels, regardless of the requested size.", MEDIA),
    "text-only": Directive("The model responds with text instead of an image.", ("image",)),
    "error-in-stream": Directive("The response starts normally and then reports an error.", TEXT_AND_IMAGE),
    "error-first": Directive("The response has status 200, but its first event is an error.", TEXT_AND_IMAGE),
    "error-200": Directive(
        "The provider reports an error in a response with status 200.",
        (*TEXT_AND_IMAGE, "embeddings", "transcription", "moderation"),
    ),
    # Video polling and download.
    "absolute": Directive("The polling URL is absolute instead of a path.", ("video",)),
    "foreign-poll": Directive("The polling URL points to another server and must not be followed.", ("video",)),
    "urls": Directive(
        "The completed video has a signed URL that needs no API key and expires after an hour.", ("video",)
    ),
    "no-urls": Directive("The completed video has no download URL.", ("video",)),
    "video_url": Directive("The completed video has its download URL in the old field video_url.", ("video",)),
    "redirect": Directive("The download redirects to another server, which must not receive the API key.", ("video",)),
    "gone": Directive("The completed video has already been deleted.", ("video",)),
    "notyet": Directive("The video job is completed, but the first download attempt is too early (409).", ("video",)),
    # Cost, and an old endpoint.
    "no-cost": Directive("The result has no cost, and the cost never becomes available.", PRICED),
    "late-cost": Directive("The result has no cost; the cost becomes available a little later.", PRICED),
    "generations": Directive("Uses the legacy endpoint /images/generations.", ("image",)),
    # Answers that clients must pass on as they are.
    "upstream:NAME": Directive(
        f"The response reproduces a quirk of real providers. NAME is one of: {', '.join(HABITS)}.", ("text",)
    ),
}

DIRECTIVE_PATTERN = re.compile(r"\[([A-Za-z0-9_-]{2,20}(?::[A-Za-z-]{2,20})?)\]")


def faults_in(prompt: str, kind: Kind) -> frozenset[str]:
    """The faults that this prompt requests and that this kind of output supports."""
    names = {name.lower() for name in DIRECTIVE_PATTERN.findall(prompt)}
    return frozenset(name for name in names if (found := _directive(name)) is not None and kind in found.kinds)


def strip_faults(prompt: str) -> str:
    """The prompt without its directives."""
    stripped = DIRECTIVE_PATTERN.sub(lambda match: match[0] if _directive(match[1].lower()) is None else "", prompt)
    return re.sub(r"[ \t]{2,}", " ", stripped).strip()


def _directive(name: str) -> Directive | None:
    head, _, habit = name.partition(":")
    return DIRECTIVES.get("upstream:NAME" if head == "upstream" and habit in HABITS else name)
