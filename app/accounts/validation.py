"""What a person may type about themselves, checked and put into its one form; Invalid names the field."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from app.accounts.passwords import LONGEST, SHORTEST
from app.base.errors import Invalid
from app.base.money import nano_dollars

NAME_LONGEST: Final = 100
EMAIL_LONGEST: Final = 254
MODELS_MOST: Final = 200
MODEL_LONGEST: Final = 200
CAP_DIGITS: Final = 12
# What HTML's `type=email` takes, but with a dot in the domain and no stray dots.
_WORD: Final = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_AMOUNT: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_EMAIL: Final = re.compile(rf"(?=.{{1,64}}@){_WORD}(\.{_WORD})*@({_LABEL}\.)+{_LABEL}", re.IGNORECASE | re.ASCII)


def wrong(field: str, message: str) -> Invalid:
    """One wrong field; the message goes on where the field's name stops."""
    return Invalid(f"{field.replace('_', ' ').capitalize()} {message}.", fields={field: message})


def validate_all(*checks: Callable[[], str]) -> list[str]:
    """What each check makes of its field; Invalid that names every field that is wrong, not the first one only."""
    right, wrongs = [], []
    for check in checks:
        try:
            right.append(check())
        except Invalid as exc:
            wrongs.append(exc)
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


def cap(typed: str) -> int:
    """A monthly limit in USD, as nano-dollars: more than nothing, and less than a thousand million."""
    text = typed.strip()
    if not _AMOUNT.fullmatch(text) or len(text.replace(".", "")) > CAP_DIGITS or not Decimal(text):
        raise wrong("monthly_cap_usd", f"must be an amount such as 25 or 7.50, of at most {CAP_DIGITS} digits")
    return nano_dollars(text) or 0


def models(typed: Sequence[str]) -> tuple[str, ...]:
    """Ids of models, each once. Whether there are such models is not asked: the catalogue changes by itself, and what is
    not in it yet, or not today, must neither keep a key from being made nor open another model to it."""
    ids = tuple(dict.fromkeys(id.strip() for id in typed))
    if not 1 <= len(typed) <= MODELS_MOST:
        raise wrong("allowed_models", f"must name 1 to {MODELS_MOST} models")
    if not all(id and len(id) <= MODEL_LONGEST and id.isprintable() for id in ids):
        raise wrong("allowed_models", "must be ids of models, such as google/veo-3.1")
    return ids
