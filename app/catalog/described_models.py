"""The models that admins have described: their own, and the providers' with another description."""

import re
from collections.abc import Callable, Container, Iterable
from typing import Any, Final

import msgspec

from app.base import clock
from app.base.errors import Conflict, Invalid, Missing
from app.catalog import descriptions, repository
from app.catalog.schemas import DescribedModel, Description, DescriptionProblem, Model, ModelDetails, ModelSource
from app.db.transaction import Transaction
from app.providers.contract import InputRole, InputSlot, ModelType

_OUTPUTS = {
    ModelType.TEXT_TO_TEXT: "text",
    ModelType.TEXT_TO_IMAGE: "image",
    ModelType.IMAGE_TO_IMAGE: "image",
    ModelType.INPAINTING: "image",
    ModelType.TEXT_TO_VIDEO: "video",
    ModelType.IMAGE_TO_VIDEO: "video",
}


UNPREFIXED: Final = "openrouter"  # the ids of all other providers' models begin with the provider's name and a colon
_ENDPOINT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9/._:@-]{0,199}", re.ASCII)


class DescribedModels:
    """By model id, a copy of the rows in memory."""

    def __init__(
        self, providers: Container[str], listed: Callable[[str], Model | None], changed: Callable[[], None]
    ) -> None:
        """`listed` is a model as its provider describes it; `changed` is called after each change."""
        self._providers = providers
        self._listed = listed
        self._changed = changed
        self._rows: dict[str, DescribedModel] = {}

    def load(self, tx: Transaction) -> None:
        self._rows = {row.model_id: row for row in repository.described_any(tx)}

    def find(self, id: str) -> DescribedModel | None:
        """What an admin saved for this model; None while it is as its provider describes it."""
        return self._rows.get(id)

    def check(self, raw: Any) -> Description:
        """The description that an admin wrote. Raises Invalid with every problem by its path."""
        return descriptions.check(raw)

    def problems(self, raw: Any) -> list[DescriptionProblem]:
        """Everything that is wrong with a description."""
        return descriptions.problems(raw)

    def usable(self, raw: Any) -> Model:
        """A model with as much of the description as is valid, to show it."""
        return described(blank("preview", "preview", "preview"), descriptions.usable(raw))

    def of(self, model: Model) -> Description:
        """What a model's description says now."""
        return description_of(model)

    def id_of(self, provider: str, upstream_id: str) -> str:
        return prefix(provider) + upstream_id

    def draft(self, provider: str, upstream_id: str, description: Description, copied: Model | None = None) -> Model:
        """A model that no provider lists, as it would be with this description. `copied` supplies what a description does not say.
        Raises Invalid for an unknown provider or a wrong or used id."""
        if provider not in self._providers:
            raise Invalid("This provider is not connected.", fields={"provider": "is not connected"})
        if not _ENDPOINT.fullmatch(upstream_id):
            message = "must be 1 to 200 letters, digits and / . _ : @ -"
            raise Invalid(f"The endpoint {message}.", fields={"endpoint": message})
        id = self.id_of(provider, upstream_id)
        if self._listed(id) or id in self._rows:
            raise Invalid(f"There is a model {id} already. Edit it.", fields={"endpoint": "is a model already"})
        base = copied or blank(id, upstream_id, provider)
        base = msgspec.structs.replace(base, id=id, upstream_id=upstream_id, provider=provider, enabled=True)
        return described(base, description)

    def source(self, id: str) -> ModelSource:
        row = self._rows.get(id)
        return ModelSource.PROVIDER if row is None else ModelSource.EDITED if row.base is None else ModelSource.ADDED

    def applied(self, listed: Iterable[Model]) -> list[Model]:
        """The providers' models and those of admins, all as they are described, by name."""
        found = {model.id: model for model in listed}
        for row in self._rows.values():
            base = found.get(row.model_id) or row.base
            if base is not None:
                enabled = base.enabled if row.model_id in found else row.enabled
                found[row.model_id] = msgspec.structs.replace(described(base, row.description), enabled=enabled)
        return sorted(found.values(), key=lambda model: (model.name, model.id))

    def save(
        self,
        tx: Transaction,
        model: Model,
        description: Description,
        *,
        version: int | None,
        changed_by: str,
    ) -> DescribedModel:
        """Save the description of a model within the caller's transaction. Raises Conflict when `version` is given and is not that of
        the saved one, 0 if there is none."""
        id, base = model.id, None if self._listed(model.id) else model
        old = repository.find_described_any(tx, id)
        saved = old.version if old else 0
        if version is not None and version != saved:
            by = f" by {old.changed_by}" if old else ""
            raise Conflict(
                f"The description was changed{by} in the meantime. Reload it, or copy your changes first.",
                details={"version": saved},
            )
        row = DescribedModel(
            model_id=id,
            base=old.base if old else base,
            enabled=old.enabled if old else True,
            description=description,
            version=saved + 1,
            changed_by=changed_by,
            changed_at=clock.now(),
        )
        repository.put_described_any(tx, row)
        tx.on_commit(self._put, row)
        return row

    def set_enabled(self, tx: Transaction, id: str, enabled: bool) -> bool:
        """Of a model that an admin added. False for every other one."""
        row = repository.find_described_any(tx, id)
        if row is None or row.base is None:
            return False
        row = msgspec.structs.replace(row, enabled=enabled)
        repository.put_described_any(tx, row)
        tx.on_commit(self._put, row)
        return True

    def remove(self, tx: Transaction, id: str) -> DescribedModel:
        """Back to the provider's description; a model that an admin added is gone. Raises Missing when nothing was saved."""
        row = repository.find_described_any(tx, id)
        if row is None:
            raise Missing(f"The description of {id[:100]!r} has not been edited.")
        repository.remove_described_any(tx, id)
        tx.on_commit(self._drop, id)
        return row

    def _put(self, row: DescribedModel) -> None:
        self._rows[row.model_id] = row
        self._changed()

    def _drop(self, id: str) -> None:
        self._rows.pop(id, None)
        self._changed()


