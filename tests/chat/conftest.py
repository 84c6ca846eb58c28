"""Chat on a real database with a provider that says what a test wrote for it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.base.database import Database
from app.base.migrate import migrate
from app.catalog.service import Catalog
from app.chat.schemas import Message, Saying
from app.chat.service import Chat
from app.jobs.service import Jobs
from app.main import MIGRATIONS
from app.providers.contract import Chunk, Offer, Outcome, Request, Ticket, Usage
from app.quota.service import Quota
from tests.studio import Studio, running

WRITER, OTHER, SMALL, PAINTER = "maker/writer", "maker/other", "maker/small", "maker/painter"
FIGURES = Chunk(
    usage=Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15),
    cost_nano=1_500_000,
    finish_reason="stop",
    generation_id="gen-1",
)

Part = Callable[[Request], AsyncGenerator[Chunk, None]]
Reopen = Callable[[], Awaitable[Chat]]


class Playing:
    """A provider that plays one part, whoever asks, and remembers what it was asked and which of its streams are open."""

    name = "openrouter"
    can_cancel = False

    def __init__(self) -> None:
        self.part: Part = words("One two three.")
        self.asked: list[Request] = []
        self.open = 0
        self.closed = 0

    async def offers(self) -> Sequence[Offer]:
        schema = {"properties": {"temperature": {"type": "number", "minimum": 0, "maximum": 2, "title": "Temperature"}}}
        return [
            Offer(id=WRITER, name="Writer", context_length=100_000, parameters=schema),
            Offer(id=OTHER, name="Other", context_length=100_000, input_modalities=("text", "image")),
            Offer(id=SMALL, name="Small", context_length=400),
            Offer(id=PAINTER, name="Painter", output_modalities=("image",)),
        ]

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        self.asked.append(request)
        self.open += 1
        chunks = self.part(request)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()
            self.open -= 1
            self.closed += 1

    async def submit(self, request: Request, folder: Path) -> Outcome:
        raise AssertionError("chat streams")

    async def poll(self, ticket: Ticket, folder: Path) -> Outcome:
        raise AssertionError("chat streams")

    async def cancel(self, ticket: Ticket) -> bool:
        raise AssertionError("chat streams")

    async def cost_nano(self, generation_id: str) -> int | None:
        return None


def words(text: str) -> Part:
    """Says this, word by word."""

    async def play(_: Request) -> AsyncGenerator[Chunk, None]:
        for word in text.split(" "):
            await asyncio.sleep(0)
            yield Chunk(delta=f"{word} ")
        yield FIGURES

    return play


class Slowly:
    """Says each piece when it is told to: `say`, `end`, `fail`."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[Chunk | Exception | None] = asyncio.Queue()

    def say(self, *pieces: str) -> None:
        for piece in pieces:
            self._pieces.put_nowait(Chunk(delta=piece))

    def end(self) -> None:
        self._pieces.put_nowait(FIGURES)
        self._pieces.put_nowait(None)

    def fail(self, problem: Exception) -> None:
        self._pieces.put_nowait(problem)

    async def __call__(self, _: Request) -> AsyncGenerator[Chunk, None]:
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "test.duckdb")
    await migrate(database, MIGRATIONS)
    yield database
    await database.close()


@pytest.fixture
def provider() -> Playing:
    return Playing()


@pytest.fixture
async def reopen(database: Database, provider: Playing) -> AsyncIterator[Reopen]:
    """Chat as after a start: with the rows and nothing else."""
    opened: list[Chat] = []

    async def reopen() -> Chat:
        catalog = Catalog(database, {"openrouter": provider})
        await catalog.refresh()
        library: Any = None  # nothing here makes a file
        jobs = Jobs(database, Quota(database), catalog, library, {}, timeout=60.0, pause=1.0)
        opened.append(Chat(database, Quota(database), catalog, jobs, {"openrouter": provider}))
        await opened[-1].rescue()
        return opened[-1]

    yield reopen
    for chat in opened:
        await chat.close()


@pytest.fixture
async def chat(reopen: Reopen) -> Chat:
    return await reopen()


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Wait for what happens beside the test."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (there is nothing to be told by)
            await asyncio.sleep(0.005)


async def started(chat: Chat, text: str = "Hello", owner: str = "ann", **more: Any) -> Message:
    """The answer of a new conversation, which is being written."""
    return await chat.start(owner, Saying(**{"text": text, "model": WRITER, **more}))


async def ended(chat: Chat, answer: Message) -> Message:
    """The answer once it has ended."""
    last = None
    async for shown in chat.follow(answer.owner_id, answer.conversation_id or "", answer.id):
        last = shown or last
    assert last is not None
    return last.message


async def conversed(chat: Chat, *texts: str, owner: str = "ann") -> str:
    """The id of a conversation in which these were said and answered."""
    answer = await started(chat, texts[0], owner)
    await ended(chat, answer)
    id = answer.conversation_id or ""
    for text in texts[1:]:
        await ended(chat, await chat.say(owner, id, Saying(text=text)))
    return id


async def shown(chat: Chat, id: str, owner: str = "ann") -> list[str]:
    """The texts of the branch that is shown."""
    return [it.message.text.strip() for it in (await chat.open(owner, id)).shown]


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Studio]:
    """An Atelier whose simulator writes a word every few hundredths of a second."""
    async with running(tmp_path, ATELIER_SIMULATOR_SPEED="1") as studio:
        yield studio
