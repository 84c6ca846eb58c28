"""A program with providers whose models take masks, and what has reached them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from tests.kit import Json, decoded_image
from tests.studio import Studio, running, served_simulator

FAL_MODEL = "fal:fal-ai/flux-pro/v1/fill"  # white is generated
OPENAI_MODEL = "openai:gpt-image-2"  # transparent is generated


class MaskStudio:
    """The program, and the folder of its simulated providers."""

    def __init__(self, studio: Studio, provider: Path) -> None:
        self.studio = studio
        self._provider = provider

    def submits(self, prompt: str) -> list[Json]:
        """What was sent with this prompt, oldest first."""
        lines = (self._provider / "submits.jsonl").read_text().splitlines()
        return [one["request"] for one in map(json.loads, lines) if one["prompt"] == prompt]

    def image(self, link: Any) -> Image.Image:
        """An image that was sent: as a part of the request, or uploaded before it."""
        name = str(link).rpartition("sha256:")[2].rpartition("/")[2]
        return decoded_image((self._provider / "inputs" / name).read_bytes())

    def sent(self, prompt: str) -> tuple[Image.Image, Image.Image]:
        """The image and the mask of the only request with this prompt."""
        (request,) = self.submits(prompt)
        links = request["images"][0] if "images" in request else request["image_url"]
        return self.image(links), self.image(request["mask"] if "mask" in request else request["mask_url"])


@asynccontextmanager
async def mask_studio(folder: Path) -> AsyncIterator[MaskStudio]:
    """fal and OpenAI beside each other, once their models are known."""
    async with (
        served_simulator(folder / "provider") as url,
        running(
            folder / "atelier",
            FAL_KEY="id:secret",
            FAL_QUEUE_URL=f"{url}/fal/queue",
            FAL_REST_URL=f"{url}/fal/rest",
            OPENAI_BASE_URL=f"{url}/openai/v1",
            OPENAI_API_KEY="two",
        ) as studio,
    ):
        async with asyncio.timeout(300):
            await studio.program.catalog.filled.wait()
        await studio.user("admin@studio.example")
        yield MaskStudio(studio, folder / "provider")
