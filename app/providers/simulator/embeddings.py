"""Makes embeddings: texts that share words have similar vectors, which is enough to try a search with."""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator

PLACES = 32
"""How many places of a vector each word fills."""


def vector(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 for the text."""
    return _vector(_features(text), dimensions)


def vector_of_tokens(tokens: Iterable[int], dimensions: int) -> list[float]:
    """The same for a text that the client has already cut into tokens."""
    return _vector((f"token {token}" for token in tokens), dimensions)


def _features(text: str) -> Iterator[str]:
    """Each word, and its beginning, so that "glacier" and "glaciers" are similar."""
    for word in re.findall(r"\w+", text.lower()) or [text]:
        yield word
        yield f"{word[:5]}…"


def _vector(features: Iterable[str], dimensions: int) -> list[float]:
    values = [0.0] * dimensions
    for feature in features:
        digest = hashlib.sha512(feature.encode("utf-8", "surrogatepass")).digest()
        for place in range(0, 2 * PLACES, 2):
            number = int.from_bytes(digest[place : place + 2], "big")
            values[(number >> 1) % dimensions] += 1.0 if number & 1 else -1.0
    length = math.sqrt(sum(value * value for value in values))
    return [round(value / length, 8) for value in values] if length else [1.0, *values[1:]]
