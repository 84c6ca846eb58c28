"""What admins do with models. Each change and its entry in the audit log are one transaction, except a refresh, which is several
writes followed by its entry."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from app.audit.schemas import Action, Actor
from app.audit.service import Audit
from app.base.errors import Invalid, Missing
from app.catalog.schemas import Changes, CostEstimate, Description, DescriptionProblem, Field, Model, ModelSource
from app.catalog.service import Catalog
from app.db.database import Database
from app.db.transaction import Transaction
from app.model_editor.schemas import EditedModel

MAX_IMPORT: Final = 500  # descriptions in one file


class ModelEditor:
    """The operations of admins on models."""

    def __init__(self, database: Database, audit: Audit, catalog: Catalog) -> None:
        self._database = database
        self._audit = audit
        self._catalog = catalog

    def models(self, q: str = "") -> Sequence[Model]:
        """All models, including disabled ones."""
        return self._catalog.search(q=q, disabled=True)

    def edited(self, model: Model) -> EditedModel:
        """The model with what admins have set."""
        return EditedModel(
            model=model,
            source=self._catalog.described.source(model.id),
            saved=self._catalog.described.find(model.id),
            default_for=self._catalog.preferences.default_for(model.id),
        )

    def find(self, id: str) -> EditedModel:
        """Raises Missing."""
        return self.edited(self._catalog.known(id))

    def providers(self) -> list[str]:
        return self._catalog.providers()

    def last_changes(self) -> Changes:
        """The changes of the last refresh."""
        return self._catalog.last

    async def refresh(self, actor: Actor) -> Changes:
        changes = await self._catalog.refresh()

        def note(tx: Transaction) -> None:
            added, removed, changed = len(changes.added), len(changes.removed), len(changes.changed)
            self._audit.record(tx, actor, Action.MODELS_REFRESHED, added=added, removed=removed, changed=changed)

        await self._database.write(note)
        return changes

    async def change(
        self, actor: Actor, id: str, *, enabled: bool | None = None, default_for: Collection[str] | None = None
    ) -> EditedModel:
        """None leaves a setting as it is. Raises Missing."""
        self._catalog.known(id)

        def write(tx: Transaction) -> None:
            if enabled is not None:
                self._catalog.set_enabled(tx, id, enabled)
                self._audit.record(tx, actor, Action.MODEL_ENABLED if enabled else Action.MODEL_DISABLED, id)
            if default_for is not None:
                self._catalog.preferences.set_default(tx, id, default_for)
                self._audit.record(tx, actor, Action.MODEL_DEFAULT_CHANGED, id, forms=list(default_for))

        await self._database.write(write)
        return self.find(id)

    # Descriptions

    def description(self, id: str) -> Description:
        """Raises Missing."""
        return self._catalog.described.of(self._catalog.known(id))

    def problems(self, raw: Any) -> list[DescriptionProblem]:
        """Everything that is wrong with a draft."""
        return self._catalog.described.problems(raw)

    def preview(self, draft: Any) -> tuple[list[Field], CostEstimate | None]:
        """The controls of a draft's form and the price of its defaults, as far as the draft is valid."""
        model = self._catalog.described.usable(draft)
        return self._catalog.parameters.fields(model, {}), self._catalog.estimate(model, {})

    async def add(
        self, actor: Actor, provider: str, endpoint: str, raw: Any, *, copy_of: str | None = None
    ) -> EditedModel:
        """Describe a model that the provider does not list. What a description does not say, such as prices per unit, comes from
        the model `copy_of`. Raises Invalid with every problem."""
        description = self._catalog.described.check(raw)
        copied = self._catalog.known(copy_of) if copy_of else None
        model = self._catalog.described.draft(provider, endpoint, description, copied)

        def write(tx: Transaction) -> None:
            self._catalog.described.save(tx, model, description, version=0, changed_by=actor.email)
            self._audit.record(tx, actor, Action.MODEL_ADDED, model.id)

        await self._database.write(write)
        return self.find(model.id)

    async def describe(self, actor: Actor, id: str, raw: Any, *, version: int | None = None) -> EditedModel:
        """Replace the description. Raises Invalid with every problem, Missing, and Conflict when another admin changed it since
        `version`."""
        model, description = self._catalog.known(id), self._catalog.described.check(raw)

        def write(tx: Transaction) -> None:
            self._catalog.described.save(tx, model, description, version=version, changed_by=actor.email)
            self._audit.record(tx, actor, Action.MODEL_DESCRIBED, id)

        await self._database.write(write)
        return self.find(id)

    async def reset(self, actor: Actor, id: str) -> bool:
        """Back to the provider's description; a model that an admin added is removed. Returns whether the model is still there.
        Raises Missing when there is no saved description."""
        added = self._catalog.described.source(id) is ModelSource.ADDED

        def write(tx: Transaction) -> None:
            self._catalog.described.remove(tx, id)
            if added:
                self._catalog.preferences.set_default(tx, id, [])
            self._audit.record(tx, actor, Action.MODEL_REMOVED if added else Action.MODEL_RESET, id)

        await self._database.write(write)
        return not added

    def export(self, id: str | None = None) -> list[dict[str, Any]]:
        """The description of one model, or all that admins saved, as `bring_in` reads them. Raises Missing."""
        if id is not None:
            found = [self._catalog.known(id)]
        else:
            found = [model for model in self.models() if self._catalog.described.find(model.id)]
        return [
            {
                "provider": model.provider,
                "endpoint": model.upstream_id,
                "description": msgspec.to_builtins(self._catalog.described.of(model)),
            }
            for model in found
        ]

    async def bring_in(self, actor: Actor, exported: Any) -> list[str]:
        """Add or replace the exported descriptions, all or none; returns the ids of the models. Raises Invalid."""
        entries = exported if isinstance(exported, list) else [exported]
        if len(entries) > MAX_IMPORT:
            raise Invalid(f"The file has {len(entries):,} models; at most {MAX_IMPORT} can be imported at once.")
        found: list[tuple[Model, Description]] = []
        for index, entry in enumerate(entries):
            try:
                found.append(self._imported(entry))
            except Invalid as exc:
                message = f"Model {index + 1} of the file: {exc.message}"
                raise Invalid(message, fields={f"{index}.{name}": text for name, text in exc.fields.items()}) from None

        def write(tx: Transaction) -> None:
            for model, description in found:
                self._catalog.described.save(tx, model, description, version=None, changed_by=actor.email)
                self._audit.record(tx, actor, Action.MODEL_DESCRIBED, model.id)

        await self._database.write(write)
        return [model.id for model, _ in found]

    def _imported(self, entry: Any) -> tuple[Model, Description]:
        try:
            given = msgspec.convert(entry, _Exported)
        except msgspec.ValidationError as exc:
            raise Invalid(f"{exc}.") from None
        description = self._catalog.described.check(given.description)
        try:
            return self._catalog.known(self._catalog.described.id_of(given.provider, given.endpoint)), description
        except Missing:
            return self._catalog.described.draft(given.provider, given.endpoint, description), description


class _Exported(msgspec.Struct, forbid_unknown_fields=True):
    provider: str
    endpoint: str
    description: Any
