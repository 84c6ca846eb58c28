"""Starting and stopping the real command."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.kit import CLIP, INVENTED, PICTURE, SHORT, eventually, problem
from tests.api.processes import Running, atelier, environment
from tests.studio import PASSWORD, running
from tests.trust import trust


@asynccontextmanager
async def client(url: str, token: str = "") -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20, trust_env=False, verify=trust()) as http:
        yield http


async def signed_in(url: str) -> str:
    async with client(url) as http:
        person = {"email": "ann@studio.example", "password": PASSWORD}
        await http.post("/api/v1/auth/register", json=person)
        token: str = (await http.post("/api/v1/auth/login", json=person)).json()["access_token"]
        return token


def one_clear_line(process: Running, *words: str) -> str:
    """What was said about why it does not start: one line, for people."""
    said = [line for line in process.out + process.err if line.strip()]
    assert len(said) == 1, said
    for word in words:
        assert word.lower() in said[0].lower(), said[0]
    assert "Traceback" not in said[0]
    assert not said[0].startswith("{")
    return said[0]


async def test_one_line_with_the_address_then_it_serves_and_stops_cleanly(tmp_path: Path) -> None:
    began = time.monotonic()
    async with atelier(tmp_path) as process:
        await process.ready()
        assert time.monotonic() - began < 20
        async with client(process.url) as http:
            assert (await http.get("/health")).status_code == 200
            assert (await http.get("/login")).status_code == 200
            began = time.monotonic()
            assert await process.stopped() == 0
            assert time.monotonic() - began < 10
        assert len(process.out) == 1
        assert re.search(r"http://127\.0\.0\.1:\d+", process.out[0])
        assert "Traceback" not in "\n".join(process.err)


async def test_ctrl_c_stops_cleanly_too(tmp_path: Path) -> None:
    async with atelier(tmp_path, "serve") as process:
        await process.ready()
        assert await process.stopped(signal.SIGINT) == 0
        assert len(process.out) == 1
        assert "Traceback" not in "\n".join(process.err)


async def test_it_stops_quickly_with_work_under_way_and_clients_waiting(tmp_path: Path) -> None:
    async with atelier(tmp_path) as process:
        await process.ready()
        token = await signed_in(process.url)
        async with client(process.url, token) as http:
            await http.post("/api/v1/generate/video", json={"model": CLIP, "prompt": "[stuck] a", **SHORT})
            waiting = asyncio.ensure_future(
                http.post("/api/v1/generate/image", json={"model": PICTURE, "prompt": "[stuck] a"})
            )
            jobs = lambda: http.get("/api/v1/jobs")  # noqa: E731
            await eventually(
                jobs, lambda answer: [job["status"] for job in answer.json()["items"]] == ["processing"] * 2
            )
            began = time.monotonic()
            assert await process.stopped() == 0
            assert time.monotonic() - began < 15
            await asyncio.gather(waiting, return_exceptions=True)
        assert "Traceback" not in "\n".join(process.err), "\n".join(process.err)[-3000:]


async def test_it_makes_its_data_folder_and_writes_nowhere_else(tmp_path: Path) -> None:
    cwd, home = tmp_path / "cwd", tmp_path / "home"
    cwd.mkdir()
    home.mkdir()
    data = tmp_path / "a" / "b" / "data"
    settings = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    async with atelier(tmp_path, cwd=cwd, settings={**settings, "ATELIER_DATA_DIR": str(data)}) as process:
        await process.ready()
        token = await signed_in(process.url)
        async with client(process.url, token) as http:
            answer = await http.post("/api/v1/generate/image", json={"model": PICTURE, "prompt": "a"})
            assert answer.status_code == 200
        assert await process.stopped() == 0
    assert list(cwd.iterdir()) == []
    assert list(home.rglob("*")) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "data").exists()
    secrets = [file for file in data.iterdir() if "secret" in file.name]
    assert len(secrets) == 1
    assert stat.S_IMODE(secrets[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(data.stat().st_mode) & 0o007 == 0, "others can read what people made"


async def test_the_data_folder_is_below_where_it_is_started(tmp_path: Path) -> None:
    async with atelier(tmp_path, cwd=tmp_path, settings={"ATELIER_DATA_DIR": ""}) as process:
        await process.ready()
        assert await process.stopped() == 0
    assert (tmp_path / "data").is_dir()


async def test_what_was_made_and_who_is_signed_in_outlive_a_restart(tmp_path: Path) -> None:
    async with atelier(tmp_path) as process:
        await process.ready()
        token = await signed_in(process.url)
        async with client(process.url, token) as http:
            job = (await http.post("/api/v1/generate/image", json={"model": PICTURE, "prompt": "a"})).json()
            picture = (await http.get(job["assets"][0]["url"])).content
        assert await process.stopped() == 0
    async with atelier(tmp_path) as process:
        await process.ready()
        async with client(process.url, token) as http:
            assert (await http.get(f"/api/v1/jobs/{job['id']}")).json() == job
            assert (await http.get(job["assets"][0]["url"])).content == picture
        log = "\n".join(process.err + process.out)
    assert PASSWORD not in log
    assert token not in log


WRONG = [
    ("ATELIER_PORT", "http"),
    ("ATELIER_PORT", "-1"),
    ("ATELIER_PORT", "65536"),
    ("ATELIER_SECRET_KEY", "short"),
    ("ATELIER_PUBLIC_URL", "studio.example"),
    ("ATELIER_PUBLIC_URL", "ftp://studio.example"),
    ("ATELIER_PUBLIC_URL", "https://studio.example/below"),
    ("ATELIER_PUBLIC_URL", "https://studio.example:port"),
    ("ATELIER_TRUSTED_PROXIES", "everybody"),
    ("ATELIER_REGISTRATION", "maybe"),
    ("ATELIER_REGISTRATION", "domain:"),
    ("ATELIER_SIMULATOR", "yes"),
    ("ATELIER_SIMULATOR_SPEED", "fast"),
    ("ATELIER_SIMULATOR_SPEED", "-1"),
    ("ATELIER_SIMULATOR_SPEED", "nan"),
    ("ATELIER_WORKER_SECONDS", "0"),
    ("ATELIER_WORKER_SECONDS", "soon"),
    ("ATELIER_CATALOG_SECONDS", "-1"),
    ("ATELIER_JOB_TIMEOUT_SECONDS", "never"),
    ("ATELIER_JOB_TIMEOUT_SECONDS", "inf"),
    ("ATELIER_RATE_LIMITS", "perhaps"),
    ("ATELIER_MAX_IMAGE_MB", "big"),
    ("ATELIER_MAX_VIDEO_MB", "0"),
    ("OPENROUTER_BASE_URL", "openrouter"),
]


TRIED = """
import contextlib, io, json, os, sys
from app.__main__ import main
from tests.trust import trust

