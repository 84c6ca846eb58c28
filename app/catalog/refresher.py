"""The loop that keeps the model cache fresh."""

from app.base import logging
from app.catalog.service import Catalog

logger = logging.get("catalog")


async def refresh(catalog: Catalog) -> None:
    """One turn: ask the providers and say what has changed."""
    changes = await catalog.refresh()
    if changes.added or changes.removed or changes.changed:
        logger.info("catalogue", added=len(changes.added), removed=len(changes.removed), changed=len(changes.changed))
