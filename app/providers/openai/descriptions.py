"""What is known of OpenAI's own models: one file for each in `models/`, in the shape of ModelOffer."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from app.providers.contract import ModelOffer

FOLDER = Path(__file__).parent / "models"
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2})$")


@cache
def known() -> Mapping[str, ModelOffer]:
    """By model id. Reads files the first time."""
    found = (msgspec.json.decode(path.read_bytes(), type=ModelOffer) for path in sorted(FOLDER.glob("*.json")))
    return {model.id: model for model in found}


def find(id: str) -> ModelOffer | None:
    """The description of a model, or of the one of which it is a dated snapshot, as in `gpt-image-2-2026-04-21`."""
    if id in known():
        return known()[id]
    snapshot = _SNAPSHOT.search(id)
    described = known().get(id[: snapshot.start()]) if snapshot else None
    if snapshot is None or described is None:
        return None
    return msgspec.structs.replace(described, id=id, name=f"{described.name} ({snapshot[1]})")
