"""Validation and normalisation of user input about accounts. Errors are Invalid and name the field."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Final

from app.base.errors import Invalid
from app.base.money import nano_dollars
from app.base.text import one_line

MAX_NAME: Final = 100
MAX_EMAIL: Final = 254
MAX_MODELS: Final = 200
MAX_MODEL_ID: Final = 200
MAX_CAP_DIGITS: Final = 12
# As HTML's `type=email`, but the domain must contain a dot, and dots may not lead, trail or repeat.
_WORD: Final = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_AMOUNT: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_EMAIL: Final = re.compile(rf"(?=.{{1,64}}@){_WORD}(\.{_WORD})*@({_LABEL}\.)+{_LABEL}", re.IGNORECASE | re.ASCII)


def wrong(field: str, message: str) -> Invalid:
    """An error of one field; `message` continues the sentence that starts with the field's name."""
    return Invalid(f"{field.replace('_', ' ').capitalize()} {message}.", fields={field: message})


@contextmanager
def collect(errors: list[Invalid]) -> Iterator[None]:
    """Collect the error of a field instead of raising it, so that a form shows the errors of all its fields at once."""
    try:
        yield
    except Invalid as exc:
        errors.append(exc)


def raise_all(errors: Sequence[Invalid]) -> None:
    """Raise the collected errors as one, if there are any."""
    if errors:
        fields = {field: message for error in errors for field, message in error.fields.items()}
        raise Invalid(" ".join(error.message for error in errors), fields=fields)


def email(typed: str) -> str:
    """Trimmed and in lower case: emails that differ only in case are the same account."""
    text = typed.strip()
    if len(text) > MAX_EMAIL or not _EMAIL.fullmatch(text):
        raise wrong("email", "must be an email address such as ada@example.org")
    return text.lower()


def name(typed: str) -> str:
    """On one line, without control and direction characters; may be empty."""
    text = one_line(typed)
    if len(text) > MAX_NAME:
        raise wrong("name", f"must be at most {MAX_NAME} characters")
    return text


def cap(typed: str) -> int:
    """A monthly limit in USD, as nano-dollars. It must be positive."""
    text = typed.strip()
    if not _AMOUNT.fullmatch(text) or len(text.replace(".", "")) > MAX_CAP_DIGITS or not Decimal(text):
        raise wrong(
            "monthly_cap_usd", f"must be a positive amount such as 25 or 7.50, with at most {MAX_CAP_DIGITS} digits"
        )
    return nano_dollars(text) or 0


def models(typed: Sequence[str]) -> tuple[str, ...]:
    """Model ids without duplicates. They are not checked against the catalog: it changes over time, and a model that is
    missing from it must not prevent creating a key."""
    ids = tuple(dict.fromkeys(id.strip() for id in typed))
    if not 1 <= len(typed) <= MAX_MODELS:
        raise wrong("allowed_models", f"must list 1 to {MAX_MODELS} models")
    if not all(id and len(id) <= MAX_MODEL_ID and id.isprintable() for id in ids):
        raise wrong("allowed_models", "must be model ids such as google/veo-3.1")
    return ids