def described(base: Model, description: Description) -> Model:
    """The model with this description; what it does not say stays as it is."""
    details = ModelDetails(
        type=description.type,
        inputs=description.inputs,
        outputs=description.outputs,
        price=description.price,
        button=description.button,
        help=description.help,
    )
    output = _OUTPUTS.get(description.type)
    inputs_changed = description.inputs != base.details.inputs
    return msgspec.structs.replace(
        base,
        name=description.name.strip(),
        description=description.description,
        parameters=description.parameters,
        details=details,
        input_modalities=_input_modalities(description.inputs) if inputs_changed else base.input_modalities,
        output_modalities=base.output_modalities if output is None or output in base.output_modalities else (output,),
    )


def description_of(model: Model) -> Description:
    """What a model's description says now, to be edited."""
    details = model.details
    return Description(
        name=model.name,
        description=model.description,
        type=model.type or ModelType.TEXT_TO_TEXT,
        inputs=details.inputs,
        outputs=details.outputs,
        parameters=model.parameters,
        price=details.price,
        button=details.button,
        help=details.help,
    )


def blank(id: str, upstream_id: str, provider: str) -> Model:
    """A model of which nothing is known."""
    return Model(
        id=id,
        upstream_id=upstream_id,
        name="",
        provider=provider,
        description="",
        input_modalities=("text",),
        output_modalities=("image",),
        context_length=None,
        pricing={},
        parameters={},
        route="",
    )


def prefix(provider: str) -> str:
    """What the ids of the provider's models begin with."""
    return "" if provider == UNPREFIXED else f"{provider}:"


def _input_modalities(inputs: tuple[InputSlot, ...]) -> tuple[str, ...]:
    """Without text for a model that requires a file: this is how `Model.requires_image` knows."""
    files = {
        "audio" if slot.role is InputRole.AUDIO else "video" if slot.role is InputRole.VIDEO else "image"
        for slot in inputs
    }
    required = any(slot.required for slot in inputs)
    return (*(() if required else ("text",)), *sorted(files))
