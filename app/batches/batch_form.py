"""The form of a batch: settings that all chosen models have, each of which may list several values."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from app.base.errors import Invalid
from app.batches.schemas import COMPARED, MAX_JOBS, Batch, Choices, NewBatch
from app.catalog.schemas import Field, Model
from app.generation.service import Generation
from app.library.schemas import Asset
from app.providers.contract import Kind

_RANGE: Final = re.compile(r"(-?\d{1,18})\s*(?:-|–|\.\.)\s*(-?\d{1,18})")
_LISTS: Final = ("integer", "number", "boolean")  # types whose values can be separated by commas


class BatchForm:
    """Reads forms, and offers what they choose from."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def models(self, kind: Kind, *, with_image: bool = False) -> Sequence[Model]:
        """The models to choose from, by name."""
        return self._generation.models(kind, with_image=with_image)

    def chosen(self, models: Sequence[Model], ids: Sequence[str], *, least: int = 1) -> list[Model]:
        """Those of the models that are named, or else the first ones."""
        return [model for model in models if model.id in ids] or list(models[:least])

    async def images(self, owner: str) -> Sequence[Asset]:
        """The user's latest images, to use as input."""
        return await self._generation.images(owner)

    def fields(self, models: Sequence[Model], values: Mapping[str, str], errors: Mapping[str, str]) -> list[Field]:
        """The settings that all of these models have; their options are those that all of them allow."""
        if not models:
            return []
        found = [self._generation.fields(model, dict(values), dict(errors)) for model in models]
        others = [{field.name: field for field in fields} for fields in found[1:]]
        return [
            _shared(field, [other[field.name] for other in others], chosen=field.name in values)
            for field in found[0]
            if all(field.name in other and other[field.name].control == field.control for other in others)
        ]

    def read(self, kind: Kind, form: Mapping[str, str], models: Sequence[str], *, compare: bool) -> NewBatch:
        """The batch that the form asks for: each line is a prompt, and each setting may have several values; to compare models
        there is one prompt and one value of each setting. Raises Invalid with the names of the fields."""
        if compare and len(models) not in COMPARED:
            message = f"Choose {COMPARED.start} to {COMPARED.stop - 1} models."
            raise Invalid(message, fields={"models": message})
        text = form.get("prompts", "")
        prompts = [text] if compare else [line.strip() for line in text.splitlines() if line.strip()]
        values = self._values(kind, form, models, single=compare)
        return NewBatch(
            kind=kind,
            models=tuple(models),
            prompts=tuple(prompts or [""]),
            system_prompt=form.get("system_prompt") or None if kind is Kind.TEXT else None,
            params={name: found[0] for name, found in values.items() if len(found) == 1},
            matrix={name: found for name, found in values.items() if len(found) > 1},
            image_asset_id=form.get("image_asset_id") or None,
            choices=Choices.RANDOM if form.get("choices") == Choices.RANDOM else Choices.ALL,
        )

    def _values(
        self, kind: Kind, form: Mapping[str, str], models: Sequence[str], *, single: bool
    ) -> dict[str, list[Any]]:
        chosen = [self._generation.choose_model(id) for id in models]
        shared = set.intersection(*(set(_properties(model)) for model in chosen)) if chosen else set()
        texts: dict[str, list[str]] = {}
        for name, schema in _properties(chosen[0]).items() if chosen else ():
            if name in shared and (text := form.get(name, "").strip()):
                texts[name] = [text] if single else split(name, text, schema)
        first = {name: found[0] for name, found in texts.items()}
        values = {
            name: [self._typed(kind, chosen[0], {**first, name: text}).get(name) for text in found]
            for name, found in texts.items()
        }
        return {name: found for name, found in values.items() if None not in found}  # without those that are not shown

    def _typed(self, kind: Kind, model: Model, form: dict[str, str]) -> dict[str, Any]:
        return self._generation.read_form(kind, {**form, "model": model.id})


def split(name: str, text: str, schema: Mapping[str, Any]) -> list[str]:
    """The values in the text of a field: separated by commas, integers also as ranges such as `1-4`; free text is one value.
    Raises Invalid when there are too many."""
    if "enum" not in schema and schema.get("type") not in _LISTS:
        return [text]
    parts = [part.strip() for part in text.split(",") if part.strip()]
    ranges = "enum" not in schema and schema.get("type") == "integer"
    found = list(itertools.islice(_numbers(parts) if ranges else iter(parts), MAX_JOBS + 1))
    if len(found) > MAX_JOBS:
        message = f"Must be at most {MAX_JOBS} values."
        raise Invalid(message, fields={name: message})
    return found


def settings_of(batch: Batch) -> tuple[dict[str, str], list[str]]:
    """The form of an earlier batch, and its models."""
    request = batch.request
    settings = {name: [value] for name, value in request.get("params", {}).items()} | request.get("matrix", {})
    form = {name: ", ".join(_as_text(value) for value in found) for name, found in settings.items()}
    own = ("system_prompt", "image_asset_id", "choices")
    prompts = {"prompts": "\n".join(request.get("prompts", ()))}
    return {**form, **prompts, **{name: request[name] for name in own if name in request}}, list(request["models"])


def _numbers(parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        if match := _RANGE.fullmatch(part):
            first, last = int(match[1]), int(match[2])
            yield from map(str, range(first, last + 1) if first <= last else range(first, last - 1, -1))
        else:
            yield part


def _shared(field: Field, others: Sequence[Field], *, chosen: bool) -> Field:
    """The field with the options that all models have; empty, which leaves it to each model, where their defaults differ."""
    options = tuple(option for option in field.options if all(option in other.options for other in others))
    differs = not chosen and any(other.value != field.value for other in others)
    return msgspec.structs.replace(field, options=options, value="" if differs else field.value)


def _properties(model: Model) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = model.parameters.get("properties", {})
    return found


def _as_text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
