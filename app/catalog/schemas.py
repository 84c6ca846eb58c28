"""The shapes of the catalogue."""

from datetime import datetime
from typing import Any, Self

import msgspec

from app.providers.contract import Kind


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One AI model. `parameters` is the closed JSON Schema of what `/generate/…` accepts for it; `pricing` maps what is
    priced to decimal USD per unit; `upstream_id` and `route` are the provider's own."""

    id: str
    upstream_id: str
    name: str
    provider: str
    description: str
    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]
    context_length: int | None
    pricing: dict[str, str]
    parameters: dict[str, Any]
    route: str
    enabled: bool = True

    @property
    def takes_picture(self) -> bool:
        return "image" in self.input_modalities

    @property
    def needs_picture(self) -> bool:
        """Whether it makes nothing from words alone."""
        return "text" not in self.input_modalities

    def makes(self, kind: Kind) -> bool:
        return kind.value in self.output_modalities


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One control of a form, made from one property of a model's schema. `control` is select, number, checkbox or text;
    `value` is what the person typed or the default, as text; `error` stands beside the field."""

    name: str
    title: str
    control: str
    options: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    step: str = "any"
    value: str = ""
    help: str = ""
    error: str | None = None


class Price(msgspec.Struct, frozen=True):
    """Nano-dollars from `least` to `most` for one of `per`, as in `a second` or `a million tokens read`."""

    least: int
    most: int
    per: str


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The names of the models that a refresh added, removed and changed."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    at: datetime | None = None


class ModelOut(msgspec.Struct, frozen=True, kw_only=True):
    """A model as programs see it; `parameters` is the JSON Schema of what `/generate/…` accepts for it."""

    id: str
    name: str
    provider: str
    description: str
    input_modalities: list[str]
    output_modalities: list[str]
    context_length: int | None
    pricing: dict[str, str]
    parameters: dict[str, Any]

    @classmethod
    def of(cls, model: Model) -> Self:
        return cls(
            id=model.id,
            name=model.name,
            provider=model.provider,
            description=model.description,
            input_modalities=list(model.input_modalities),
            output_modalities=list(model.output_modalities),
            context_length=model.context_length,
            pricing=model.pricing,
            parameters=model.parameters,
        )
