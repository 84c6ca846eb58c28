"""The page that says how existing programs use Atelier: what stands in its examples is what this person has."""

import ast
import json
import re
import shlex
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from app.home.examples import Examples, written
from tests.studio import Browser, Studio, running

HOSTILE = 'it\'s "mine" `id` $(id) \\ <b> */ */'


def samples(html: str) -> dict[str, str]:
    """What the copy buttons copy."""
    return {name: unescape(text) for name, text in re.findall(r'<pre id="sample-(\w+)">(.*?)</pre>', html, re.DOTALL)}


async def opened(browser: Browser) -> str:
    answer = await browser.get("/help/api")
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_it_is_for_people_who_are_signed_in(studio: Studio) -> None:
    answer = await studio.browser().get("/help/api")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fhelp%2Fapi")


async def test_somebody_without_a_key_is_led_to_make_one(studio: Studio) -> None:
    page = await opened(await studio.person_in_browser())
    assert "You have no key yet" in page
    assert 'href="/users/profile#api-keys"' in page
    assert "a key of yours" in samples(page)["python"]


async def test_the_examples_name_the_newest_key_that_works_and_never_show_it(studio: Studio) -> None:
    ann, browser = await studio.person(), await studio.person_in_browser()
    made = [(await ann.post("/api/v1/users/me/keys", json={"name": name})).json()["key"] for name in ("old", "laptop")]
    page = await opened(browser)
    assert "Your newest key is “laptop”." in page
    found = samples(page)
    assert 'your key "laptop"' in found["curl"]
    assert 'your key "laptop"' in found["python"]
    assert 'your key "laptop"' in found["javascript"]
    assert found["variable"].startswith(f"export ATELIER_KEY={made[1][:12]}")
    assert not any(key in page for key in made)


async def test_the_keys_of_others_are_not_named(studio: Studio) -> None:
    bob = await studio.person("bob@studio.example")
    await bob.post("/api/v1/users/me/keys", json={"name": "bobs own"})
    assert "bobs own" not in await opened(await studio.person_in_browser())


async def test_the_examples_ask_a_model_on_offer_at_the_public_address(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_PUBLIC_URL="http://studio.example:8080") as studio:
        browser, ann = await studio.person_in_browser(), await studio.person()
        writers = (await ann.get("/api/v1/ai/models?output=text&limit=100")).json()["items"]
        first = next(model["id"] for model in writers if model["output_modalities"] == ["text"])
        found = samples(await opened(browser))
        assert found["base"] == "http://studio.example:8080/v1"
        assert "OPENAI_BASE_URL=http://studio.example:8080/v1" in found["settings"]
        for program in ("curl", "python", "javascript"):
            assert "http://studio.example:8080/v1" in found[program]
            assert json.dumps(first) in found[program]


async def test_it_is_linked_from_the_keys_and_from_the_reference(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    for path in ("/users/profile", "/api/docs"):
        assert 'href="/help/api"' in (await browser.get(path)).text


@pytest.fixture
def hostile() -> Examples:
    return written("https://studio.example", HOSTILE, "atl_abc", HOSTILE)


def text_of(examples: Examples, id: str) -> str:
    return next(program.text for program in examples.programs if program.id == id)


def test_whatever_a_key_or_a_model_is_called_the_shell_reads_one_command(hostile: Examples) -> None:
    comment, command = text_of(hostile, "curl").split("\n", 1)
    assert comment.startswith("#")
    said = shlex.split(command.replace("\\\n", " "))
    assert said[:2] == ["curl", "https://studio.example/v1/chat/completions"]
    assert json.loads(said[-1])["model"] == HOSTILE


def test_whatever_a_key_or_a_model_is_called_python_reads_one_program(hostile: Examples) -> None:
    constants = [
        node.value for node in ast.walk(ast.parse(text_of(hostile, "python"))) if isinstance(node, ast.Constant)
    ]
    assert HOSTILE in constants
    assert "https://studio.example/v1" in constants


def test_whatever_a_key_or_a_model_is_called_node_reads_one_program(hostile: Examples, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    (tmp_path / "boat.mjs").write_text(text_of(hostile, "javascript"), "utf-8")
    outcome = subprocess.run([node, "--check", tmp_path / "boat.mjs"], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
