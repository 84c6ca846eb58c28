"""What an answer has cost is recorded even when it was cut off before the provider reported it."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from app.chat import late_costs
from app.chat.service import Chat
from app.db.database import Database
from app.providers.contract import Chunk, Request
from tests.chat.conftest import OpenChat, ScriptedProvider, started, until
from tests.kit import eventually


async def _stopped_answer(chat: Chat, provider: ScriptedProvider) -> str:
    """The id of an answer that was stopped after its first chunk."""

    async def endless(_: Request) -> AsyncGenerator[Chunk, None]:
        yield Chunk(delta="so far", generation_id="gen-2")
        await asyncio.Event().wait()

    provider.script = endless
    answer = await started(chat)
    await until(lambda: any(live.text for live in chat.streaming_answers("ann")))
    await chat.messages.stop("ann", answer.conversation_id or "")
    return answer.id


async def _costs(database: Database, id: str) -> tuple[int | None, int | None]:
    """The cost in the answer's row and in the ledger."""
    row = await database.read(lambda tx: tx.value("messages", "select cost_nano from messages where id = $1", id))
    sql = "select cast(sum(spent_nano) as bigint) from ledger where subject_id = $1"
    return row, await database.read(lambda tx: tx.value("ledger", sql, id))


async def test_the_cost_of_a_stopped_answer_is_looked_up(
    chat: Chat, provider: ScriptedProvider, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_costs, "DELAYS", (0.0, 0.0))
    provider.late_cost = 700
    id = await _stopped_answer(chat, provider)
    await eventually(lambda: _costs(database, id), lambda costs: costs == (700, 700))


async def test_a_lookup_that_a_stop_interrupted_continues_after_the_restart(
    chat: Chat, open_chat: OpenChat, provider: ScriptedProvider, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await _stopped_answer(chat, provider)
    await chat.close()
    assert await _costs(database, id) == (None, None)
    monkeypatch.setattr(late_costs, "DELAYS", (0.0,))
    provider.late_cost = 700
    await open_chat()
    await eventually(lambda: _costs(database, id), lambda costs: costs == (700, 700))
