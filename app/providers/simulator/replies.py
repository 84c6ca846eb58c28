"""Generates deterministic text replies to a conversation.

Replies reuse keywords of the prompt, so that a demo reads sensibly and tests can tell replies apart. Common requests of
tests and first-time users are followed: reply with an exact text, count, calculate, JSON, code, a title.
"""

import hashlib
import json as json_text
import math
import random
import re
from collections.abc import Sequence
from typing import Any

from app.providers.simulator.faults import strip_faults

Message = dict[str, Any]

MAX_READ_CHARS = 20_000
"""Characters of a message that are read; the rest is ignored."""

QUOTES = "\"'“”‘’«»`"
EXACTLY = re.compile(
    r"\b(?:reply|respond|answer|say|write|output|print|repeat|return)\b[^:\n" + QUOTES + r"]{0,60}?"
    r"(?::\s*|\s(?=[" + QUOTES + r"]))(?P<text>.+)$",
    re.IGNORECASE | re.DOTALL,
)
STRICT = re.compile(
    r"\b(?:exactly|only|just|verbatim|nothing (?:else|but)|after me|(?:the|this|one|single) (?:word|phrase|sentence|text))\b",
    re.IGNORECASE,
)
ONE_WORD = re.compile(
    r"\b(?:reply|respond|answer|say)\b(?: only| just)?(?: with)?(?: only| just| exactly)*"
    r"(?: the)?(?: single| one)? words?:? [" + QUOTES + r"]?(?P<text>\w[\w-]*)",
    re.IGNORECASE,
)
SUM = re.compile(r"(?<![\w.])(-?\d{1,9}(?:\.\d{1,6})?)\s*([-+*/x×÷])\s*(-?\d{1,9}(?:\.\d{1,6})?)(?![\w.])")
COUNT = re.compile(r"\bcount (?:from (?P<first>\d{1,3}) )?(?:up )?to (?P<last>\d{1,3})\b", re.IGNORECASE)
GREETING = re.compile(
    r"^\W*(?:hi|hello|hey|good (?:morning|evening|afternoon)|greetings|hallo|bonjour)\b", re.IGNORECASE
)
CODE = re.compile(
    r"\b(?:code|function|script|python|javascript|typescript|rust|golang|sql|html|css|regex|algorithm|class|bash|program)\b",
    re.IGNORECASE,
)
TITLE = re.compile(r"\btitle\b.{0,60}\b(?:chat|conversation|for|words?)\b", re.IGNORECASE | re.DOTALL)
REWRITE = re.compile(r"\byou rewrite prompts\b", re.IGNORECASE)
BRIEF = re.compile(r"\b(?:brief|briefly|concise|short|terse|one sentence|single sentence)\b", re.IGNORECASE)
ROLE = re.compile(r"\byou are (?:an? |the )?(?P<role>[^.,;:!\n]{3,60})", re.IGNORECASE)
NUMBER = re.compile(r"\b(?P<number>[2-9]|two|three|four|five|six|seven|eight|nine)\b(?= [\w-]+)", re.IGNORECASE)
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}

STOP_WORD_LIST = """
a about above after again all also am an and any are as at be because been before being below between both but
by can could did do does doing down during each few for from further give had has have having he her here hers him
his how i if in into is it its just like list make me more most my no nor not now of off on once only or other our
out over own please same she should show so some such tell than that the their them then there these they this
those through to too under until up very want was we were what when where which while who whom why will with would
write you your explain describe create draw paint generate picture image video clip need help using use answer
reply question one two three four five six seven eight nine short long brief
"""
STOP_WORDS = frozenset(STOP_WORD_LIST.split())

OPENINGS = (
    "{Topic} deserves a closer look.",
    "Let us take {topic} step by step.",
    "There is more to {topic} than it seems at first.",
    "Here is a way to think about {topic}.",
    "A good place to begin with {topic} is what you already know about it.",
)
POINTS = (
    "**{Word}** sets the frame: decide early what it should do, and leave the rest out.",
    "**{Word}** works best in small steps that can be reviewed one at a time.",
    "**{Word}** is where most of the time goes, so measure it before changing it.",
    "**{Word}** changes with its surroundings; try it in two different places.",
    "**{Word}** should be plain enough that a newcomer sees why it is there.",
    "**{Word}** and {other} belong together: a change in one shows in the other.",
    "**{Word}** can wait until the first version works.",
    "**{Word}** is a matter of taste, which is a reason to write the choice down.",
)
CLOSINGS = (
    "If you had to keep only one of these, keep the first.",
    "Start with the smallest of them and see how far it takes you.",
    "None of this is final; the next attempt may well be better.",
    "Tell me which part matters most to you and I will go on from there.",
)
LIGHTS = ("soft morning light", "the last light of the day", "a clear cold sky", "light through thin mist")


