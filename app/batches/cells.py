"""The jobs that a batch consists of: counted first, then built as ordinary requests."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from app.base.errors import Invalid
from app.batches.schemas import MAX_JOBS, MODEL, PROMPT, Axis, Choices, NewBatch
from app.generation.schemas import GenerationRequest
from app.generation.service import Generation
from app.providers.contract import Kind

MAX_LABEL: Final = 120  # characters
DEFAULT: Final = "Default"  # the label of a value that is left to the model

Wildcards = Mapping[str, Sequence[str]]


class Cell(msgspec.Struct, frozen=True):
    """One job of a batch: its request, and a label for each axis."""

    request: GenerationRequest
    labels: tuple[str, ...]


def count(generation: Generation, new: NewBatch, wildcards: Wildcards) -> int:
    """How many jobs the batch has. Nothing is built. Raises Invalid when there are none, or too many."""
    _check(new)
    sizes = [_prompt_count(generation, new, wildcards), len(new.models), *map(len, new.matrix.values())]
    total = math.prod(sizes)
    if total > MAX_JOBS:
        message = f"This would be {total:,} jobs. A batch can have at most {MAX_JOBS}."
        raise Invalid(message, fields={"matrix" if new.matrix else "prompts": message})
    return total


def build(generation: Generation, new: NewBatch, wildcards: Wildcards) -> tuple[list[Cell], tuple[Axis, ...]]:
    """The jobs in their order, and what varies in them. Call `count` first. Raises Invalid for an unknown model."""
    prompts = list(_prompts(generation, new, wildcards))
    values: list[Sequence[Any]] = [prompts, new.models, *new.matrix.values()]
    names = [PROMPT, MODEL, *new.matrix]
    labels = [
        [label(value) for value in prompts],
        [generation.choose_model(model.strip()).name[:MAX_LABEL] for model in new.models],
        *([label(value) for value in found] for found in new.matrix.values()),
    ]
    cells = [
        Cell(_request(generation, new, wildcards, dict(zip(names, chosen, strict=True))), shown)
        for chosen, shown in zip(itertools.product(*values), itertools.product(*labels), strict=True)
    ]
    return cells, tuple(Axis(name, tuple(shown)) for name, shown in zip(names, labels, strict=True))


def label(value: Any) -> str:
    """A value as it stands at the edge of the grid."""
    if value is None:
        return DEFAULT
    if isinstance(value, bool):
        return "Yes" if value else "No"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"


def _check(new: NewBatch) -> None:
    empty = {f"matrix.{name}": "must have at least one value" for name, found in new.matrix.items() if not found}
    twice = {f"matrix.{name}": "is also in params" for name in new.matrix.keys() & new.params.keys()}
    fields = {
        **({} if new.models else {"models": "Choose a model."}),
        **({} if new.prompts else {"prompts": "Enter a prompt."}),
        **empty,
        **twice,
    }
    if fields:
        name, message = next(iter(fields.items()))
        raise Invalid(message if message[0].isupper() else f"{name} {message}.", fields=fields)


def _prompt_count(generation: Generation, new: NewBatch, wildcards: Wildcards) -> int:
    if new.kind is Kind.TEXT:
        return len(new.prompts)
    counts = [generation.count_variants(prompt, wildcards) for prompt in new.prompts]  # finds errors, too
    return sum(counts) if new.choices is Choices.ALL else len(counts)


def _prompts(generation: Generation, new: NewBatch, wildcards: Wildcards) -> Iterator[str]:
    for prompt in new.prompts:
        if new.kind is Kind.TEXT or new.choices is Choices.RANDOM:
            yield prompt
        else:
            yield from generation.variants(prompt, wildcards)


def _request(
    generation: Generation, new: NewBatch, wildcards: Wildcards, chosen: Mapping[str, Any]
) -> GenerationRequest:
    varied = {name: chosen[name] for name in new.matrix if chosen[name] is not None}
    params, prompt = {**new.params, **varied}, chosen[PROMPT]
    if new.kind is not Kind.TEXT and new.choices is Choices.RANDOM:
        prompt = generation.expand(prompt, wildcards, params.get("seed"))
    return GenerationRequest(
        model=chosen[MODEL],
        prompt=prompt,
        system_prompt=new.system_prompt,
        params=params,
        inputs=new.inputs,
        literal_prompt=True,
    )
