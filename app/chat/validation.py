"""Validates messages, system prompts and titles, and derives a title from the first message."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.base.errors import Invalid
from app.base.sizes import format_size
from app.base.text import one_line, shortened
from app.providers.contract import Turn
from app.web.markdown import plain

MAX_MESSAGE: Final = 100_000  # characters
MAX_SYSTEM_PROMPT: Final = 16_000
MAX_TITLE: Final = 80
AUTO_TITLE: Final = 48  # characters of the first message that become the title

MAX_TURNS: Final = 200
MAX_REQUEST_TEXT: Final = 1_000_000  # characters of all messages of an API request
MAX_IMAGES: Final = 8
MAX_IMAGE: Final = 10 * 1024 * 1024  # bytes
ROLES: Final = ("system", "user", "assistant")

_IMAGE = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,([A-Za-z0-9+/]+={0,2})")


def message_text(text: str) -> str:
    """A user message with normalised line ends; raises Invalid when it is empty or too long."""
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise wrong("text", "Enter a message.")
    return _check_text(text, "text", MAX_MESSAGE)


def system_prompt(text: str) -> str:
    """A system prompt, which may be empty."""
    return _check_text(text.replace("\r\n", "\n").strip(), "system_prompt", MAX_SYSTEM_PROMPT)


def title(text: str) -> str:
    """A title entered by a user."""
    text = one_line(text)
    if not text:
        raise wrong("title", "Enter a title.")
    return _check_text(text, "title", MAX_TITLE)


def title_of(text: str) -> str:
    """A title from the first words of a message."""
    title = one_line(plain(text))
    return shortened(title, AUTO_TITLE) or "Conversation"


def turns(given: Any) -> tuple[Turn, ...]:
    """The messages of an API request; raises Invalid for the first invalid one."""
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_TURNS:
        raise wrong("messages", f"must be a list of 1 to {MAX_TURNS} messages")
    found = tuple(_turn(message, f"messages.{index}") for index, message in enumerate(given))
    if found[-1].role != "user":
        raise wrong("messages", "must end with a user message")
    if sum(len(text_of(turn)) for turn in found) > MAX_REQUEST_TEXT:
        raise wrong("messages", f"must contain at most {MAX_REQUEST_TEXT:,} characters")
    if sum(len(images_of(turn)) for turn in found) > MAX_IMAGES:
        raise wrong("messages", f"must contain at most {MAX_IMAGES} images")
    return found


def text_of(turn: Turn) -> str:
    if turn.content is None or isinstance(turn.content, str):
        return turn.content or ""
    return "".join(part["text"] for part in turn.content if part["type"] == "text")


def images_of(turn: Turn) -> Sequence[Mapping[str, Any]]:
    return [part for part in turn.content if part["type"] == "image_url"] if isinstance(turn.content, list) else []


def wrong(field: str, message: str) -> Invalid:
    sentence = message if message[0].isupper() else f"`{field}` {message}."
    return Invalid(sentence, fields={field: message})


def _turn(given: Any, field: str) -> Turn:
    if not isinstance(given, dict):
        raise wrong(field, "must be an object with role and content")
    if unknown := given.keys() - {"role", "content"}:
        raise wrong(field, f"has an unknown property {min(map(str, unknown))[:60]!r}")
    role, content = given.get("role"), given.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise wrong(f"{field}.role", f"must be one of {', '.join(ROLES)}")
    if isinstance(content, str):
        return Turn(role, _non_empty(content, f"{field}.content"))
    if not isinstance(content, list) or not content:
        raise wrong(f"{field}.content", "must be a string or a list of parts")
    return Turn(role, [_part(part, role, f"{field}.content.{index}") for index, part in enumerate(content)])


def _part(given: Any, role: str, field: str) -> dict[str, Any]:
    """A content part for the provider, without unknown properties."""
    kind = given.get("type") if isinstance(given, dict) else None
    if kind == "text":
        return {"type": "text", "text": _non_empty(given.get("text"), f"{field}.text")}
    if kind == "image_url" and role == "user":
        url = given.get("image_url")
        return {
            "type": "image_url",
            "image_url": {"url": _image_url(url.get("url") if isinstance(url, dict) else url, field)},
        }
    raise wrong(field, "must be a part of type text, or of type image_url in a user message")


def _image_url(url: Any, field: str) -> str:
    if not isinstance(url, str) or not url.startswith("data:image/"):
        raise wrong(f"{field}.image_url", "must be a data URL; remote images are not fetched")
    if len(url) > MAX_IMAGE * 4 // 3 + 100:
        raise wrong(f"{field}.image_url", f"must be at most {format_size(MAX_IMAGE)}")
    if not _IMAGE.fullmatch(url):
        raise wrong(f"{field}.image_url", "must be a base64-encoded PNG, JPEG, WebP or GIF")
    return url


def _non_empty(text: Any, field: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise wrong(field, "must be a non-empty string")
    return _check_text(text, field, MAX_REQUEST_TEXT)


def _check_text(text: str, field: str, max_length: int) -> str:
    if len(text) > max_length:
        raise wrong(field, f"Must be at most {max_length:,} characters.")
    if "\x00" in text:
        raise wrong(field, "Must not contain null characters.")
    return text