def answer(
    messages: Sequence[Message], *, images: int = 0, json: bool = False, with_image: bool = False, variant: int = 0
) -> str:
    """The reply to these messages. `images` is the number of attached images; with `with_image` the model returns one, too.

    `variant` numbers several replies to the same messages.
    """
    prompt = strip_faults(last_user_text(messages)[:MAX_READ_CHARS]).strip()
    system = " ".join(text_of(message) for message in messages if message["role"] in ("system", "developer"))
    dice = random.Random(hashlib.sha256(f"{system}\0{prompt}{variant or ''}".encode()).digest())
    if json:
        return _as_json(prompt, dice)
    if with_image:
        return "Here is your image: " + describe(prompt)
    if REWRITE.search(system):
        # With its simulator commands, so that they also reach the model that the prompt is for.
        return (
            f"{last_user_text(messages)[:MAX_READ_CHARS].strip()}, {dice.choice(LIGHTS)}, fine detail, calm composition"
        )
    if (exact := _literal(prompt)) is not None:
        return exact
    if TITLE.search(prompt) or TITLE.search(system):
        return _title(prompt)
    reply = _count(prompt) or _calculate(prompt) or _greet(prompt) or _essay(prompt, system, messages, dice)
    if images:
        reply = f"You attached {'an image' if images == 1 else f'{images} images'}.\n\n{reply}"
    return reply


def describe(prompt: str) -> str:
    """One sentence that describes the image for this prompt."""
    dice = random.Random(hashlib.sha256(prompt.encode()).digest())
    return f"{_topic(prompt)}, in {dice.choice(LIGHTS)}."


def last_user_text(messages: Sequence[Message]) -> str:
    """The text of the last user message."""
    for message in reversed(messages):
        if message["role"] == "user":
            return text_of(message)
    return ""


