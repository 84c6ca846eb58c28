"""`python -m app`: serving as a real process, and commands that end by themselves in one resident interpreter."""

import asyncio
import os
import re
import shutil
import signal
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest_asyncio

from tests.commands import Commands, Result, resident_commands
from tests.kit import IMAGE_MODEL, SHORT_VIDEO, VIDEO_MODEL, Cases, eventually
from tests.processes import atelier_process
from tests.studio import PASSWORD, running
from tests.trust import trust


@pytest_asyncio.fixture(scope="module")
async def commands() -> AsyncIterator[Commands]:
    async with resident_commands() as commands:
        yield commands


@asynccontextmanager
async def client(url: str, token: str = "") -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=300, trust_env=False, verify=trust()) as http:
        yield http


async def signed_in(url: str) -> str:
    """The access token of a new user."""
    async with client(url) as http:
        account = {"email": "ann@studio.example", "password": PASSWORD}
        await http.post("/api/v1/auth/register", json=account)
        token: str = (await http.post("/api/v1/auth/login", json=account)).json()["access_token"]
        return token


def check_one_line(result: Result, *words: str) -> None:
    """It failed with one readable line that contains each of `words`."""
    assert result.code not in (0, None), f"it succeeded: {result}"
    assert len(result.lines) == 1, result
    [line] = result.lines
    for word in words:
        assert word.lower() in line.lower(), line
    assert "Traceback" not in line
    assert not line.startswith("{")


# Serving


