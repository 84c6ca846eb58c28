"""The examples of the page `/help/api`, copied from it and run as they stand, against the real program."""

import asyncio
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.api.processes import atelier
from tests.studio import PASSWORD, Browser
from tests.trust import trust


class Copied:
    """What the page's copy buttons copy, and a key to run it with."""

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
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()


@pytest_asyncio.fixture(scope="module")
async def copied(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Copied]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    async with atelier(tmp_path_factory.mktemp("examples"), settings={"ATELIER_PORT": port}) as running:
        await running.ready()
        async with Browser(base_url=running.url, timeout=30, trust_env=False, verify=trust()) as browser:
            await browser.send_form("/register", {"email": "ann@studio.example", "password": PASSWORD, "name": "Ann"})
            page = await browser.send_form("/users/profile/keys", {"name": "laptop"}, token_from="/users/profile")
            key = re.search(r'<pre id="new-key">([^<]+)<', page.text)
            assert key, page.text
            html = (await browser.get("/help/api")).text
        samples = {
            name: unescape(text) for name, text in re.findall(r'<pre id="sample-(\w+)">(.*?)</pre>', html, re.DOTALL)
        }
        assert samples["base"] == f"{running.url}/v1"
        yield Copied(samples, key[1])


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


async def test_the_curl_example_answers(copied: Copied) -> None:
    tool("curl")
    said = await copied.run(tool("bash"), "-c", copied.samples["curl"])
    assert httpx.Response(200, text=said).json()["choices"][0]["message"]["content"]


async def test_the_python_example_answers(copied: Copied, sdk: Path, tmp_path: Path) -> None:
    (tmp_path / "boat.py").write_text(copied.samples["python"], "utf-8")
    assert len(await copied.run(sdk, tmp_path / "boat.py")) > 20


async def test_the_javascript_example_answers(copied: Copied, tmp_path: Path) -> None:
    (tmp_path / "boat.mjs").write_text(copied.samples["javascript"], "utf-8")
    assert len(await copied.run(tool("node"), tmp_path / "boat.mjs")) > 20


async def test_the_line_for_the_key_and_the_settings_are_read_by_a_shell(copied: Copied) -> None:
    script = f"{copied.samples['variable']}\n{copied.samples['settings']}\necho $OPENAI_BASE_URL $OPENAI_API_KEY"
    said = (await copied.run(tool("bash"), "-c", script)).split()
    assert said[0] == copied.samples["base"]
    assert said[1].rstrip("…") == copied.key[: len(said[1]) - 1]
