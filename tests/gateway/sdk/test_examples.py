"""The examples on the page `/help/api`, copied from it and run unchanged with the real commands."""

import asyncio
import os
import random
import re
import shutil
import socket
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.studio import running

pytestmark = pytest.mark.xdist_group("openai")  # one worker keeps one interpreter

BOUND = 300  # seconds for one command; only a broken product needs them


class Examples:
    """The texts of the copy buttons on the page, and an API key to run them with."""

    def __init__(self, samples: dict[str, str], key: str) -> None:
        self.samples = samples
        self.key = key

    async def run(self, *command: str | Path) -> str:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "ATELIER_KEY": self.key},
        )
        async with asyncio.timeout(BOUND):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()


def free_port() -> int:
    """A free port below the ephemeral port range."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@pytest_asyncio.fixture(scope="module")
async def examples(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Examples]:
    """The page shows the URL of the server, so the server must know its port before it starts."""
    async with running(tmp_path_factory.mktemp("examples"), ATELIER_PORT=str(free_port())) as studio:
        browser = await studio.user_in_browser()
        page = await browser.send_form("/users/profile/keys", {"name": "laptop"}, token_from="/users/profile")
        key = re.search(r'<pre id="new-key">([^<]+)<', page.text)
        assert key, page.text
        html = (await browser.get("/help/api")).text
        samples = {
            name: unescape(text) for name, text in re.findall(r'<pre id="sample-(\w+)">(.*?)</pre>', html, re.DOTALL)
        }
        assert samples["base"] == f"{studio.url}/v1"
        yield Examples(samples, key[1])


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


async def test_the_curl_example_answers(examples: Examples) -> None:
    tool("curl")
    answer = await examples.run(tool("bash"), "-c", examples.samples["curl"])
    assert httpx.Response(200, text=answer).json()["choices"][0]["message"]["content"]


async def test_the_python_example_answers(examples: Examples, python: Path, tmp_path: Path) -> None:
    (tmp_path / "boat.py").write_text(examples.samples["python"], "utf-8")
    assert len(await examples.run(python, tmp_path / "boat.py")) > 20


async def test_the_javascript_example_answers(examples: Examples, tmp_path: Path) -> None:
    (tmp_path / "boat.mjs").write_text(examples.samples["javascript"], "utf-8")
    assert len(await examples.run(tool("node"), tmp_path / "boat.mjs")) > 20


async def test_the_examples_for_the_key_and_the_settings_are_read_by_a_shell(examples: Examples) -> None:
    script = f"{examples.samples['variable']}\n{examples.samples['settings']}\necho $OPENAI_BASE_URL $OPENAI_API_KEY"
    base_url, key = (await examples.run(tool("bash"), "-c", script)).split()
    assert base_url == examples.samples["base"]
    assert key.rstrip("…") == examples.key[: len(key) - 1]
