"""Data types of the model editor."""

from typing import Any, Final, Self

import msgspec

from app.base.errors import Invalid
from app.catalog.schemas import DescribedModel, Model, ModelOut, ModelSource
from app.providers.contract import ModelType
from app.web.timestamps import to_iso

# The forms that can begin with a model: what is made from what.
FORMS: Final = (
    ModelType.TEXT_TO_TEXT,
    ModelType.TEXT_TO_IMAGE,
    ModelType.IMAGE_TO_IMAGE,
    ModelType.INPAINTING,
    ModelType.TEXT_TO_VIDEO,
    ModelType.IMAGE_TO_VIDEO,
)


class EditedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model with what admins have set. `saved` is None while its description is the provider's; `default_for` are the forms
    that begin with it."""

    model: Model
    source: ModelSource
    saved: DescribedModel | None
    default_for: list[str]


class AdminModelOut(ModelOut, frozen=True, kw_only=True):
    """A model; `enabled`: users can use it. `source` of its description: the `provider`, `edited` or `added` by an admin.
    `version` counts its changes, 0 for the provider's. `default_for`: the forms that begin with it."""

    enabled: bool
    source: ModelSource
    version: int
    changed_by: str | None
    changed_at: str | None
    default_for: list[str]

    @classmethod
    def of_edited(cls, found: EditedModel) -> Self:
        saved = found.saved
        return cls(
            **msgspec.structs.asdict(ModelOut.of(found.model)),
            enabled=found.model.enabled,
            source=found.source,
            version=saved.version if saved else 0,
            changed_by=saved.changed_by if saved else None,
            changed_at=to_iso(saved.changed_at) if saved else None,
            default_for=found.default_for,
        )


def forms_of(names: Any) -> list[str]:
    """The forms that these names mean. Raises Invalid."""
    known = [form.value for form in FORMS]
    if not isinstance(names, list) or any(name not in known for name in names):
        message = f"must be a list of {', '.join(known)}"
        raise Invalid(f"default_for {message}.", fields={"default_for": message})
    return [form for form in known if form in names]
