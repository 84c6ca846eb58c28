"""Failures that can be asked for in a prompt, so that a person or a test can see how Atelier meets each of them.

`[fail] a lighthouse` is a lighthouse that fails. This table is the only place where the names are explained; the
personas act on them.
"""

import re

import msgspec

from app.providers.simulator.state import Kind

EVERY: tuple[Kind, ...] = ("text", "image", "video")
MEDIA: tuple[Kind, ...] = ("image", "video")
WRITING: tuple[Kind, ...] = ("text", "image")


class Directive(msgspec.Struct, frozen=True):
    """What one name in square brackets does, in a sentence for people, and for which kinds of work."""

    sentence: str
    kinds: tuple[Kind, ...]


DIRECTIVES: dict[str, Directive] = {
    # It does not work, and the service says so.
    "fail": Directive("The work is accepted and then fails on the side of the provider.", EVERY),
    "refuse": Directive("The content is refused by moderation, before anything is made.", EVERY),
    "credits": Directive("The account has no credits left.", EVERY),
    "key-limit": Directive("The key has reached its own spending limit.", EVERY),
    "in-flight": Directive("Too much unpaid work is under way at the first try; the next try works.", EVERY),
    "ratelimit": Directive(
        "The first try of this prompt is one too many for the minute; from the next on it works.", EVERY
    ),
    "overloaded": Directive("Nobody is free to take the work at the first try; from the next on it works.", EVERY),
    "busy": Directive("The provider itself is overloaded (529) at the first try; from the next on it works.", EVERY),
    "html": Directive("Something in front of the service answers with a web page instead of data.", EVERY),
    "expire": Directive("The clip is given up after a while because it took too long.", ("video",)),
    "cancelled": Directive("The clip is cancelled on the side of the provider.", ("video",)),
    # The line breaks.
    "unreachable": Directive("The connection breaks before the service has taken the work.", EVERY),
    "ambiguous": Directive(
        "The work is taken and will be charged, but the connection breaks before the answer.", EVERY
    ),
    "cut": Directive("The result breaks off in the middle.", EVERY),
    "trickle": Directive("The result arrives at one byte a second.", EVERY),
    # Time.
    "slow": Directive("Everything takes five times as long.", EVERY),
    "stuck": Directive("The work never comes to an end.", EVERY),
    "odd-state": Directive(
        "For a while the clip is in a state that nobody has heard of; then it completes.", ("video",)
    ),
    # The result is not what it should be.
    "badmedia": Directive("The result is not a picture or a clip, whatever it says it is.", MEDIA),
    "huge": Directive("The result is larger than anyone would keep.", EVERY),
    "stamp": Directive("The image or video is only as large as a stamp, whatever size was asked for.", MEDIA),
    "words-only": Directive("The model answers in words and makes no picture.", ("image",)),
    "error-in-stream": Directive("The answer begins well and then turns into an error.", WRITING),
    "error-first": Directive("The answer begins as a success whose first and only word is an error.", WRITING),
    "error-200": Directive("An error arrives dressed as a success.", WRITING),
    # How the clip is fetched.
    "absolute": Directive("The address to ask for progress is given in full instead of as a path.", ("video",)),
    "foreign-poll": Directive(
        "The address to ask for progress leads to another server; nobody should follow it.", ("video",)
    ),
    "urls": Directive(
        "The finished clip comes with a signed link that needs no key and dies after an hour.", ("video",)
    ),
    "no-urls": Directive("The finished clip comes without any link.", ("video",)),
    "video_url": Directive("The finished clip comes with the link in the old field video_url.", ("video",)),
    "redirect": Directive("Fetching the clip leads on to another server, which must not be shown the key.", ("video",)),
    "gone": Directive("The finished clip has already been thrown away.", ("video",)),
    "notyet": Directive("The clip is said to be complete, but the first fetch of it comes too early.", ("video",)),
    # Money, and an old address.
    "no-cost": Directive("The result comes without its price, and the price is never told.", EVERY),
    "late-cost": Directive("The result comes without its price, which can be asked for a little later.", EVERY),
    "generations": Directive("The old address /images/generations works for this prompt.", ("image",)),
}

WRITTEN = re.compile(r"\[([A-Za-z0-9_-]{2,20})\]")


def asked(prompt: str, kind: Kind) -> frozenset[str]:
    """The names of the failures that this prompt asks for and that exist for this kind of work."""
    names = {name.lower() for name in WRITTEN.findall(prompt)}
    return frozenset(name for name in names if name in DIRECTIVES and kind in DIRECTIVES[name].kinds)


def without(prompt: str) -> str:
    """The prompt as it was meant, without its directives."""
    meant = WRITTEN.sub(lambda match: "" if match[1].lower() in DIRECTIVES else match[0], prompt)
    return re.sub(r"[ \t]{2,}", " ", meant).strip()
