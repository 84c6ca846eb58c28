"""Data types of the model catalog."""

import enum
from datetime import datetime
from typing import Any, Self

import msgspec

from app.providers.contract import InputSlot, Kind, ModelHelp, ModelType, Outputs


class ModelDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's description says beside its parameters; see `ModelOffer`."""

    type: ModelType | None = None
    inputs: tuple[InputSlot, ...] = ()
    outputs: Outputs = Outputs()
    price: str = ""
    button: str = ""
    help: ModelHelp = ModelHelp()


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model as an admin describes it; the fields mean the same as in `ModelOffer`."""

    name: str
    description: str = ""
    type: ModelType
    inputs: tuple[InputSlot, ...] = ()
    outputs: Outputs = Outputs()
    parameters: dict[str, Any] = {}
    price: str = ""
    button: str = ""
    help: ModelHelp = ModelHelp()


class DescriptionProblem(msgspec.Struct, frozen=True):
    """What is wrong with a description. `path` is its place in the JSON, such as `parameters.properties.steps.default`."""

    path: str
    message: str


class ModelSource(enum.StrEnum):
    """Where a model's description comes from."""

    PROVIDER = "provider"
    EDITED = "edited"  # the provider's, edited by an admin
    ADDED = "added"  # by an admin


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
    details: ModelDetails = ModelDetails()
    enabled: bool = True

    @property
    def accepts_image(self) -> bool:
        return "image" in self.input_modalities

    @property
    def requires_image(self) -> bool:
        """Whether the model requires an input image."""
        return "text" not in self.input_modalities

    @property
    def type(self) -> ModelType | None:
        """What it makes from what: as described, or else as its modalities say."""
        if self.details.type is not None or not self.kinds:
            return self.details.type
        if self.kinds[0] is Kind.TEXT:
            return ModelType.TEXT_TO_TEXT
        if self.kinds[0] is Kind.IMAGE:
            return _type(self, ModelType.TEXT_TO_IMAGE, ModelType.IMAGE_TO_IMAGE)
        return _type(self, ModelType.TEXT_TO_VIDEO, ModelType.IMAGE_TO_VIDEO)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of output; the most specific one first, because a model for images may also write text."""
        return tuple(kind for kind in (Kind.VIDEO, Kind.IMAGE, Kind.TEXT) if kind.value in self.output_modalities)

    def makes(self, kind: Kind) -> bool:
        return kind.value in self.output_modalities


class DescribedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A description that an admin saved. `base` is what a model consists of beside its description if no provider lists it;
    `version` counts the changes, `changed_by` is an email."""

    model_id: str
    base: Model | None
    enabled: bool
    description: Description
    version: int
    changed_by: str
    changed_at: datetime


def _type(model: Model, from_text: ModelType, from_image: ModelType) -> ModelType:
    if model.requires_image:
        return from_image
    return ModelType.HYBRID if model.accepts_image else from_text


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A form control for one property of a model's parameter schema. `control` is select, number, checkbox, text or textarea;
    `value` is the user's input or the default, as text; `unit` and `error` are shown beside the field. `decides`: whether other
    fields are shown only with some of its values."""

    name: str
    title: str
    control: str
    options: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    step: str = "any"
    value: str = ""
    help: str = ""
    unit: str = ""
    decides: bool = False
    error: str | None = None


class Price(msgspec.Struct, frozen=True):
    """A price range in nano-dollars; `per` is its unit, as in `per second` or `per 1M input tokens`."""

    least: int
    most: int
    per: str


class CostBasis(enum.StrEnum):
    """What an estimate rests on."""

    FORMULA = "formula"  # of the model's description
    HISTORY = "history"  # what jobs with the same settings cost
    PRICES = "prices"  # the provider's price list


class CostEstimate(msgspec.Struct, frozen=True):
    """What a request will cost, in nano-dollars; both are the same where that is certain."""

    least: int
    most: int
    basis: CostBasis


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the models that a refresh added, removed and changed."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    at: datetime | None = None


class ModelOut(msgspec.Struct, frozen=True, kw_only=True):
    """A model; `parameters` is the JSON Schema of the parameters that `/generate/…` accepts for it, `inputs` the files that it
    takes, `price` a formula over the parameters in USD (empty when only `pricing` is known)."""

    id: str
    name: str
    provider: str
    description: str
    input_modalities: list[str]
    output_modalities: list[str]
    context_length: int | None
    pricing: dict[str, str]
    parameters: dict[str, Any]
    type: ModelType | None
    inputs: list[InputSlot]
    outputs: Outputs
    price: str
    button: str
    help: ModelHelp

    @classmethod
    def of(cls, model: Model) -> Self:
        return cls(
            type=model.type,
            inputs=list(model.details.inputs),
            outputs=model.details.outputs,
            price=model.details.price,
            button=model.details.button,
            help=model.details.help,
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
