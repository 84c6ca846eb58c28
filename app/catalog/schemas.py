"""Data types of the model catalog."""

from datetime import datetime
from typing import Any, Self

import msgspec

from app.providers.contract import Kind


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """An AI model. `parameters` is the JSON Schema of the parameters that `/generate/…` accepts for it; `pricing` maps
    price names to decimal USD per unit; `upstream_id` and `route` are set by the provider."""

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
    def accepts_image(self) -> bool:
        return "image" in self.input_modalities

    @property
    def requires_image(self) -> bool:
        """Whether the model requires an input image."""
        return "text" not in self.input_modalities

    def makes(self, kind: Kind) -> bool:
        return kind.value in self.output_modalities


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A form control for one property of a model's parameter schema. `control` is select, number, checkbox or text;
    `value` is the user's input or the default, as text; `error` is shown beside the field."""

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
    """A price range in nano-dollars; `per` is its unit, as in `per second` or `per 1M input tokens`."""

    least: int
    most: int
    per: str


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the models that a refresh added, removed and changed."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    at: datetime | None = None


class ModelOut(msgspec.Struct, frozen=True, kw_only=True):
    """A model; `parameters` is the JSON Schema of the parameters that `/generate/…` accepts for it."""

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
