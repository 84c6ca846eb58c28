"""Faults that a prompt can request of this service, each in square brackets, as in `[nsfw] a lighthouse`."""

import re

FAULTS = {
    # Before the request is accepted.
    "credits": "The account is locked because its balance is exhausted (403).",
    "ratelimit": "The first attempt exceeds the rate limit (429); later attempts succeed.",
    "ratelimit-long": "Every attempt exceeds the rate limit (429), with a Retry-After of half an hour.",
    "overloaded": "No gateway is available at the first attempt (503); later attempts succeed.",
    "html": "A proxy in front of the service responds with an HTML error page (502).",
    "unreachable": "The connection breaks before the request is accepted.",
    "ambiguous": "The request is accepted and charged, but the connection breaks before the response.",
    "no-links": "The answer to a submit has no URLs.",
    "foreign-links": "The answer to a submit has URLs of another server, which must not be called.",
    # While it runs.
    "slow": "Every step takes five times as long.",
    "stuck": "The generation never finishes.",
    "odd-state": "The job reports an unknown status for a while, then completes.",
    "uncancellable": "A cancel is accepted, but the job is finished and billed nevertheless.",
    # Ends that are failures.
    "fail": "The model fails (500, internal_server_error).",
    "refuse": "The content violates the policy (422, content_policy_violation).",
    "no-media": "The model generates nothing (422, no_media_generated).",
    "invalid": "The model rejects the input with a list of errors (422).",
    "detail": "The model rejects the input with a plain sentence (422).",
    "runner": "The status of the completed job has an error, and so has the result (503, runner_disconnected).",
    "cancelled": "The job ends as cancelled without a request (499).",
    "forgotten": "The completed job is no longer known (404).",
    # Results that are not what was asked for.
    "nsfw": "Every image is black and flagged as unsafe.",
    "nsfw-one": "The first image is black and flagged as unsafe.",
    "empty": "The output has no file.",
    "data-url": "The files are data URLs.",
    "private": "The file is at a private address.",
    "gone": "The file has expired (404).",
    "notyet": "The first download of each file fails (503).",
    "redirect": "The file is at an address that redirects to another host.",
    "badmedia": "The file is not a valid image or video.",
    "huge": "The file is far larger than the maximum download size.",
    "cut": "The connection breaks in the middle of the file.",
    "stamp": "The file is 64 × 64 pixels, regardless of the requested size.",
}

_PATTERN = re.compile(r"\[([a-z-]{2,20})\]", re.I)


def requested_faults(prompt: str) -> frozenset[str]:
    """The faults that this prompt requests."""
    return frozenset(name.lower() for name in _PATTERN.findall(prompt)) & FAULTS.keys()


def without_faults(prompt: str) -> str:
    return _PATTERN.sub(lambda found: "" if found[1].lower() in FAULTS else found[0], prompt).strip()
