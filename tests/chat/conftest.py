"""Chat on a real database with a provider whose answers the test writes, and the simulator at a pace the test sets."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.catalog.service import Catalog
from app.chat.images import MessageImages
from app.chat.schemas import DEFAULT_LIMITS, ChatLimits, Message, NewMessage
from app.chat.service import Chat
from app.db.duckdb.database import EmbeddedDatabase
from app.idempotency.service import Idempotency
from app.ledger.service import Ledger
from app.library.service import Library
from app.providers.client import Client
from app.providers.contract import Chunk, ModelOffer, Outcome, Request, UpstreamJob, Usage
from app.storage.files import Files
from app.storage.media import Media
from tests.chat.pace import Pace, paced
from tests.studio import migrated_database

WRITER, OTHER, SMALL, IMAGES = "acme/writer", "acme/other", "acme/small", "acme/images"
TOTALS = Chunk(
    usage=Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15),
    cost_nano=1_500_000,
    finish_reason="stop",
    generation_id="gen-1",
)

Script = Callable[[Request], AsyncGenerator[Chunk, None]]
Stores = tuple[Library, Files, Media]
OpenChat = Callable[..., Awaitable[Chat]]


class ScriptedProvider:
    """A provider that answers every request by its script, and records its requests and open streams."""

    name = "openrouter"
    can_cancel = False

    def __init__(self) -> None:
        self.script: Script = saying("One two three.")
        self.requests: list[Request] = []
        self.open = 0
        self.closed = 0
        self.late_cost: int | None = None  # what it reports when asked for the cost of an answer

    async def test(self) -> None:
        raise AssertionError("chat streams")

    async def offers(self) -> Sequence[ModelOffer]:
        schema = {"properties": {"temperature": {"type": "number", "minimum": 0, "maximum": 2, "title": "Temperature"}}}
        return [
            ModelOffer(id=WRITER, name="Writer", context_length=100_000, parameters=schema),
            ModelOffer(id=OTHER, name="Other", context_length=100_000, input_modalities=("text", "image")),
            ModelOffer(id=SMALL, name="Small", context_length=400),
            ModelOffer(id=IMAGES, name="Images", output_modalities=("image",)),
        ]

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        self.requests.append(request)
        self.open += 1
        chunks = self.script(request)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()
            self.open -= 1
            self.closed += 1

    async def submit(self, request: Request, folder: Path) -> Outcome:
        raise AssertionError("chat streams")

    async def poll(self, upstream_job: UpstreamJob, folder: Path) -> Outcome:
        raise AssertionError("chat streams")

    async def cancel(self, upstream_job: UpstreamJob) -> bool:
        raise AssertionError("chat streams")

    async def cost_nano(self, generation_id: str) -> int | None:
        return self.late_cost


def saying(text: str) -> Script:
    """Streams this text word by word."""

    async def play(_: Request) -> AsyncGenerator[Chunk, None]:
        for word in text.split(" "):
            await asyncio.sleep(0)
            yield Chunk(delta=f"{word} ")
        yield TOTALS

    return play


class Steps:
    """A script that streams what the test puts in, when the test puts it in."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[Chunk | Exception | None] = asyncio.Queue()

    async def send(self, *texts: str) -> None:
        """Stream these pieces; returns once the answer has taken all of them."""
        for text in texts:
            self._chunks.put_nowait(Chunk(delta=text))
        async with asyncio.timeout(300):
            await self._chunks.join()

    def end(self) -> None:
        self._chunks.put_nowait(TOTALS)
        self._chunks.put_nowait(None)

    def fail(self, error: Exception) -> None:
        self._chunks.put_nowait(error)

    async def __call__(self, _: Request) -> AsyncGenerator[Chunk, None]:
        while (chunk := await self._chunks.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
            self._chunks.task_done()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(migrated_database(tmp_path / "test.duckdb"))
    yield database
    await database.close()


@pytest.fixture
def provider() -> ScriptedProvider:
    return ScriptedProvider()


@pytest.fixture
async def stores(database: EmbeddedDatabase, tmp_path: Path) -> AsyncIterator[Stores]:
    """What messages get their images from."""
    for name in ("media", "tmp"):
        (tmp_path / name).mkdir()
    files, media, client = Files(tmp_path / "media", tmp_path / "tmp"), Media(), Client()
    library = Library(database, files, media, client, max_image_bytes=10**7, max_video_bytes=10**8)
    yield library, files, media
    await client.aclose()
    files.close()
    media.close()


@pytest.fixture
async def open_chat(database: EmbeddedDatabase, provider: ScriptedProvider, stores: Stores) -> AsyncIterator[OpenChat]:
    """Starts chat as the program does: from the rows in the database and nothing else."""
    opened: list[Chat] = []

    async def open_chat(limits: ChatLimits = DEFAULT_LIMITS) -> Chat:
        catalog = Catalog(database, {"openrouter": provider})
        await catalog.refresh()
        ledger, idempotency = Ledger(database), Idempotency(database)
        opened.append(Chat(database, ledger, idempotency, catalog, {"openrouter": provider}, *stores, limits))
        await opened[-1].rescue()
        return opened[-1]

    yield open_chat
    for chat in opened:
        await chat.close()


@pytest.fixture
async def chat(open_chat: OpenChat) -> Chat:
    return await open_chat()


@pytest.fixture
def images(chat: Chat) -> MessageImages:
    return chat.images


@pytest.fixture
async def pace(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pace]:
    """The simulator streams the answer to a prompt with [slow] in it at the pace the test sets."""
    async with paced(monkeypatch) as pace:
        yield pace


async def until(condition: Callable[[], Any], seconds: float = 300) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (nothing signals it)
            await asyncio.sleep(0.005)


async def started(chat: Chat, text: str = "Hello", owner: str = "ann", **more: Any) -> Message:
    """The answer of a new conversation, which is still being written."""
    return await chat.messages.start(owner, NewMessage(**{"text": text, "model": WRITER, **more}))


async def ended(chat: Chat, answer: Message) -> Message:
    """The answer once it has ended."""
    last = None
    async for shown in chat.messages.watch(answer.owner_id, answer.conversation_id or "", answer.id):
        last = shown or last
    assert last is not None
    return last.message


async def conversation(chat: Chat, *texts: str, owner: str = "ann") -> str:
    """The id of a conversation with these messages, each of them answered."""
    answer = await started(chat, texts[0], owner)
    await ended(chat, answer)
    id = answer.conversation_id or ""
    for text in texts[1:]:
        await ended(chat, await chat.messages.send(owner, id, NewMessage(text=text)))
    return id


async def shown(chat: Chat, id: str, owner: str = "ann") -> list[str]:
    """The texts of the branch that is shown."""
    return [it.message.text.strip() for it in (await chat.conversations.open(owner, id)).shown]
