"""Classifies text by a few plain words, in the categories of OpenAI's moderation."""

import re

CATEGORIES = {
    "harassment": ("idiot", "stupid"),
    "harassment/threatening": (),
    "hate": ("hate",),
    "hate/threatening": (),
    "illicit": ("steal", "shoplift"),
    "illicit/violent": ("bomb",),
    "self-harm": ("suicide",),
    "self-harm/instructions": (),
    "self-harm/intent": (),
    "sexual": ("naked", "porn"),
    "sexual/minors": (),
    "violence": ("attack", "kill", "murder"),
    "violence/graphic": ("gore",),
}
FLAGGED = 0.97
HARMLESS = 0.0001


def scores(text: str) -> dict[str, float]:
    """The score of each category, from 0 to 1."""
    words = set(re.findall(r"\w+", text.lower()))
    return {name: FLAGGED if words & set(flagged) else HARMLESS for name, flagged in CATEGORIES.items()}
