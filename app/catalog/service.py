"""The rules of the catalogue: what is on offer, what a model accepts, and what a form for it looks like.

The models stand in memory (a few hundred small rows, asked by every request) and are written down so that a start
without a network still has them.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec

from app.base import clock, logging
from app.base.errors import Invalid, Missing, Unready, Upstream
from app.catalog import repository
from app.catalog.prices import in_short
from app.catalog.schemas import Changes, Field, Model, Price
from app.db.database import Database, Transaction
from app.providers.contract import Kind, ModelOffer, Provider

logger = logging.get("catalog")

# Providers other than the first carry their name before the model's own id.
PREFIXES = {"openrouter": ""}


class Catalog:
    """The models of all providers."""

    def __init__(self, database: Database, providers: Mapping[str, Provider]) -> None:
        self._database = database
        self._providers = providers
        self._models: dict[str, Model] = {}
        self._checks: dict[
            str, tuple[dict[str, Any], jsonschema_rs.Validator]
        ] = {}  # by model, with what it is made of
        self.filled = asyncio.Event()
        self.last = Changes()

    async def load(self) -> None:
        """Take the written-down models into memory; done once at start."""
        self._keep(await self._database.read(repository.all_any))

    async def refresh(self) -> Changes:
        """Ask every provider what it offers. One that cannot be asked keeps the models it had, and is reported."""
        changes = Changes(at=clock.now())
        failed: list[str] = []
        for name, provider in self._providers.items():
            try:
                offers = await provider.offers()
            except Upstream as exc:
                logger.warning("catalogue not refreshed", provider=name, reason=exc.message)
                failed.append(name)
                continue
            part = await self._take(name, offers)
            changes = Changes(
                added=changes.added + part.added,
                removed=changes.removed + part.removed,
                changed=changes.changed + part.changed,
                at=changes.at,
            )
        self._keep(await self._database.read(repository.all_any))
        if failed and len(failed) == len(self._providers):
            raise Upstream("The provider's list of models could not be fetched. The last known one stays in use.")
        self.last = changes
        return changes

    def set_enabled(self, tx: Transaction, id: str, enabled: bool) -> None:
        """Inside the caller's transaction: offer a model to people, or no longer; Missing when there is none."""
        if not repository.switch_any(tx, id, enabled):
            raise Missing(f"There is no model {id[:100]!r}.")
        tx.on_commit(self._switched, id, enabled)

    def known(self, id: str) -> Model:
        """A model that is on offer, also one that is switched off, or Missing."""
        model = self._models.get(id)
        if model is None:
            raise Missing(f"There is no model {id[:100]!r}.")
        return model

    def find(self, id: str) -> Model:
        """A model that is on offer and switched on, or Missing."""
        model = self._models.get(id)
        if model is None or not model.enabled:
            raise Missing(f"There is no model {id[:100]!r} on offer.")
        return model

    def output_modalities(self, id: str) -> tuple[str, ...]:
        """What a model makes, also one that is switched off; empty when it is no longer known."""
        model = self._models.get(id)
        return model.output_modalities if model else ()

    def choose(self, id: str, kind: Kind) -> Model:
        """The model that a request names, or Invalid: unknown, or it does not make this."""
        if not id:
            raise Invalid("Choose a model.", fields={"model": "Choose a model."})
        if not self._models:
            raise Unready("The list of models is still being fetched. Try again in a moment.")
        try:
            model = self.find(id)
        except Missing as exc:
            raise Invalid(exc.message, fields={"model": exc.message}) from None
        if not model.makes(kind):
            message = f"{model.name} does not make {_PLURAL[kind]}."
            raise Invalid(message, fields={"model": message})
        return model

    def search(
        self,
        *,
        output: str | None = None,
        input: str | None = None,
        provider: str | None = None,
        q: str | None = None,
        disabled: bool = False,
    ) -> list[Model]:
        """The models on offer that make `output`, take `input`, come from `provider`, and whose id, name or description
        holds every word of `q`; by name. With `disabled` also those that are switched off."""
        words = (q or "").lower().split()
        return [
            model
            for model in self._models.values()
            if (model.enabled or disabled)
            and (output is None or output in model.output_modalities)
            and (input is None or input in model.input_modalities)
            and (provider is None or provider == model.provider)
            and all(word in f"{model.id} {model.name} {model.description}".lower() for word in words)
        ]

    def check(self, model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
        """`params` as the model accepts them, or Invalid naming each wrong field. To JSON Schema 4.0 is the whole number 4,
        to providers it is not: it goes on as 4."""
        fields: dict[str, str] = {}
        for error in self._check(model).iter_errors(dict(params)):
            for name, message in _said(error, model):
                fields.setdefault(name, message)
        if fields:
            raise Invalid(f"{model.name} does not accept this: {'; '.join(fields.values())}", fields=fields)
        known = _properties(model)
        return {name: _whole(value, known.get(name, {})) for name, value in params.items()}

    def _check(self, model: Model) -> jsonschema_rs.Validator:
        """Made once for each model: that takes longer than to check with it."""
        kept = self._checks.get(model.id)
        if kept is None or kept[0] is not model.parameters:
            kept = self._checks[model.id] = model.parameters, jsonschema_rs.validator_for(_closed(model.parameters))
        return kept[1]

    def read_form(self, model: Model, form: Mapping[str, str]) -> dict[str, Any]:
        """The model's parameters out of a form's text fields; an empty field means: let the model choose."""
        params: dict[str, Any] = {}
        for name, schema in _controls(model):
            text = form.get(name, "").strip()
            if text:
                params[name] = _typed(text, schema)
        return params

    def fields(self, model: Model, values: Mapping[str, Any], errors: Mapping[str, str] | None = None) -> list[Field]:
        """The controls of a form for this model, in the schema's order."""
        return [_field(name, schema, values.get(name), (errors or {}).get(name)) for name, schema in _controls(model)]

    def prices(self, model: Model) -> list[Price]:
        """What matters of its prices for a choice."""
        return in_short(model)

    async def _take(self, provider: str, offers: "list[ModelOffer] | Any") -> Changes:
        known = {model.id: model for model in self._models.values() if model.provider == provider}
        offered = {model.id: model for model in (_model(provider, offer) for offer in offers)}
        added = [model for id, model in offered.items() if id not in known]
        changed = [
            model
            for id, model in offered.items()
            if id in known and msgspec.structs.replace(known[id], enabled=True) != model
        ]
        gone = [id for id in known if id not in offered]
        if added or changed:
            await self._database.write(repository.put_any, added + changed, clock.now())
        if gone:
            await self._database.write(repository.mark_gone_any, gone, clock.now())
        return Changes(
            added=tuple(model.name for model in added),
            removed=tuple(known[id].name for id in gone),
            changed=tuple(model.name for model in changed),
        )

    def _switched(self, id: str, enabled: bool) -> None:
        model = self._models.get(id)
        if model is not None:
            self._models[id] = msgspec.structs.replace(model, enabled=enabled)

    def _keep(self, models: list[Model]) -> None:
        self._models = {model.id: model for model in models if model.provider in self._providers}
        self._checks.clear()
        if self._models:
            self.filled.set()


_PLURAL = {Kind.TEXT: "texts", Kind.IMAGE: "pictures", Kind.VIDEO: "clips"}


def _model(provider: str, offer: ModelOffer) -> Model:
    return Model(
        id=PREFIXES.get(provider, f"{provider}:") + offer.id,
        upstream_id=offer.id,
        name=offer.name or offer.id,
        provider=provider,
        description=offer.description,
        input_modalities=offer.input_modalities,
        output_modalities=offer.output_modalities,
        context_length=offer.context_length,
        pricing=offer.pricing,
        parameters=offer.parameters,
        route=offer.route,
    )


def _properties(model: Model) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = model.parameters.get("properties", {})
    return found


def _controls(model: Model) -> list[tuple[str, dict[str, Any]]]:
    """The parameters that a form can ask for; lists are for programs."""
    return [(name, schema) for name, schema in _properties(model).items() if schema.get("type") != "array"]


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, **schema}


