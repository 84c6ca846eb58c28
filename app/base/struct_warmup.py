"""The shapes of the whole program, made ready before there are threads.

msgspec looks at the fields of a struct when the struct is first converted to, and puts down what it has found so far where
every other thread takes it for the whole: two readers that met a shape for the first time at the same moment brought the
process down, once in some twenty such meetings (msgspec 0.22).
"""

import contextlib
from collections.abc import Iterator

import msgspec


def warm_up() -> None:
    """Have msgspec look at every struct of the program that there is by now; some milliseconds."""
    for shape in struct_types():
        # Nothing is no struct; one with a field that nothing can be converted to is never converted to.
        with contextlib.suppress(msgspec.ValidationError, TypeError):
            msgspec.convert(None, shape)


def struct_types(above: type[msgspec.Struct] = msgspec.Struct) -> Iterator[type[msgspec.Struct]]:
    """Every struct of the program."""
    for shape in above.__subclasses__():
        if shape.__module__.partition(".")[0] == "app":
            yield shape
        yield from struct_types(shape)
