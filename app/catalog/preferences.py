"""Which model a form begins with, and the models that each user has marked."""

from collections.abc import Collection

from app.base import clock
from app.catalog import repository
from app.db.database import Database
from app.db.transaction import Transaction


class ModelPreferences:
    """The admins' defaults, of which a copy is in memory, and the users' favorites."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._defaults: dict[str, str] = {}  # model ids by the form that begins with them

    def load(self, tx: Transaction) -> None:
        self._defaults = repository.defaults_any(tx)

    def default_model(self, form: str) -> str | None:
        """The id of the model that a form begins with; it may be unavailable."""
        return self._defaults.get(form)

    def default_for(self, id: str) -> list[str]:
        """The forms that begin with this model."""
        return sorted(form for form, model in self._defaults.items() if model == id)

    def set_default(self, tx: Transaction, id: str, forms: Collection[str]) -> None:
        """Let exactly these forms begin with this model, and no others any more."""
        for form in self.default_for(id):
            if form not in forms:
                repository.unset_default_any(tx, form)
                tx.on_commit(self._defaults.pop, form, None)
        for form in forms:
            repository.set_default_any(tx, form, id)
            tx.on_commit(self._defaults.__setitem__, form, id)

    async def favorites(self, owner: str) -> set[str]:
        """The ids of the models that the user has marked."""
        return await self._database.read(repository.favorites, owner)

    async def set_favorite(self, owner: str, id: str, favorite: bool) -> None:
        """Mark a model or unmark it; nothing happens if it is so already."""
        if favorite:
            await self._database.write(repository.add_favorite, owner, id, clock.now())
        else:
            await self._database.write(repository.remove_favorite, owner, id)

    def forget_user(self, tx: Transaction, owner: str) -> None:
        repository.forget_user(tx, owner)
