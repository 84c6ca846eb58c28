"""The model catalog: available models, validation of their parameters, and their form fields.

Models are kept in memory (a few hundred small rows, read by every request). The database keeps a copy, so that they are
available after a start without a network.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema_rs
import msgspec

from app.base import clock, logging
from app.base.errors import Invalid, Missing, Unready, Upstream
from app.base.text import folded
from app.catalog import repository
from app.catalog.estimates import estimate
from app.catalog.prices import summary
from app.catalog.schemas import Changes, CostEstimate, Field, Model, ModelDetails, Price
from app.db.database import Database
from app.db.transaction import Transaction
from app.providers.contract import Kind, ModelOffer, Provider

logger = logging.get("catalog")

UNPREFIXED = "openrouter"  # the ids of all other providers' models begin with the provider's name and a colon


class Catalog:
    """The models of all providers."""

    def __init__(self, database: Database, providers: Mapping[str, Provider]) -> None:
        self._database = database
        self._providers = providers
        self._models: dict[str, Model] = {}
        self._search_texts: dict[str, str] = {}  # by model id
        # By model id: the parameter schema and its validator.
        self._validators: dict[str, tuple[dict[str, Any], jsonschema_rs.Validator]] = {}
        self.filled = asyncio.Event()
        self.last = Changes()

    async def load(self) -> None:
        """Load the stored models into memory, once at startup."""
        self._set_models(await self._database.read(repository.all_any))

    async def refresh(self) -> Changes:
        """Fetch the model list of every provider. After a failure a provider keeps its models. Raises Upstream when all
        providers have failed."""
        changes = Changes(at=clock.now())
        failed: list[str] = []
        for name, provider in self._providers.items():
            try:
                offers = await provider.offers()
            except Upstream as exc:
                logger.warning("model refresh failed", provider=name, reason=exc.message)
                failed.append(name)
                continue
            update = await self._update(name, offers)
            changes = Changes(
                added=changes.added + update.added,
                removed=changes.removed + update.removed,
                changed=changes.changed + update.changed,
                at=changes.at,
            )
        self._set_models(await self._database.read(repository.all_any))
        if failed and len(failed) == len(self._providers):
            raise Upstream("The model list could not be fetched. The last known list is still in use.")
        self.last = changes
        return changes

    def set_enabled(self, tx: Transaction, id: str, enabled: bool) -> None:
        """Enable or disable a model within the caller's transaction. Raises Missing for an unknown model."""
        if not repository.set_enabled_any(tx, id, enabled):
            raise Missing(f"Model {id[:100]!r} does not exist.")
        tx.on_commit(self._apply_enabled, id, enabled)

    def known(self, id: str) -> Model:
        """A model, enabled or not. Raises Missing."""
        model = self._models.get(id)
        if model is None:
            raise Missing(f"Model {id[:100]!r} does not exist.")
        return model

    def find(self, id: str) -> Model:
        """An enabled model. Raises Missing."""
        model = self._models.get(id)
        if model is None or not model.enabled:
            raise Missing(f"Model {id[:100]!r} is not available.")
        return model

    def find_or_pass(self, id: str) -> Model:
        """An enabled model; for an id that is not listed, such as one for embeddings, a model of the provider that its prefix
        names, or else of the first one. Raises Missing for a disabled model."""
        if id in self._models:
            return self.find(id)
        first = next(iter(self._providers), "")
        provider = next((name for name in self._providers if _prefix(name) and id.startswith(_prefix(name))), first)
        return Model(
            id=id,
            upstream_id=id.removeprefix(_prefix(provider)),
            name=id[:200],
            provider=provider,
            description="",
            input_modalities=(),
            output_modalities=(),
            context_length=None,
            pricing={},
            parameters={},
            route="",
        )

    def alternatives(self, id: str) -> list[Model]:
        """The same model at other providers: with the same name there, enabled, and with the same kinds of output. They are in the
        order of the providers, beginning with the one after the model's own."""
        model = self._models.get(id)
        order = {name: index for index, name in enumerate(self._providers)}
        if model is None or model.provider not in order:
            return []
        own = order[model.provider]
        same = [
            other
            for other in self._models.values()
            if other.enabled
            and other.upstream_id == model.upstream_id
            and other.provider != model.provider
            and other.provider in order
            and other.kinds == model.kinds
        ]
        return sorted(same, key=lambda other: (order[other.provider] - own) % len(order))

    def counts_by_provider(self) -> dict[str, tuple[int, int]]:
        """The number of models of each provider, and how many of them are enabled."""
        found: dict[str, tuple[int, int]] = {}
        for model in self._models.values():
            total, enabled = found.get(model.provider, (0, 0))
            found[model.provider] = (total + 1, enabled + model.enabled)
        return found

    def output_modalities(self, id: str) -> tuple[str, ...]:
        """The output modalities of a model, enabled or not; empty for an unknown model."""
        model = self._models.get(id)
        return model.output_modalities if model else ()

    def choose(self, id: str, kind: Kind) -> Model:
        """The model named by a request. Raises Invalid when it is unavailable or has no output of this kind."""
        model = self.choose_any(id)
        if not model.makes(kind):
            message = f"{model.name} does not generate {_PLURAL[kind]}. Choose another model."
            raise Invalid(message, fields={"model": message})
        return model

    def choose_any(self, id: str) -> Model:
        """The model named by a request, whatever it makes. Raises Invalid when it is unavailable."""
        if not id:
            raise Invalid("Choose a model.", fields={"model": "Choose a model."})
        if not self._models:
            raise Unready("The model list is still loading. Try again in a moment.")
        try:
            return self.find(id)
        except Missing as exc:
            raise Invalid(exc.message, fields={"model": exc.message}) from None

    def search(
        self,
        *,
        output: str | None = None,
        input: str | None = None,
        provider: str | None = None,
        q: str | None = None,
        disabled: bool = False,
    ) -> list[Model]:
        """Models that match all filters, by name. `q` matches when id, name or description contain each of its terms.
        Disabled models are included only with `disabled`."""
        terms = folded(q or "").split()
        return [
            model
            for model in self._models.values()
            if (model.enabled or disabled)
            and (output is None or output in model.output_modalities)
            and (input is None or input in model.input_modalities)
            and (provider is None or provider == model.provider)
            and all(term in self._search_texts[model.id] for term in terms)
        ]

    def check(self, model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
        """Validate `params` against the model's schema and return them. Raises Invalid with every wrong field. A float
        such as 4.0 is an integer in JSON Schema but not to providers, so it is returned as 4."""
        fields: dict[str, str] = {}
        for error in self._validator(model).iter_errors(dict(params)):
            for name, message in _field_errors(error, model):
                fields.setdefault(name, message)
        if fields:
            raise Invalid(f"Invalid parameters for {model.name}: {'; '.join(fields.values())}", fields=fields)
        known = _properties(model)
        return {name: _to_integer(value, known.get(name, {})) for name, value in params.items()}

    def valid_params(self, model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the parameters that the model accepts."""
        known = {name: value for name, value in params.items() if name in _properties(model)}
        wrong = {name for error in self._validator(model).iter_errors(known) for name, _ in _field_errors(error, model)}
        return self.check(model, {name: value for name, value in known.items() if name not in wrong})

    def _validator(self, model: Model) -> jsonschema_rs.Validator:
        """The cached validator of a model; compiling one is slower than validating with it."""
        cached = self._validators.get(model.id)
        if cached is None or cached[0] is not model.parameters:
            cached = self._validators[model.id] = (
                model.parameters,
                jsonschema_rs.validator_for(_closed(model.parameters)),
            )
        return cached[1]

    def read_form(self, model: Model, form: Mapping[str, str]) -> dict[str, Any]:
        """Parameters from a form's text fields. An empty field is omitted: the model uses its default."""
        params: dict[str, Any] = {}
        for name, schema in _controls(model):
            text = form.get(name, "").strip()
            if text:
                params[name] = _parse(text, schema)
        return params

    def fields(self, model: Model, values: Mapping[str, Any], errors: Mapping[str, str] | None = None) -> list[Field]:
        """The form controls of a model, in the order of its schema."""
        return [_field(name, schema, values.get(name), (errors or {}).get(name)) for name, schema in _controls(model)]

    def estimate(self, model: Model, params: Mapping[str, Any]) -> CostEstimate | None:
        """What a request with these validated parameters will cost, as far as its price is known."""
        return estimate(model, params)

    def prices(self, model: Model) -> list[Price]:
        """The main prices of a model."""
        return summary(model)

    async def _update(self, provider: str, offers: Sequence[ModelOffer]) -> Changes:
        known = {model.id: model for model in self._models.values() if model.provider == provider}
        offered = {model.id: model for model in (_model(provider, offer) for offer in offers)}
        added = [model for id, model in offered.items() if id not in known]
        changed = [
            model
            for id, model in offered.items()
            if id in known and msgspec.structs.replace(known[id], enabled=True) != model
        ]
        retired = [id for id in known if id not in offered]
        if added or changed:
            await self._database.write(repository.put_any, added + changed, clock.now())
        if retired:
            await self._database.write(repository.retire_any, retired, clock.now())
        return Changes(
            added=tuple(model.name for model in added),
            removed=tuple(known[id].name for id in retired),
            changed=tuple(model.name for model in changed),
        )

    def _apply_enabled(self, id: str, enabled: bool) -> None:
        model = self._models.get(id)
        if model is not None:
            self._models[id] = msgspec.structs.replace(model, enabled=enabled)

    def _set_models(self, models: list[Model]) -> None:
        self._models = {model.id: model for model in models if model.provider in self._providers}
        self._search_texts = {
            model.id: folded(f"{model.id} {model.name} {model.description}") for model in self._models.values()
        }
        self._validators.clear()
        if self._models:
            self.filled.set()


_PLURAL = {
    Kind.TEXT: "text",
    Kind.IMAGE: "images",
    Kind.VIDEO: "videos",
    Kind.AUDIO: "audio",
    Kind.RENDER: "renders",
}


def _prefix(provider: str) -> str:
    return "" if provider == UNPREFIXED else f"{provider}:"


def _model(provider: str, offer: ModelOffer) -> Model:
    return Model(
        id=_prefix(provider) + offer.id,
        upstream_id=offer.id,
        name=offer.name or offer.id,
        provider=provider,
        description=offer.description,
        input_modalities=_input_modalities(offer),
        output_modalities=offer.output_modalities,
        context_length=offer.context_length,
        pricing=offer.pricing,
        parameters=offer.parameters,
        route=offer.route,
        details=ModelDetails(
            type=offer.type,
            inputs=offer.inputs,
            outputs=offer.outputs,
            price=offer.price,
            button=offer.button,
            help=offer.help,
        ),
    )


def _input_modalities(offer: ModelOffer) -> tuple[str, ...]:
    """Without text for a model that requires a file: this is how `Model.requires_image` knows."""
    requires_file = any(slot.required for slot in offer.inputs)
    return tuple(name for name in offer.input_modalities if not (requires_file and name == "text"))


def _properties(model: Model) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = model.parameters.get("properties", {})
    return found


def _controls(model: Model) -> list[tuple[str, dict[str, Any]]]:
    """Parameters with a form control. Arrays are supported by the API only."""
    return [(name, schema) for name, schema in _properties(model).items() if schema.get("type") != "array"]


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, **schema}


def _field_errors(error: jsonschema_rs.ValidationError, model: Model) -> list[tuple[str, str]]:
    """Field names and messages of one validation error. Messages never repeat the input."""
    path = [str(part) for part in error.instance_path]
    if path:
        return [(path[0], _expectation(path[0], _properties(model).get(path[0], {})))]
    known = _properties(model)
    unknown = [str(name) for name in error.instance if name not in known] if isinstance(error.instance, dict) else []
    return [(name[:60], f"unknown parameter {name[:60]!r}") for name in unknown] or [("params", "is invalid")]


def _expectation(name: str, schema: Mapping[str, Any]) -> str:
    title = schema.get("title", name)
    if "enum" in schema:
        return f"{title} must be one of {', '.join(str(value) for value in schema['enum'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    kind = {"integer": "an integer", "number": "a number", "boolean": "true or false"}.get(
        schema.get("type", ""), "a string"
    )
    if low is not None and high is not None:
        return f"{title} must be {kind} between {low} and {high}"
    return f"{title} must be {kind}"


