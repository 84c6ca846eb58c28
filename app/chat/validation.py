"""What people and programs say: how long it may be, what it may hold, and the title that is made of it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.base.errors import Invalid
from app.providers.contract import Message as Turn

MAX_MESSAGE: Final = 100_000  # characters
MAX_SYSTEM_PROMPT: Final = 16_000
MAX_TITLE: Final = 80
TITLE_FROM_WORDS: Final = 48  # characters of the first message that become the title

MAX_TURNS: Final = 200
MAX_RAW_TURNS: Final = 2_000  # in OpenAI's format: programs with tools take many
MAX_ASK: Final = 1_000_000  # characters of all turns of a program's question
MAX_PICTURES: Final = 8
MAX_PICTURE: Final = 10_000_000  # bytes
ROLES: Final = ("system", "user", "assistant")
_MORE_ROLES: Final = ("developer", "tool")  # in OpenAI's format
_MORE: Final = ("name", "tool_calls", "tool_call_id", "refusal")
# What a client may give back of an answer although no model is told it.
_GIVEN_BACK: Final = ("annotations", "audio", "function_call", "reasoning", "reasoning_content", "reasoning_details")

# Marks that turn the direction of the text around them: a title could look like another one.
TURNING: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_PICTURE = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,([A-Za-z0-9+/]+={0,2})")


def said(text: str, *, field: str = "text", longest: int = MAX_MESSAGE) -> str:
    """What a person sends, with line ends as they are kept; Invalid when it is empty or too long."""
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise wrong(field, "Write something first.")
    return _kept(text, field, longest)


def instruction(text: str) -> str:
    """A system prompt; it may be empty."""
    return _kept(text.replace("\r\n", "\n").strip(), "system_prompt", MAX_SYSTEM_PROMPT)


def title(text: str) -> str:
    """A title as somebody typed it."""
    text = " ".join(TURNING.sub("", text).split())
    if not text:
        raise wrong("title", "Give it a title.")
    return _kept(text, "title", MAX_TITLE)


def title_of(text: str) -> str:
    """A title out of the first words of a message."""
    words = " ".join(TURNING.sub("", text[:1000]).split()).lstrip("#>*-` ").strip()
    if len(words) <= TITLE_FROM_WORDS:
        return words or "Conversation"
    return (
        words[: TITLE_FROM_WORDS + 1].rpartition(" ")[0] + "…"
        if " " in words[:TITLE_FROM_WORDS]
        else (words[:TITLE_FROM_WORDS] + "…")
    )


def turns(given: Any, *, raw: bool = False) -> tuple[Turn, ...]:
    """The messages of a program's question; Invalid names the first one that is wrong. With `raw` everything that OpenAI's
    format has in a conversation: tools that were called and what they answered, and an end that is not the user's."""
    most = MAX_RAW_TURNS if raw else MAX_TURNS
    if not isinstance(given, list) or not 1 <= len(given) <= most:
        raise wrong("messages", f"must be a list of 1 to {most} messages")
    found = tuple(_turn(it, f"messages.{place}", raw=raw) for place, it in enumerate(given))
    if found[-1].role != "user" and not raw:
        raise wrong("messages", "must end with a message of the user")
    if sum(len(text_of(turn)) for turn in found) > MAX_ASK:
        raise wrong("messages", f"hold more than the {MAX_ASK:,} characters that are taken")
    if sum(len(pictures_of(turn)) for turn in found) > MAX_PICTURES:
        raise wrong("messages", f"hold more than {MAX_PICTURES} pictures")
    return found


def text_of(turn: Turn) -> str:
    if turn.content is None or isinstance(turn.content, str):
        return turn.content or ""
    return "".join(part["text"] for part in turn.content if part["type"] == "text")


def pictures_of(turn: Turn) -> Sequence[Mapping[str, Any]]:
    return [part for part in turn.content if part["type"] == "image_url"] if isinstance(turn.content, list) else []


def wrong(field: str, message: str) -> Invalid:
    sentence = message if message[0].isupper() else f"`{field}` {message}."
    return Invalid(sentence, fields={field: message})


def _turn(given: Any, field: str, *, raw: bool) -> Turn:
    if not isinstance(given, dict):
        raise wrong(field, "must be an object with role and content")
    if unknown := given.keys() - {"role", "content", *((*_MORE, *_GIVEN_BACK) if raw else ())}:
        raise wrong(field, f"has no property {min(map(str, unknown))[:60]!r}")
    role, content, roles = given.get("role"), given.get("content"), (*ROLES, *(_MORE_ROLES if raw else ()))
    if not isinstance(role, str) or role not in roles:
        raise wrong(f"{field}.role", f"must be one of {', '.join(roles)}")
    more = {name: given[name] for name in _MORE if given.get(name) is not None}
    if isinstance(content, str) and (content or not more):
        return Turn(role, _plain(content, f"{field}.content"), more)
    if not content and raw and role == "assistant":
        return Turn(role, None if "tool_calls" in more else "", more)
    if not isinstance(content, list) or not content:
        raise wrong(f"{field}.content", "must be a text or a list of parts")
    return Turn(role, [_part(part, role, f"{field}.content.{place}") for place, part in enumerate(content)], more)


def _part(given: Any, role: str, field: str) -> dict[str, Any]:
    """A part as it goes upstream: what it needs and nothing else."""
    kind = given.get("type") if isinstance(given, dict) else None
    if kind == "text":
        return {"type": "text", "text": _plain(given.get("text"), f"{field}.text")}
    if kind == "image_url" and role == "user":
        url = given.get("image_url")
        return {
            "type": "image_url",
            "image_url": {"url": _picture(url.get("url") if isinstance(url, dict) else url, field)},
        }
    raise wrong(field, "must be a part of type text, or image_url in a message of the user")


def _picture(url: Any, field: str) -> str:
    if not isinstance(url, str) or not url.startswith("data:image/"):
        raise wrong(f"{field}.image_url", "must be a data URL: pictures at other addresses are not fetched")
    if len(url) > MAX_PICTURE * 4 // 3 + 100:
        raise wrong(f"{field}.image_url", f"is larger than the {MAX_PICTURE // 1_000_000} MB that are taken")
    if not _PICTURE.fullmatch(url):
        raise wrong(f"{field}.image_url", "must be a PNG, JPEG, WebP or GIF in base64")
    return url


def _plain(text: Any, field: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise wrong(field, "must be a text that is not empty")
    return _kept(text, field, MAX_ASK)


def _kept(text: str, field: str, longest: int) -> str:
    if len(text) > longest:
        raise wrong(field, f"This has {len(text):,} characters; at most {longest:,} are taken.")
    if "\x00" in text:
        raise wrong(field, "This holds a character that is not text.")
    return text
