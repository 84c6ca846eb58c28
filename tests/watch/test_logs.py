"""What stands in the log of a real run: one line an event, whose request or job it is, and no secret."""

import json
import logging
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from app.base import log
from tests.api.kit import CLIP, SHORT, TEXT, read_job
from tests.api.processes import Running, atelier
from tests.studio import PASSWORD
from tests.trust import trust
from tests.watch.patience import eventually

Line = dict[str, Any]
PERSON = {"email": "ann@studio.example", "password": PASSWORD}
PROMPT = "a lighthouse that nobody else may read of"


def _lines(studio: Running) -> list[Line]:
    """Every line is one event in JSON."""
    return [json.loads(line) for line in studio.err]


async def _run(studio: Running) -> dict[str, str]:
    """A person's visit, with a job that works, two that fail, and secrets all over; returns
    the secrets."""
    await studio.ready()
    async with httpx.AsyncClient(base_url=studio.url, timeout=60, trust_env=False, verify=trust()) as http:
        await http.post("/api/v1/auth/register", json=PERSON)
        tokens = (await http.post("/api/v1/auth/login", json=PERSON, headers={"X-Request-ID": "signing-in"})).json()
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        key = (await http.post("/api/v1/users/me/keys", json={"name": "mine"})).json()["key"]
        await http.get("/api/v1/ai/models", params={"q": "queried-words", "token": "token-in-the-query"})
        await http.get("/no/such/page", params={"key": "key-in-the-query"})
        await http.post("/api/v1/generate/text", json={"model": TEXT, "prompt": f"[refuse] {PROMPT}"})
        job = (await http.post("/api/v1/generate/video", json={"model": CLIP, "prompt": PROMPT, **SHORT})).json()
        await eventually(lambda: read_job(http, job["id"]), lambda now: now["completed_at"] is not None)
        bad = {"model": CLIP, "prompt": f"[badmedia] {PROMPT}", **SHORT}
        spoiled = (await http.post("/api/v1/generate/video", json=bad)).json()
        await eventually(lambda: read_job(http, spoiled["id"]), lambda now: now["completed_at"] is not None)
    return {
        "password": PASSWORD,
        "access token": tokens["access_token"],
        "refresh token": tokens["refresh_token"],
        "API key": key,
        "query": "queried-words",
        "token in the query": "token-in-the-query",
        "key in the query": "key-in-the-query",
        "email": PERSON["email"],
        "prompt": PROMPT,
    }


async def test_a_real_run(tmp_path: Path) -> None:
    async with atelier(tmp_path) as studio:
        secrets = await _run(studio)
        assert await studio.stopped(signal.SIGTERM) == 0
    lines = _lines(studio)
    whole = "\n".join(studio.err)
    for name, secret in secrets.items():
        assert secret not in whole, f"the {name} stands in the log"
    assert all({"event", "level", "timestamp", "part"} <= set(line) for line in lines)

    requests = [line for line in lines if line["event"] == "request"]
    assert all({"request", "method", "path", "status", "ms"} <= set(line) for line in requests)
    assert not any("?" in line["path"] for line in requests)
    assert len({line["request"] for line in requests}) == len(requests), "each has its own id"
    (login,) = [line for line in requests if line["path"] == "/api/v1/auth/login"]
    assert (login["request"], login["status"]) == ("signing-in", 200)
    (missed,) = [line for line in requests if line["path"] == "/no/such/page"]
    assert missed["status"] == 404

    failed = [line for line in lines if line["event"] == "job failed"]
    assert [line["code"] for line in failed] == ["PROVIDER_REFUSED", "RESULT_INVALID"]
    assert all(re.fullmatch(r"[0-9a-f]{32}", line["job"]) for line in failed)
    assert not any("request" in line for line in failed), "a job outlives the request that asked for it"


async def test_what_is_said_deep_inside_a_job_names_the_job(tmp_path: Path) -> None:
    """A provider knows nothing of jobs; its lines have the id all the same, and none has another's."""
    async with atelier(tmp_path) as studio:
        await studio.ready()
        async with httpx.AsyncClient(base_url=studio.url, timeout=60, trust_env=False, verify=trust()) as http:
            await http.post("/api/v1/auth/register", json=PERSON)
            tokens = (await http.post("/api/v1/auth/login", json=PERSON)).json()
            http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            body = {"model": CLIP, **SHORT}
            odd = (await http.post("/api/v1/generate/video", json={**body, "prompt": "[odd-state] a boat"})).json()
            plain = (await http.post("/api/v1/generate/video", json={**body, "prompt": "a boat"})).json()
            for job in (odd, plain):
                await eventually(lambda id=job["id"]: read_job(http, id), lambda now: now["completed_at"] is not None)  # type: ignore[misc]
        await studio.stopped(signal.SIGTERM)
    (said,) = [line for line in _lines(studio) if "state that is not known" in line["event"]]
    assert said["part"] == "providers.openrouter"
    assert said["job"] == odd["id"]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer eyJhbGciOi.payload.mark", "eyJhbGciOi.payload.mark"),
        ("the key sk-or-v1-0123456789abcdef was refused", "0123456789abcdef"),
        ("atl_0123456789abcdef0123", "0123456789abcdef0123"),
        ("https://host/clip?token=abcdef&expires=1", "abcdef"),
        ("signature=deadbeef;", "deadbeef"),
    ],
)
def test_secrets_are_masked_wherever_they_turn_up(text: str, secret: str) -> None:
    assert secret not in log.masked(text)


def test_what_libraries_log_becomes_a_line_like_ours() -> None:
    with capture_logs() as lines:
        logging.getLogger("uvicorn.error").error("Cancel %s running task(s)", 3)
        logging.getLogger("some.library").info("nobody needs this")
    assert lines == [
        {"part": "uvicorn.error", "event": "Cancel 3 running task(s)", "exc_info": None, "log_level": "error"}
    ]