for name, text in json.load(sys.stdin):
    given, said = dict(os.environ), io.StringIO()
    os.environ[name] = text
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(["migrate"])
        except SystemExit as end:
            code = end.code
    os.environ.clear()
    os.environ.update(given)
    print(json.dumps([code, said.getvalue()]))
"""


def test_a_wrong_setting_is_told_in_one_clear_line_that_names_it(tmp_path: Path) -> None:
    """All rows in one process, because a process for each would take half a minute."""
    run = subprocess.run(
        [sys.executable, "-c", TRIED],
        input=json.dumps(WRONG),
        env=environment(tmp_path, {}),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(answers) == len(WRONG)
    wrong = [
        f"{name}={text}: exit {code}, {said!r}"
        for (name, text), (code, said) in zip(WRONG, answers, strict=True)
        if not code
        or len(said.splitlines()) != 1
        or name not in said
        or (name == "ATELIER_SECRET_KEY" and text in said)
    ]
    assert wrong == []
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("ATELIER_PORT", "http"), ("ATELIER_HOST", "no such host at all"), ("ATELIER_SIMULATOR", "yes")]
)
async def test_a_wrong_setting_stops_the_start(tmp_path: Path, name: str, text: str) -> None:
    async with atelier(tmp_path, settings={name: text}) as process:
        with contextlib.suppress(TimeoutError):
            await process.ended(8)
        assert process.process.returncode, f"it starts all the same: {process.out}"
        one_clear_line(process, name)


async def test_a_second_server_on_the_same_data_is_kept_out_with_a_clear_message(tmp_path: Path) -> None:
    async with atelier(tmp_path) as first:
        await first.ready()
        for command in ((), ("migrate",)):
            async with atelier(tmp_path, *command) as second:
                assert await second.ended() != 0
                line = one_clear_line(second, str(tmp_path / "data"))
                assert "another" in line or "already" in line or "use" in line
        async with client(first.url) as http:
            assert (await http.get("/health")).status_code == 200
        assert await first.stopped() == 0
    async with atelier(tmp_path) as third:
        await third.ready()


async def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with atelier(tmp_path, settings={"ATELIER_PORT": port}) as process:
            assert await process.ended() != 0
            one_clear_line(process, port)


def spoilt(database: Path, how: str) -> None:
    if how == "rubbish":
        database.write_bytes(os.urandom(50_000))
    elif how == "text":
        database.write_text("this is not a database\n" * 1000)
    elif how == "cut":
        database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])
    elif how == "holes":
        data = bytearray(database.read_bytes())
        data[4096 : len(data)] = bytes(len(data) - 4096)
        database.write_bytes(bytes(data))


@pytest.mark.parametrize("how", ["rubbish", "text", "cut", "holes"])
async def test_a_broken_database_file_is_told_in_one_line_and_left_as_it_is(tmp_path: Path, how: str) -> None:
    async with atelier(tmp_path) as process:
        await process.ready()
        await signed_in(process.url)
        assert await process.stopped() == 0
    [database] = (tmp_path / "data").glob("*.duckdb")
    spoilt(database, how)
    before = database.read_bytes()
    for _ in range(2):  # the second start is no different
        async with atelier(tmp_path) as process:
            with contextlib.suppress(TimeoutError):
                await process.ended(8)
            assert process.process.returncode, f"it starts all the same: {process.out}"
            one_clear_line(process, database.name)
        assert database.read_bytes() == before


@pytest.mark.parametrize("what", ["a file", "below a file", "a folder of others"])
async def test_a_data_folder_that_cannot_be_is_told_in_one_line(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("x")
    folder = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "data",
        "a folder of others": Path("/proc/x"),
    }
    async with atelier(tmp_path, settings={"ATELIER_DATA_DIR": str(folder[what])}) as process:
        assert await process.ended() != 0
        one_clear_line(process, str(folder[what]))
    assert (tmp_path / "file").read_text() == "x"


async def test_an_unknown_command_says_which_there_are(tmp_path: Path) -> None:
    async with atelier(tmp_path, "dance") as process:
        assert await process.ended() not in (0, 1)
        assert "serve" in "\n".join(process.err)
        assert "Traceback" not in "\n".join(process.err)
    assert not (tmp_path / "data").exists()


async def test_migrate_prepares_a_folder_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    said = []
    for _ in range(2):
        async with atelier(tmp_path, "migrate") as process:
            assert await process.ended() == 0
            said.append("\n".join(process.out))
    assert "0001" in said[0]
    assert "0001" not in said[1]


# Settings that change what is served


async def test_with_an_https_address_cookies_are_secure_and_browsers_stay_on_https(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_PUBLIC_URL="https://studio.example") as studio:
        browser = studio.client()
        page = await browser.get("/login")
        assert "max-age=" in page.headers["strict-transport-security"]
        [token] = re.findall(r'name="_csrf_token" value="([^"]+)"', page.text)
        cookie = page.headers["set-cookie"].split(";")[0]
        form = {"email": "ann@studio.example", "password": PASSWORD, "_csrf_token": token}
        answer = await browser.post("/register", data=form, headers={"Cookie": cookie})
        assert answer.status_code == 303
        for line in page.headers.get_list("set-cookie") + answer.headers.get_list("set-cookie"):
            assert line.startswith("__Host-"), line
            assert "secure" in line.lower()
            assert "path=/" in line.lower()
            assert "domain=" not in line.lower()
        for path in ("/api/v1/nothing", "/static/css/base.css", "/health"):
            assert "max-age=" in (await browser.get(path)).headers["strict-transport-security"]


@pytest.mark.parametrize(
    ("registration", "address", "status"),
    [
        ("closed", "bob@studio.example", 403),
        ("domain:studio.example", "bob@studio.example", 201),
        ("domain:studio.example", "bob@STUDIO.example", 201),
        ("domain:studio.example", "bob@other.example", 403),
        ("domain:studio.example", "bob@evil.studio.example", 403),
        ("domain:studio.example", "bob@evilstudio.example", 403),
        ("domain:studio.example", "bob@studio.example.evil.example", 403),
        ("open", "bob@other.example", 201),
    ],
)
async def test_registration_is_open_closed_or_for_one_domain(
    tmp_path: Path, registration: str, address: str, status: int
) -> None:
    async with running(tmp_path, ATELIER_REGISTRATION=registration) as studio:
        anonymous = studio.client()
        body = {"email": "ann@studio.example", "password": PASSWORD}
        first = await anonymous.post("/api/v1/auth/register", json=body)
        assert (first.status_code, first.json().get("role")) == (201, "admin")  # also when registration is closed
        second = await anonymous.post("/api/v1/auth/register", json={"email": address, "password": PASSWORD})
        if status == 403:
            problem(second, 403, "FORBIDDEN")
            page = await studio.browser().send_form("/register", {"email": address, "password": PASSWORD})
            assert page.status_code == 403
        else:
            assert (second.status_code, second.json()["role"]) == (201, "user")


async def test_without_key_and_simulator_nothing_is_on_offer_and_everything_else_works(tmp_path: Path) -> None:
    async with running(tmp_path, ATELIER_SIMULATOR="off") as studio:
        ann = await studio.person()
        assert (await ann.get("/api/v1/ai/models")).json()["items"] == []
        answer = await ann.post("/api/v1/generate/image", json={"model": PICTURE, "prompt": "a"})
        assert answer.status_code in (400, 503)
        problem(answer, answer.status_code)
        browser = await studio.person_in_browser()
        for path in ("/", "/generate/text", "/generate/image", "/generate/video", "/library", "/jobs"):
            page = await browser.get(path)
            assert page.status_code == 200, path
            assert "results are simulated" not in page.text
        assert (await studio.client().get("/health")).status_code == 200


async def test_a_provider_that_cannot_be_reached_keeps_nothing_from_starting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = {"OPENROUTER_API_KEY": "sk-or-very-secret-key", "OPENROUTER_BASE_URL": f"http://127.0.0.1:{port}/api/v1"}
    async with atelier(tmp_path, settings=settings) as process:
        await process.ready()
        token = await signed_in(process.url)
        async with client(process.url, token) as http:
            assert (await http.get("/health")).status_code == 200
            assert (await http.get("/api/v1/ai/models")).json()["items"] == []
            problem(await http.get(f"/api/v1/jobs/{INVENTED}"), 404)
        assert await process.stopped() == 0
        assert "sk-or-very-secret-key" not in json.dumps(process.err + process.out)
