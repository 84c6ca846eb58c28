"""A program whose provider is a scripted upstream, for the tests of what the gateway passes on."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.kit import key_client
from tests.providers.fake_upstream import Upstream, js
from tests.studio import Studio, running

MODEL = "tests/model"
PAINTER = "tests/painter"
_MODALITIES = ["text", "image", "audio", "file"]


@pytest_asyncio.fixture(scope="module")
async def scripted() -> AsyncIterator[Upstream]:
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="module")
async def scripted_studio(scripted: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    """A program that knows two models of the scripted upstream: one for text and one for images."""
    _list_models(scripted)
    folder = tmp_path_factory.mktemp("scripted")
    async with running(folder, OPENROUTER_BASE_URL=scripted.base_url, OPENROUTER_API_KEY="secret-key") as studio:
        await studio.program.catalog.filled.wait()
        await studio.user("admin@studio.example")
        yield studio


@pytest_asyncio.fixture
async def caller(scripted: Upstream, scripted_studio: Studio) -> httpx.AsyncClient:
    """A client with an API key; nothing is scripted or recorded yet."""
    scripted.reset()
    _list_models(scripted)
    return await key_client(scripted_studio, "caller")


def _list_models(server: Upstream) -> None:
    model = {
        "id": MODEL,
        "name": "The model",
        "architecture": {"input_modalities": _MODALITIES, "output_modalities": ["text"]},
        "pricing": {"prompt": "0.000001", "completion": "0.000002"},
        "supported_parameters": ["temperature", "tools"],
        "context_length": 8000,
    }
    painter = {
        "id": PAINTER,
        "name": "The painter",
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["image"]},
        "supported_parameters": {
            "n": {"type": "range", "min": 1, "max": 4},
            "quality": {"type": "enum", "values": ["auto", "low", "high"]},
            "input_references": {"type": "range", "min": 0, "max": 4},
        },
        "supports_streaming": True,
    }
    server.on("GET", "/api/v1/models", js({"data": [model]}))
    server.on("GET", "/api/v1/images/models", js({"data": [painter]}))
    server.on("GET", "/api/v1/videos/models", js({"data": []}))