async def test_serving_prints_one_line_keeps_everything_in_the_data_folder_and_survives_a_restart(
    tmp_path: Path,
) -> None:
    """The first process is stopped by SIGTERM while it is idle, the second by Ctrl+C with jobs and clients waiting."""
    cwd, home, temporary = tmp_path / "cwd", tmp_path / "home", tmp_path / "tmp"
    for folder in (cwd, home, temporary):
        folder.mkdir()
    data = tmp_path / "a" / "b" / "data"
    settings = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TMPDIR": str(temporary),
        "ATELIER_DATA_DIR": str(data),
    }

    async with atelier_process(tmp_path, cwd=cwd, settings=settings) as process:
        await process.ready()
        async with client(process.url) as http:
            assert (await http.get("/health")).status_code == 200
            assert (await http.get("/login")).status_code == 200
        token = await signed_in(process.url)
        async with client(process.url, token) as http:
            body = {"model": IMAGE_MODEL, "prompt": "[stamp] a"}
            answer = await http.post("/api/v1/generate/image", json=body, headers={"Prefer": "wait=120"})
            assert answer.status_code == 200
            job = answer.json()
            image = (await http.get(job["assets"][0]["url"])).content
            assert await process.stopped(signal.SIGTERM) == 0
        assert len(process.out) == 1
        assert re.search(r"http://127\.0\.0\.1:\d+", process.out[0])
        first_log = "\n".join(process.err)

    assert list(cwd.iterdir()) == []
    assert list(home.rglob("*")) == []
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "data").exists()
    secrets = [file for file in data.iterdir() if "secret" in file.name]
    assert len(secrets) == 1
    assert stat.S_IMODE(secrets[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(data.stat().st_mode) & 0o007 == 0, "other users of the machine can read the data"

    async with atelier_process(tmp_path, "serve", cwd=cwd, settings=settings) as process:
        await process.ready()
        async with client(process.url, token) as http:
            assert (await http.get(f"/api/v1/jobs/{job['id']}")).json() == job
            assert (await http.get(job["assets"][0]["url"])).content == image
            await http.post("/api/v1/generate/video", json={"model": VIDEO_MODEL, "prompt": "[stuck] a", **SHORT_VIDEO})
            waiting = asyncio.ensure_future(
                http.post("/api/v1/generate/image", json={"model": IMAGE_MODEL, "prompt": "[stuck] a"})
            )
            await eventually(
                lambda: http.get("/api/v1/jobs"),
                lambda answer: [it["status"] for it in answer.json()["items"]] == ["processing"] * 2 + ["completed"],
            )
            # 0 also says that it stopped in time: an alarm kills a process that takes longer than its limit.
            assert await process.stopped(signal.SIGINT) == 0
            await asyncio.gather(waiting, return_exceptions=True)
        assert len(process.out) == 1
        log = "\n".join([first_log, *process.err])
    assert "Traceback" not in log, log[-3000:]
    assert PASSWORD not in log
    assert token not in log


async def test_a_port_in_use_ends_the_process_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        async with atelier_process(tmp_path, settings={"ATELIER_PORT": port}) as process:
            code = await process.ended()
            check_one_line(Result(code, "\n".join(process.out), "\n".join(process.err)), port)


# Commands that end by themselves


INVALID_SETTINGS = [
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


async def test_an_invalid_setting_is_reported_by_name_in_one_line(commands: Commands, tmp_path: Path) -> None:
    with Cases() as cases:
        for command in ("migrate", "serve"):
            for name, value in INVALID_SETTINGS:
                with cases.case(command, name, value):
                    result = await commands.run(tmp_path, command, settings={name: value})
                    check_one_line(result, name)
                    assert name != "ATELIER_SECRET_KEY" or value not in result.lines[0]
        with cases.case("a host that does not exist"):
            result = await commands.run(tmp_path, settings={"ATELIER_HOST": "no such host at all"})
            check_one_line(result, "ATELIER_HOST")
    assert not (tmp_path / "data").exists()


async def test_a_second_process_on_the_same_data_folder_is_refused(commands: Commands, tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        for command in ([], ["migrate"]):
            result = await commands.run(tmp_path, *command)
            check_one_line(result, str(tmp_path / "data"), "another")
        assert (await studio.client().get("/health")).status_code == 200
    async with running(tmp_path) as studio:
        assert (await studio.client().get("/health")).status_code == 200


def damage(database: Path, how: str) -> None:
    if how == "random bytes":
        database.write_bytes(os.urandom(50_000))
    elif how == "text":
        database.write_text("this is not a database\n" * 1000)
    elif how == "truncated":
        database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])
    elif how == "zeros":
        data = bytearray(database.read_bytes())
        data[4096 : len(data)] = bytes(len(data) - 4096)
        database.write_bytes(bytes(data))


async def test_a_damaged_database_is_reported_in_one_line_and_left_unchanged(
    commands: Commands, tmp_path: Path
) -> None:
    async with running(tmp_path / "intact") as studio:
        await studio.user()
    with Cases() as cases:
        for how in ("random bytes", "text", "truncated", "zeros"):
            folder = tmp_path / how
            shutil.copytree(tmp_path / "intact", folder)
            [database] = (folder / "data").glob("*.duckdb")
            damage(database, how)
            before = database.read_bytes()
            for attempt in ("first", "second"):
                with cases.case(how, attempt):
                    check_one_line(await commands.run(folder), database.name)
                    assert database.read_bytes() == before


async def test_a_data_folder_that_cannot_be_created_is_reported_in_one_line(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "data", Path("/proc/x")):
        result = await commands.run(tmp_path, settings={"ATELIER_DATA_DIR": str(folder)})
        check_one_line(result, str(folder))
    assert (tmp_path / "file").read_text() == "x"


async def test_an_unknown_command_lists_the_known_ones(commands: Commands, tmp_path: Path) -> None:
    result = await commands.run(tmp_path, "dance")
    assert result.code not in (0, 1)
    assert "serve" in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "data").exists()


async def test_migrate_prepares_the_folder_below_the_working_directory_and_then_has_nothing_to_do(
    commands: Commands, tmp_path: Path
) -> None:
    first = await commands.run(tmp_path, "migrate", cwd=tmp_path, settings={"ATELIER_DATA_DIR": ""})
    second = await commands.run(tmp_path, "migrate", cwd=tmp_path, settings={"ATELIER_DATA_DIR": ""})
    assert (first.code, second.code) == (0, 0)
    assert "0001" in first.out
    assert "0001" not in second.out
    assert (tmp_path / "data").is_dir()
