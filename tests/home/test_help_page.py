"""The page that shows how OpenAI-compatible clients use Atelier: its examples fit the user who reads them."""

import ast
import json
import re
import shlex
import shutil
import subprocess
from html import unescape
from pathlib import Path

import httpx
import pytest

from app.home.examples import Examples, build_examples
from tests.kit import new_email
from tests.pages import PageUser
from tests.studio import Browser, Studio, running

HOSTILE = 'it\'s "mine" `id` $(id) \\ <b> */ */'


def samples(html: str) -> dict[str, str]:
    """The texts of the copy buttons, by name."""
    return {name: unescape(text) for name, text in re.findall(r'<pre id="sample-(\w+)">(.*?)</pre>', html, re.DOTALL)}


async def help_page(browser: Browser) -> str:
    answer = await browser.get("/help/api")
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_the_page_is_for_signed_in_users(atelier: Studio) -> None:
    answer = await atelier.direct_browser().get("/help/api")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fhelp%2Fapi")


async def test_a_user_without_a_key_finds_the_link_to_create_one(atelier: Studio) -> None:
    page = await help_page(await atelier.user_in_browser(new_email(), direct=True))
    assert "You have no API key yet" in page
    assert 'href="/users/profile#api-keys"' in page
    assert "your API key" in samples(page)["python"]


async def test_the_examples_name_the_newest_valid_key_and_never_show_it(page_user: PageUser) -> None:
    keys = [
        (await page_user.client.post("/api/v1/users/me/keys", json={"name": name})).json()["key"]
        for name in ("old", "laptop")
    ]
    page = await help_page(page_user.browser)
    assert "Your newest API key is “laptop”." in page
    found = samples(page)
    assert 'your API key "laptop"' in found["curl"]
    assert 'your API key "laptop"' in found["python"]
    assert 'your API key "laptop"' in found["javascript"]
    assert found["variable"].startswith(f"export ATELIER_KEY={keys[1][:12]}")
    assert not any(key in page for key in keys)


async def test_the_keys_of_other_users_are_not_named(page_user: PageUser, ann: httpx.AsyncClient) -> None:
    await ann.post("/api/v1/users/me/keys", json={"name": "key of ann"})
    assert "key of ann" not in await help_page(page_user.browser)


async def test_the_examples_use_the_public_address_and_a_model_that_is_offered(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_PUBLIC_URL="http://studio.example:8080") as studio:
        browser, ann = await studio.user_in_browser(), await studio.user()
        models = (await ann.get("/api/v1/ai/models?output=text&limit=100")).json()["items"]
        first = next(model["id"] for model in models if model["output_modalities"] == ["text"])
        found = samples(await help_page(browser))
        assert found["base"] == "http://studio.example:8080/v1"
        assert "OPENAI_BASE_URL=http://studio.example:8080/v1" in found["settings"]
        for program in ("curl", "python", "javascript"):
            assert "http://studio.example:8080/v1" in found[program]
            assert json.dumps(first) in found[program]


async def test_the_page_is_linked_from_the_keys_and_from_the_reference(viewer: PageUser) -> None:
    for path in ("/users/profile", "/api/docs"):
        assert 'href="/help/api"' in (await viewer.browser.get(path)).text


@pytest.fixture
def hostile() -> Examples:
    return build_examples("https://studio.example", HOSTILE, "atl_abc", HOSTILE)


def text_of(examples: Examples, id: str) -> str:
    return next(program.text for program in examples.samples if program.id == id)


def test_with_any_name_of_a_key_or_model_the_shell_example_is_one_command(hostile: Examples) -> None:
    comment, command = text_of(hostile, "curl").split("\n", 1)
    assert comment.startswith("#")
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["curl", "https://studio.example/v1/chat/completions"]
    assert json.loads(words[-1])["model"] == HOSTILE


def test_with_any_name_of_a_key_or_model_the_python_example_is_one_program(hostile: Examples) -> None:
    constants = [
        node.value for node in ast.walk(ast.parse(text_of(hostile, "python"))) if isinstance(node, ast.Constant)
    ]
    assert HOSTILE in constants
    assert "https://studio.example/v1" in constants


def test_with_any_name_of_a_key_or_model_the_javascript_example_is_one_program(
    hostile: Examples, tmp_path: Path
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    (tmp_path / "boat.mjs").write_text(text_of(hostile, "javascript"), "utf-8")
    outcome = subprocess.run([node, "--check", tmp_path / "boat.mjs"], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
