"""Prepares all msgspec structs before threads are started.

msgspec inspects the fields of a struct at its first conversion and stores the unfinished result where other threads see it:
when two threads converted to a struct for the first time at the same moment, the process crashed about once in twenty times
(msgspec 0.22).
"""

import contextlib
from collections.abc import Iterator

import msgspec


def warm_up() -> None:
    """Have msgspec inspect every struct that is defined by now; takes some milliseconds."""
    for struct in struct_types():
        # None is not a struct (ValidationError); a struct with an unsupported field is never converted to (TypeError).
        with contextlib.suppress(msgspec.ValidationError, TypeError):
            msgspec.convert(None, struct)


def struct_types(base: type[msgspec.Struct] = msgspec.Struct) -> Iterator[type[msgspec.Struct]]:
    """Every struct of the application."""
    for struct in base.__subclasses__():
        if struct.__module__.partition(".")[0] == "app":
            yield struct
        yield from struct_types(struct)
