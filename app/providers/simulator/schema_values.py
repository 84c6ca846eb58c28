"""Makes values for a JSON Schema: what a model answers in structured output, and the arguments of its tool calls.

Prompt and seed decide the value. Words and numbers of the prompt are used where they fit, so that a demo reads sensibly.
"""

import math
import random
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import Any, Final

from app.providers.simulator import patterns, replies
from app.providers.simulator.json_schema import JsonSchema, Schema, types_of

ATTEMPTS: Final = 40  # alternatives may exclude each other, which only the whole value shows
MAX_DEPTH: Final = 5  # below it, values are as small as possible
MAX_VALUES: Final = 300  # in one document; further ones are as small as possible
MAX_ALL_VALUES: Final = 5_000  # an attempt at more is given up
MAX_ITEMS: Final = 1_000
MAX_LENGTH: Final = 20_000  # characters of a text
SMALLEST_STEP: Final = Fraction(1, 1_000_000)

_CAPITAL: Final = re.compile(r"(?<=\s)[A-Z][\w-]+(?: [A-Z][\w-]+)*")
_NUMBER: Final = re.compile(r"-?\d{1,15}(?:\.\d{1,6})?")
_FILLERS: Final = ("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "haven")
_TYPE_HINTS: Final = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "uniqueItems"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_FORMATS: Final[dict[str, Callable[[random.Random, str], str]]] = {
    "date": lambda dice, _: _date(dice),
    "date-time": lambda dice, _: f"{_date(dice)}T{_time(dice)}",
    "time": lambda dice, _: _time(dice),
    "duration": lambda dice, _: f"P{dice.randint(1, 9)}DT{dice.randint(1, 9)}H",
    "email": lambda _, word: f"{word}@example.com",
    "idn-email": lambda _, word: f"{word}@example.com",
    "hostname": lambda _, word: f"{word}.example.com",
    "idn-hostname": lambda _, word: f"{word}.example.com",
    "ipv4": lambda dice, _: f"192.0.2.{dice.randint(1, 254)}",
    "ipv6": lambda dice, _: f"2001:db8::{dice.randint(1, 9999)}",
    "uri": lambda _, word: f"https://example.com/{word}",
    "uri-reference": lambda _, word: f"/{word}",
    "iri": lambda _, word: f"https://example.com/{word}",
    "iri-reference": lambda _, word: f"/{word}",
    "uri-template": lambda _, word: f"https://example.com/{word}/{{id}}",
    "uuid": lambda dice, _: str(uuid.UUID(int=dice.getrandbits(128), version=4)),
    "json-pointer": lambda _, word: f"/{word}",
    "relative-json-pointer": lambda dice, _: f"{dice.randint(0, 3)}/name",
    "regex": lambda _, word: f"^{word}$",
}


def value_for(schema: JsonSchema, prompt: str, seed: str) -> Any:
    """A value that the schema allows. For a schema that contradicts itself, a value that comes close."""
    value: Any = None
    for attempt in range(ATTEMPTS):
        writer = _Writer(schema, prompt, random.Random(f"{seed}/{attempt}"), attempt)
        with suppress(OverflowError, RecursionError):
            value = writer.value(schema.root, "answer", 0)
            if schema.allows(value):
                break
    return value


class _Writer:
    """One attempt at a value. Only the first attempts take words from the prompt; the last ones are as small as possible."""

    def __init__(self, schema: JsonSchema, prompt: str, dice: random.Random, attempt: int) -> None:
        self._schema = schema
        self._prompt = prompt
        self._dice = dice
        self._hints = attempt < 2
        self._values_left = MAX_VALUES if attempt < ATTEMPTS // 2 else 0
        capitals = _CAPITAL.findall(f" {prompt}" if attempt else prompt)
        keywords = [word for word in re.findall(r"[^\W\d_][\w'’-]+", prompt) if word.lower() not in replies.STOP_WORDS]
        self._words: list[str] = list(dict.fromkeys([*reversed(capitals), *reversed(keywords)]))
        self._texts = 0

    def value(self, schema: Any, name: str, depth: int) -> Any:
        """A value for this part of the schema, which is called `name`. Raises OverflowError when there are too many."""
        self._values_left -= 1
        if self._values_left < -MAX_ALL_VALUES:
            raise OverflowError
        small = depth > MAX_DEPTH or self._values_left < 0
        plain = self._schema.plain(schema, self._smallest if small else self._any_value)
        if "const" in plain:
            return plain["const"]
        if self._hints and "default" in plain:
            return plain["default"]
        if plain.get("enum"):
            return self._option(plain["enum"])
        match self._type(plain, small):
            case "object":
                return self._object(plain, depth, small)
            case "array":
                return self._array(plain, name, depth, small)
            case "integer" | "number" as kind:
                return self._number(plain, whole=kind == "integer")
            case "boolean":
                return self._hints or self._dice.random() < 0.5
            case "null":
                return None
        return self._text(plain, name)

    def _any_value(self, alternatives: list[Any]) -> Any:
        finite = [one for one in alternatives if self._schema.size(one) < math.inf] or alternatives
        return self._dice.choice([one for one in finite if not _is_null(one)] or finite)

    def _smallest(self, alternatives: list[Any]) -> Any:
        return min(alternatives, key=lambda one: (self._schema.size(one), not _is_null(one), self._dice.random()))

    def _option(self, options: list[Any]) -> Any:
        named = [option for option in options if str(option).lower() in self._prompt.lower()] if self._hints else []
        return named[0] if named else self._dice.choice(options)

    def _type(self, plain: Schema, small: bool) -> str:
        types = types_of(plain)
        if not types:
            types = [kind for kind, names in _TYPE_HINTS.items() if any(name in plain for name in names)]
        if small and "null" in types:
            return "null"
        kinds = [kind for kind in types if kind != "null"] or types or ["string"]
        return kinds[0] if self._hints else self._dice.choice(kinds)

    # Objects and arrays

    def _object(self, plain: Schema, depth: int, small: bool) -> dict[str, Any]:
        properties, required = plain.get("properties", {}), plain.get("required", [])
        optional = [name for name in properties if name not in required and not small]
        optional = [name for name in optional if self._schema.size(properties[name]) < math.inf]
        room = plain.get("maxProperties", math.inf) - len(required)
        kept = {*required, *(optional if room >= len(optional) else optional[: max(0, int(room))])}
        other = plain.get("additionalProperties", True)
        names = [*(name for name in properties if name in kept), *(name for name in required if name not in properties)]
        found = {name: self.value(properties.get(name, other), name, depth + 1) for name in names}
        open_ended = "additionalProperties" in plain or "patternProperties" in plain
        wanted = 2 if open_ended and other and not properties and not small else 0
        wanted = min(max(wanted, plain.get("minProperties", 0)), plain.get("maxProperties", MAX_ITEMS), MAX_ITEMS)
        for index in range(wanted * 4):
            if len(found) >= wanted:
                break
            name, schema = self._extra_property(plain, other, index, depth)
            found.setdefault(name, self.value(schema, name, depth + 1))
        return found

    def _extra_property(self, plain: Schema, other: Any, index: int, depth: int) -> tuple[str, Any]:
        """The name and the schema of a property that the schema does not name."""
        if plain.get("patternProperties"):
            pattern, schema = self._dice.choice(list(plain["patternProperties"].items()))
            return patterns.sample(pattern, self._dice), schema
        if "propertyNames" in plain:
            return str(self.value({"type": "string", "allOf": [plain["propertyNames"]]}, "name", depth + 1)), other
        words = [word.lower() for word in self._words] or list(_FILLERS)
        return words[index] if index < len(words) else f"{words[0]}_{index}", other

    def _array(self, plain: Schema, name: str, depth: int, small: bool) -> list[Any]:
        items, first = plain.get("items", True), plain.get("prefixItems", [])
        if isinstance(items, list):  # as tuples were written before 2020
            items, first = plain.get("additionalItems", True), items
        least, most = min(plain.get("minItems", 0), MAX_ITEMS), plain.get("maxItems", math.inf)
        count = least if small else max(least, len(first), 0 if first else self._dice.randint(1, 3))
        if items is False or self._schema.size(items) == math.inf:
            count = min(count, len(first))
        found: list[Any] = []
        used_hints, unique = self._hints, plain.get("uniqueItems", False)
        for _ in range(count * 10):
            if len(found) >= min(count, most):
                break
            schema = first[len(found)] if len(found) < len(first) else items
            value = self.value(schema, name, depth + 1)
            if not unique or value not in found:
                found.append(value)
            self._hints = used_hints and not unique
        self._hints = used_hints
        return found

    # Numbers and texts

    def _number(self, plain: Schema, *, whole: bool) -> int | float:
        step = Fraction(str(plain["multipleOf"])) if "multipleOf" in plain else Fraction(1 if whole else 0)
        if whole:
            step = Fraction(step.numerator)
        low, high = _bounds(plain)
        wish = self._wish(low, high, step)
        if not step:
            return float(wish)
        least, most = (None if bound is None else bound / step for bound in (low, high))
        count = round(wish / step)
        count = count if least is None else max(count, math.ceil(least))
        count = count if most is None else min(count, math.floor(most))
        return int(count * step) if whole else float(count * step)

    def _wish(self, low: Fraction | None, high: Fraction | None, step: Fraction) -> Fraction:
        """The number in the prompt, or any other, within these bounds."""
        if self._hints and (match := _NUMBER.search(self._prompt)):
            wish = Fraction(match[0])
        else:
            share = Fraction(self._dice.randint(1, 99), 100)
            span = 100 * step or Fraction(10)
            start = low if low is not None else high - span if high is not None else Fraction(1)
            end = high if high is not None else start + span
            wish = start + share * (end - start)
        wish = wish if low is None else max(wish, low)
        return wish if high is None else min(wish, high)

    def _text(self, plain: Schema, name: str) -> str:
        if "pattern" in plain:
            return patterns.sample(plain["pattern"], self._dice)
        word = self._word(name)
        write = _FORMATS.get(plain.get("format", ""))
        if write is not None:
            return write(self._dice, re.sub(r"[^a-z0-9]", "", word.lower()) or "example")
        least, most = min(plain.get("minLength", 0), MAX_LENGTH), min(plain.get("maxLength", MAX_LENGTH), MAX_LENGTH)
        while len(word) < least:
            word += f" {self._dice.choice(_FILLERS)}"
        return word[:most] if len(word) > most else word

    def _word(self, name: str) -> str:
        """The first text is the last proper name or keyword of the prompt, the next ones are other words of it."""
        self._texts += 1
        if not self._hints:
            return self._dice.choice([*self._words, *_FILLERS, f"{name} {self._dice.randint(1, 999)}"])
        return self._words[(self._texts - 1) % len(self._words)] if self._words else name


def _bounds(plain: Schema) -> tuple[Fraction | None, Fraction | None]:
    """The lowest and the highest number allowed. Exclusive bounds are moved a little."""
    least, most, above, below = (
        Fraction(str(plain[name])) if name in plain and not isinstance(plain[name], bool) else None
        for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    )
    low = max((bound for bound in (least, above) if bound is not None), default=None)
    high = min((bound for bound in (most, below) if bound is not None), default=None)
    little = SMALLEST_STEP if low is None or high is None else min(SMALLEST_STEP, (high - low) / 1000)
    low = low + little if low is not None and low == above else low
    high = high - little if high is not None and high == below else high
    return low, high


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and (schema.get("type") == "null" or schema.get("const", 0) is None)


def _date(dice: random.Random) -> str:
    return f"2026-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}"


def _time(dice: random.Random) -> str:
    return f"{dice.randint(0, 23):02}:{dice.randint(0, 59):02}:{dice.randint(0, 59):02}Z"