def _to_integer(value: Any, schema: Mapping[str, Any]) -> Any:
    """A validated value; a float where the schema wants an integer is converted."""
    if not isinstance(value, float):
        return value
    if "enum" in schema:
        return next((option for option in schema["enum"] if not isinstance(option, bool) and option == value), value)
    return int(value) if schema.get("type") == "integer" else value


def _parse(text: str, schema: Mapping[str, Any]) -> Any:
    """Form text as the JSON type of the schema. Text that does not convert is kept, and `check` rejects it."""
    if "enum" in schema:
        return next((value for value in schema["enum"] if str(value) == text), text)
    kind = schema.get("type")
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        return text
    if kind == "boolean":
        return {"true": True, "on": True, "false": False}.get(text.lower(), text)
    return text


def _field(name: str, schema: Mapping[str, Any], value: Any, error: str | None) -> Field:
    kind = schema.get("type")
    options: tuple[str, ...] = ()
    control = "text"
    if "enum" in schema:
        control, options = "select", tuple(str(option) for option in schema["enum"])
    elif kind == "boolean":
        # Three-valued: true, false, or the model's default.
        control, options = "select", ("true", "false")
    elif kind in ("integer", "number"):
        control = "number"
    current = schema.get("default") if value is None else value
    return Field(
        name=name,
        title=schema.get("title", name),
        control=control,
        options=options,
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        step="1" if kind == "integer" else "any",
        value="" if current is None else str(current).lower() if isinstance(current, bool) else str(current),
        help=schema.get("description", ""),
        error=error,
    )