def text_of(message: Message) -> str:
    """The text of a message, whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(
        str(part.get("text", "")) for part in parts if isinstance(part, dict) and part.get("type") == "text"
    )


def split(text: str) -> list[str]:
    """Split the text into the pieces of a stream; joined they give the text again."""
    return re.findall(r"\s*\S{1,12}|\s+", text)


def tokens_of(text: str) -> int:
    """Approximate number of tokens in a text: one per four characters, at least one."""
    return max(1, math.ceil(len(text) / 4))


def tokens_in(messages: Sequence[Message]) -> int:
    """Approximate number of tokens in a conversation."""
    return sum(4 + tokens_of(text_of(message)) for message in messages)


# Kinds of replies


def _literal(prompt: str) -> str | None:
    """The text that the prompt asks for literally, if it asks for nothing else."""
    if match := ONE_WORD.search(prompt):
        return match["text"]
    match = EXACTLY.search(prompt)
    if match is None or not STRICT.search(prompt[: match.start("text")]):
        return None
    text = match["text"].strip()
    if text[0] in QUOTES and (end := re.search(f"[{QUOTES}]", text[1:])):
        return text[1 : end.start() + 1]
    return text


def _count(prompt: str) -> str | None:
    match = COUNT.search(prompt)
    if match is None:
        return None
    first, last = int(match["first"] or 1), int(match["last"])
    step = 1 if last >= first else -1
    return ", ".join(map(str, range(first, last + step, step)))


def _calculate(prompt: str) -> str | None:
    match = SUM.search(prompt)
    if match is None or len(prompt) > 80:
        return None
    left, sign, right = float(match[1]), match[2], float(match[3])
    if sign in "/÷" and right == 0:
        return "Division by zero is undefined."
    result = {"+": left + right, "-": left - right}.get(sign, left * right if sign in "*x×" else left / (right or 1))
    return f"{match[1]} {sign} {match[3]} = {result:.10g}"


def _greet(prompt: str) -> str | None:
    if not GREETING.match(prompt) or len(prompt) > 40:
        return None
    return "Hello! What would you like to create today? I can write text; other models generate images and videos."


def _title(prompt: str) -> str:
    return " ".join(word.capitalize() for word in _keywords(prompt)[:4]) or "A Conversation"


def _as_json(prompt: str, dice: random.Random) -> str:
    words = _keywords(prompt) or ["answer"]
    content = {
        "topic": _topic(prompt),
        "items": [{"name": word, "score": dice.randint(1, 10)} for word in words[:4]],
        "simulated": True,
    }
    return json_text.dumps(content, ensure_ascii=False, indent=2)


def _essay(prompt: str, system: str, messages: Sequence[Message], dice: random.Random) -> str:
    topic = _topic(prompt)
    opening = dice.choice(OPENINGS).format(topic=topic, Topic=topic[:1].upper() + topic[1:])
    if role := ROLE.search(system):
        opening = f"As {_article(role['role'].strip())}, I would say: {opening[0].lower()}{opening[1:]}"
    if BRIEF.search(system) or BRIEF.search(prompt):
        return opening
    parts = [opening]
    earlier = [text_of(message) for message in messages if message["role"] == "user"][:-1]
    if earlier:
        parts.append(f"You asked about {_topic(strip_faults(earlier[-1]))} before; this follows on from it.")
    if "json" in prompt.lower():
        parts.append(f"```json\n{_as_json(prompt, dice)}\n```")
    elif CODE.search(prompt):
        parts.append(_code(prompt))
    parts.append(_points(prompt, dice))
    parts.append(dice.choice(CLOSINGS))
    return "\n\n".join(parts)


def _points(prompt: str, dice: random.Random) -> str:
    keywords = _keywords(prompt)
    words = [*keywords, *(word for word in ("purpose", "material", "rhythm", "detail") if word not in keywords)]
    found = NUMBER.search(prompt)
    requested = found["number"].lower() if found else "3"
    count = NUMBERS.get(requested) or int(requested)
    templates = dice.sample(POINTS, len(POINTS))
    lines = []
    for index in range(count):
        word, other = words[index % len(words)], words[(index + 1) % len(words)]
        lines.append("- " + templates[index % len(templates)].format(Word=word[:1].upper() + word[1:], other=other))
    return "\n".join(lines)


def _code(prompt: str) -> str:
    name = "_".join(re.sub(r"\W", "", word).lower() for word in _keywords(prompt)[:3]) or "answer"
    name = name if not name[0].isdigit() else f"the_{name}"
    if "sql" in prompt.lower():
        return f"```sql\nselect *\nfrom {name}\norder by created_at desc\nlimit 10;\n```"
    if re.search(r"java|typescript|html|css", prompt, re.IGNORECASE):
        return f"```js\nfunction {_camel(name)}(items) {{\n  return items.filter(Boolean).sort();\n}}\n```"
    return f'```python\ndef {name}(items: list[str]) -> list[str]:\n    """Return the requested items in order."""\n    return sorted(item for item in items if item)\n```'


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _article(role: str) -> str:
    return role if role[0].isupper() else f"{'an' if role[0] in 'aeiou' else 'a'} {role}"


def _topic(prompt: str) -> str:
    """A short noun phrase from the prompt: its first line, limited to twelve words."""
    first = next((line.strip() for line in prompt.splitlines() if line.strip()), "this")
    first = re.sub(
        r"^(?:please |can you |could you |tell me |write me |give me |show me )*"
        r"(?:explain|describe|write|summari[sz]e|list|draw|paint|what (?:is|are)|how (?:do|does|to)|why (?:is|do|does|are)|about)?\s+",
        "",
        first + " ",
        flags=re.IGNORECASE,
    )
    words = first.rstrip(" .?!:;,").split()
    text = " ".join(words[:12]) or "this"
    return text[:120] if text.isupper() or text[:2].isupper() else text[:1].lower() + text[1:120]


def _keywords(prompt: str) -> list[str]:
    """The keywords of the prompt in order, without duplicates."""
    found: dict[str, str] = {}
    for word in re.findall(r"[^\W\d_][\w'’-]{2,24}", prompt[:4000]):
        if word.lower() not in STOP_WORDS:
            found.setdefault(word.lower(), word)
    return list(found.values())[:9]
