"""The command line `llm`, with Atelier's models in its file of models."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from tests.kit import new_user
from tests.studio import Studio

CLIENT = "llm"
MODEL = "anthropic/claude-sonnet-5"
BOUND: Final = 300  # seconds
TOOL = """
def get_weather(city: str) -> str:
    "The weather in a city."
    return {result!r}
"""
Llm = Callable[..., Awaitable[str]]

pytestmark = pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])


@pytest.fixture
async def llm(programs: Path, atelier: Studio, tmp_path: Path, responses: bool) -> Llm:
    """Runs the command with these arguments for a new user, and returns what it prints."""
    user = await new_user(atelier)
    key = (await user.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["key"]
    model = {
        "model_id": "studio",
        "model_name": MODEL,
        "api_base": f"{atelier.url}/v1",
        "api_key_name": "studio",
        "supports_tools": True,
        "supports_schema": True,
        "responses": responses,
    }
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))  # JSON is YAML
    (tmp_path / "keys.json").write_text(json.dumps({"studio": key}))

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            programs / "python",
            "-m",
            "llm",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "LLM_USER_PATH": str(tmp_path)},
        )
        async with asyncio.timeout(BOUND):
            output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()[-3000:]
        return output.decode().strip()

    return run


async def test_a_prompt_is_answered_whole_and_streamed(llm: Llm) -> None:
    assert await llm("-m", "studio", "--no-stream", "Say exactly: paper boats float") == "paper boats float"
    assert await llm("-m", "studio", "Say exactly: the tide is out") == "the tide is out"


async def test_the_log_has_the_tokens_of_an_answer(llm: Llm) -> None:
    await llm("-m", "studio", "-s", "Be brief.", "Say exactly: north")
    (entry,) = json.loads(await llm("logs", "--json"))
    assert entry["response"] == "north"
    assert entry["input_tokens"] > 0
    assert entry["output_tokens"] > 0


async def test_a_conversation_goes_on(llm: Llm) -> None:
    await llm("-m", "studio", "Say exactly: north")
    assert await llm("-c", "Say exactly: south") == "south"


async def test_a_tools_result_is_answered(llm: Llm) -> None:
    tool = TOOL.format(result="18 degrees, drizzle")
    for stream in ("--no-stream", "--stream"):
        options = [] if stream == "--stream" else [stream]
        answer = await llm("-m", "studio", "--functions", tool, *options, "Use get_weather for Paris")
        assert "18 degrees, drizzle" in answer


async def test_a_tools_result_may_be_empty_and_the_conversation_goes_on(llm: Llm) -> None:
    await llm("-m", "studio", "--functions", TOOL.format(result=""), "Use get_weather for Paris")
    assert await llm("-c", "Say exactly: south") == "south"


async def test_an_answer_fits_the_requested_schema(llm: Llm) -> None:
    answer = json.loads(await llm("-m", "studio", "--schema", "name, depth float", "Describe a lake"))
    assert set(answer) == {"name", "depth"}
    assert isinstance(answer["depth"], int | float)
