"""What a person may type about themselves, checked and put into its one form; Invalid names the field."""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from app.accounts.passwords import LONGEST, SHORTEST
from app.base.errors import Invalid

NAME_LONGEST: Final = 100
EMAIL_LONGEST: Final = 254
# What HTML's `type=email` takes, but with a dot in the domain and no stray dots.
_WORD: Final = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL: Final = re.compile(rf"(?=.{{1,64}}@){_WORD}(\.{_WORD})*@({_LABEL}\.)+{_LABEL}", re.IGNORECASE | re.ASCII)


def wrong(field: str, message: str) -> Invalid:
    """One wrong field; the message goes on where the field's name stops."""
    return Invalid(f"{field.replace('_', ' ').capitalize()} {message}.", fields={field: message})


def together(*checks: Callable[[], str]) -> list[str]:
    """What each check makes of its field; Invalid that names every field that is wrong, not the first one only."""
    right, wrongs = [], []
    for check in checks:
        try:
            right.append(check())
        except Invalid as problem:
            wrongs.append(problem)
    if not wrongs:
        return right
    told = {field: message for problem in wrongs for field, message in problem.fields.items()}
    raise Invalid(" ".join(problem.message for problem in wrongs), fields=told)


def email(typed: str) -> str:
    """Without spaces around it and in lower case: emails that differ only in case are one person's."""
    text = typed.strip()
    if len(text) > EMAIL_LONGEST or not _EMAIL.fullmatch(text):
        raise wrong("email", "must be an email address, as in ada@example.org")
    return text.lower()


def name(typed: str) -> str:
    """With single spaces; may be empty."""
    text = " ".join(typed.split())
    if len(text) > NAME_LONGEST:
        raise wrong("name", f"must have at most {NAME_LONGEST} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise wrong("name", "has a character that cannot be shown")
    return text


def password(typed: str) -> str:
    if not SHORTEST <= len(typed) <= LONGEST:
        raise wrong("password", f"must have {SHORTEST} to {LONGEST} characters")
    return typed
