"""The background task that refreshes the model catalog."""

from app.base import logging
from app.catalog.service import Catalog

logger = logging.get("catalog")


async def refresh(catalog: Catalog) -> None:
    """Fetch the providers' model lists once and log what has changed."""
    changes = await catalog.refresh()
    if changes.added or changes.removed or changes.changed:
        logger.info(
            "model catalog changed",
            added=len(changes.added),
            removed=len(changes.removed),
            changed=len(changes.changed),
        )
