"""The chat service: one entrance to conversations, their messages, and chat completions of API clients."""

from collections.abc import Mapping
from datetime import datetime

from app.catalog.service import Catalog
from app.chat import repository
from app.chat.answers import Answers
from app.chat.completions import Completions
from app.chat.conversations import Conversations
from app.chat.images import MessageImages
from app.chat.messages import Messages
from app.chat.schemas import DEFAULT_LIMITS, ChatLimits
from app.chat.streaming import StreamingAnswer as StreamingAnswer  # the gateway names the type of what it gets
from app.db.database import Database
from app.db.transaction import Transaction
from app.idempotency.service import Idempotency
from app.ledger.service import Ledger
from app.library.service import Library
from app.providers.contract import Provider
from app.storage.files import Files
from app.storage.media import Media


class Chat:
    """Builds the parts over one set of streaming answers, and starts, saves and ends those answers with the application."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        idempotency: Idempotency,
        catalog: Catalog,
        providers: Mapping[str, Provider],
        library: Library,
        files: Files,
        media: Media,
        limits: ChatLimits = DEFAULT_LIMITS,
    ) -> None:
        self._database = database
        self._answers = Answers(database, ledger, idempotency, providers, limits, catalog.alternatives)
        self.images = MessageImages(library, files, media)
        self.conversations = Conversations(database, catalog, self._answers, limits)
        self.messages = Messages(database, catalog, self.conversations, self._answers, self.images, limits)
        self.completions = Completions(catalog, self._answers, limits)

    async def spent_by_provider(self, since: datetime) -> dict[str, int]:
        """The known costs of the answers that ended since then, in nano-dollars."""
        return await self._database.read(repository.spent_by_provider_any, since)

    def streaming_answers(self, owner: str) -> list[StreamingAnswer]:
        """The user's streaming answers, including those to API requests."""
        return self._answers.of_user(owner)

    async def rescue(self) -> None:
        """At startup: fail the answers that a stop or crash interrupted; their saved text is kept."""
        await self._answers.rescue()

    async def flush(self) -> None:
        """Save the progress of the streaming answers."""
        await self._answers.flush()

    async def close(self) -> None:
        """At shutdown: end every answer and keep its text so far, so that no reader is left waiting."""
        await self._answers.close()

    def forget_user(self, tx: Transaction, owner: str) -> None:
        """Runs in the transaction that deletes a user; their streaming answers are stopped after the commit."""
        repository.forget(tx, owner)
        tx.on_commit(self._answers.abandon, owner)
