"""The whole program with OpenAI as its provider: models, text, images with a mask, and calls that pass through."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from PIL import Image

from tests.kit import key_client
from tests.studio import Studio, running, served_simulator


@pytest_asyncio.fixture(scope="module")
async def studio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    """A program that uses OpenRouter and, at another base path, OpenAI."""
    folder: Path = tmp_path_factory.mktemp("openai")
    async with served_simulator(folder / "provider") as url:
        openrouter, openai = f"{url}/api/v1", f"{url}/openai/v1"
        async with running(
            folder / "atelier",
            OPENROUTER_BASE_URL=openrouter,
            OPENROUTER_API_KEY="one",
            OPENAI_BASE_URL=openai,
            OPENAI_API_KEY="two",
        ) as started:
            async with asyncio.timeout(300):
                await started.program.catalog.filled.wait()
            await started.user("admin@studio.example")
            yield started


@pytest_asyncio.fixture
async def caller(studio: Studio) -> httpx.AsyncClient:
    return await key_client(studio, "caller")


async def test_its_models_are_beside_those_of_openrouter(caller: httpx.AsyncClient) -> None:
    models = (await caller.get("/api/v1/ai/models", params={"limit": 100})).json()["items"]
    providers = {model["id"]: model["provider"] for model in models}
    assert providers["openai:gpt-image-2"] == "openai"
    assert providers["openai/gpt-image-2"] == "openrouter"
    assert "openai:dall-e-3" not in providers, "it was shut down"


async def test_models_that_only_programs_use_have_pages_too(studio: Studio) -> None:
    browser = await studio.user_in_browser("reader@studio.example")
    for path in ("/models", "/models/openai:text-embedding-3-small", "/models/openai:whisper-1", "/generate/image"):
        page = await browser.get(path)
        assert page.status_code == 200, path
    assert "openai:whisper-1" not in (await browser.get("/generate/text")).text


async def test_an_image_is_generated(caller: httpx.AsyncClient) -> None:
    body = {"model": "openai:gpt-image-2", "prompt": "[stamp] A lighthouse", "quality": "low", "size": "1024x1024"}
    answer = await caller.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["b64_json"]


async def test_a_chat_completion_is_streamed_with_its_usage_on_request_only(caller: httpx.AsyncClient) -> None:
    body = {"model": "openai:gpt-5.5", "messages": [{"role": "user", "content": "Say: hello"}], "stream": True}
    plain = (await caller.post("/v1/chat/completions", json=body)).text
    asked = (await caller.post("/v1/chat/completions", json={**body, "stream_options": {"include_usage": True}})).text
    assert '"choices":[]' not in plain
    assert '"choices":[]' in asked
    assert plain.rstrip().endswith("[DONE]")


async def test_embeddings_of_a_prefixed_model_go_to_its_provider(caller: httpx.AsyncClient) -> None:
    request = {"model": "openai:text-embedding-3-small", "input": "boat"}
    answer = await caller.post("/v1/embeddings", json=request)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"][0]["embedding"]) == 1536
    assert "cost" not in answer.json()["usage"], "OpenRouter would report one"
    assert "x-atelier-cost-usd" not in answer.headers, "another server than OpenAI's has prices of its own"


async def test_speech_is_written_down_again(caller: httpx.AsyncClient) -> None:
    request = {"model": "openai:gpt-4o-mini-tts", "input": "Boats float", "voice": "ash"}
    spoken = await caller.post("/v1/audio/speech", json=request)
    assert spoken.headers["content-type"] == "audio/mpeg"
    file = ("speech.mp3", spoken.content, "audio/mpeg")
    written = await caller.post("/v1/audio/transcriptions", data={"model": "openai:whisper-1"}, files={"file": file})
    assert written.json()["text"] == "Boats float"


async def test_an_image_is_edited(caller: httpx.AsyncClient) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    answer = await caller.post(
        "/v1/images/edits",
        data={"model": "openai:gpt-image-2", "prompt": "[stamp] A forest"},
        files={"image": ("a.png", file.getvalue(), "image/png")},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["b64_json"]
