"""The model catalog: the models that are available, what they cost, and which of them a request names.

Models are kept in memory (a few hundred small rows, read by every request). The database keeps a copy, so that they are
available after a start without a network.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.base import clock, logging
from app.base.errors import Invalid, Missing, Unready, Upstream
from app.base.text import folded
from app.catalog import repository
from app.catalog.described_models import DescribedModels, blank, prefix
from app.catalog.estimates import estimate
from app.catalog.parameters import Parameters
from app.catalog.preferences import ModelPreferences
from app.catalog.prices import summary, typical_cost
from app.catalog.schemas import (
    Changes,
    CostEstimate,
    Model,
    ModelDetails,
    Price,
)
from app.db.database import Database
from app.db.transaction import Transaction
from app.providers.contract import Kind, ModelOffer, Provider

logger = logging.get("catalog")


class Catalog:
    """The models of all providers."""

    def __init__(self, database: Database, providers: Mapping[str, Provider]) -> None:
        self._database = database
        self._providers = providers
        self._listed: dict[str, Model] = {}  # as the providers describe them
        self._models: dict[str, Model] = {}  # as they are used: with the descriptions of admins
        self.described = DescribedModels(providers, self._listed_model, self._apply)
        self.preferences = ModelPreferences(database)
        self._search_texts: dict[str, str] = {}  # by model id
        self._cheapest_text_model: Model | None = None  # until the models change
        self.parameters = Parameters()
        self.filled = asyncio.Event()
        self.last = Changes()

    async def load(self) -> None:
        """Load the stored models into memory, once at startup."""
        await self._database.read(self._load)

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
        await self._database.read(self._load)
        if failed and len(failed) == len(self._providers):
            raise Upstream("The model list could not be fetched. The last known list is still in use.")
        self.last = changes
        return changes

    def set_enabled(self, tx: Transaction, id: str, enabled: bool) -> None:
        """Enable or disable a model within the caller's transaction. Raises Missing for an unknown model."""
        if not repository.set_enabled_any(tx, id, enabled) and not self.described.set_enabled(tx, id, enabled):
            raise Missing(f"Model {id[:100]!r} does not exist.")
        tx.on_commit(self._apply_enabled, id, enabled)

    def providers(self) -> list[str]:
        """The names of the connected providers, in their order."""
        return list(self._providers)

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
        provider = next((name for name in self._providers if prefix(name) and id.startswith(prefix(name))), first)
        passed = blank(id, id.removeprefix(prefix(provider)), provider)
        return msgspec.structs.replace(passed, name=id[:200], input_modalities=(), output_modalities=())

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

    def estimate(self, model: Model, params: Mapping[str, Any]) -> CostEstimate | None:
        """What a request with these validated parameters will cost, as far as its price is known."""
        return estimate(model, params)

    def cheapest_text_model(self) -> Model | None:
        """Of the enabled models that only write text, the one with the lowest known price above zero: free ones are limited and
        often train on what they read. One without a known price only if there is no other."""
        if self._cheapest_text_model is None:
            known = [
                (cost is None or not cost, cost or 0, model.id, model)
                for model in self.search(input=Kind.TEXT.value)
                if model.output_modalities == (Kind.TEXT.value,)
                for cost in [typical_cost(model)]
            ]
            self._cheapest_text_model = min(known)[3] if known else None
        return self._cheapest_text_model

    def prices(self, model: Model) -> list[Price]:
        """The main prices of a model."""
        return summary(model)

    async def _update(self, provider: str, offers: Sequence[ModelOffer]) -> Changes:
        known = {model.id: model for model in self._listed.values() if model.provider == provider}
        offered = {model.id: model for model in (model_of(provider, offer) for offer in offers)}
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

    def _listed_model(self, id: str) -> Model | None:
        return self._listed.get(id)

    def _apply_enabled(self, id: str, enabled: bool) -> None:
        model = self._listed.get(id)
        if model is not None:
            self._listed[id] = msgspec.structs.replace(model, enabled=enabled)
        self._apply()

    def _load(self, tx: Transaction) -> None:
        listed = repository.all_any(tx)
        self.described.load(tx)
        self.preferences.load(tx)
        self._listed = {model.id: model for model in listed if model.provider in self._providers}
        self._apply()

    def _apply(self) -> None:
        """Put the models together from what providers list and what admins describe."""
        models = self.described.applied(self._listed.values())
        self._cheapest_text_model = None
        self._models = {model.id: model for model in models if model.provider in self._providers}
        self._search_texts = {
            model.id: folded(f"{model.id} {model.name} {model.description}") for model in self._models.values()
        }
        if self._models:
            self.filled.set()


_PLURAL = {
    Kind.TEXT: "text",
    Kind.IMAGE: "images",
    Kind.VIDEO: "videos",
    Kind.AUDIO: "audio",
    Kind.RENDER: "renders",
}


def model_of(provider: str, offer: ModelOffer) -> Model:
    """The model that a provider offers, as users see it."""
    return Model(
        id=prefix(provider) + offer.id,
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