def _said(error: jsonschema_rs.ValidationError, model: Model) -> list[tuple[str, str]]:
    """Field and sentence for one finding of the schema check; what the person sent is not repeated."""
    path = [str(part) for part in error.instance_path]
    if path:
        return [(path[0], _wanted(path[0], _properties(model).get(path[0], {})))]
    known = _properties(model)
    unknown = [str(name) for name in error.instance if name not in known] if isinstance(error.instance, dict) else []
    return [(name[:60], f"no parameter is called {name[:60]!r}") for name in unknown] or [("params", "is wrong")]


def _wanted(name: str, schema: Mapping[str, Any]) -> str:
    title = schema.get("title", name)
    if "enum" in schema:
        return f"{title} must be one of {', '.join(str(value) for value in schema['enum'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    kind = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}.get(
        schema.get("type", ""), "a text"
    )
    if low is not None and high is not None:
        return f"{title} must be {kind} from {low} to {high}"
    return f"{title} must be {kind}"


def _whole(value: Any, schema: Mapping[str, Any]) -> Any:
    """What the check has let pass, with a float that stands for a whole number as that number."""
    if not isinstance(value, float):
        return value
    if "enum" in schema:
        return next((one for one in schema["enum"] if not isinstance(one, bool) and one == value), value)
    return int(value) if schema.get("type") == "integer" else value


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    """A form's text as the JSON type that the schema wants; what does not fit stays text, for `check` to refuse."""
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
        # Three-valued: on, off, or the model's own choice.
        control, options = "select", ("true", "false")
    elif kind in ("integer", "number"):
        control = "number"
    shown = schema.get("default") if value is None else value
    return Field(
        name=name,
        title=schema.get("title", name),
        control=control,
        options=options,
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        step="1" if kind == "integer" else "any",
        value="" if shown is None else str(shown).lower() if isinstance(shown, bool) else str(shown),
        help=schema.get("description", ""),
        error=error,
    )
