"""What is in the log of a real process: one line per event, with the request or job it belongs to, and no secret."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.kit import SHORT_VIDEO, TEXT_MODEL, VIDEO_MODEL, Json, ended_job
from tests.processes import RunningProcess, atelier_process
from tests.studio import PASSWORD
from tests.trust import trust

Line = dict[str, Any]
ACCOUNT = {"email": "ann@studio.example", "password": PASSWORD}
PROMPT = "a lighthouse that no one else may read about"
BOUND = 300.0  # seconds; only a broken product needs them


async def use(process: RunningProcess) -> tuple[dict[str, str], dict[str, str]]:
    """A visit with jobs that complete and fail, and secrets everywhere; the secrets, and the jobs' ids, by their names."""
    await process.ready(BOUND)
    async with httpx.AsyncClient(base_url=process.url, timeout=BOUND, trust_env=False, verify=trust()) as client:
        await client.post("/api/v1/auth/register", json=ACCOUNT)
        headers = {"X-Request-ID": "signing-in"}
        tokens = (await client.post("/api/v1/auth/login", json=ACCOUNT, headers=headers)).json()
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        key = (await client.post("/api/v1/users/me/keys", json={"name": "mine"})).json()["key"]
        await client.get("/api/v1/ai/models", params={"q": "queried-words", "token": "token-in-the-query"})
        await client.get("/no/such/page", params={"key": "key-in-the-query"})
        await client.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": f"[refuse] {PROMPT}"})
        jobs: dict[str, str] = {}
        for directive in ("stamp", "badmedia", "odd-state"):
            body = {"model": VIDEO_MODEL, "prompt": f"[{directive}] [stamp] {PROMPT}", **SHORT_VIDEO}
            job: Json = (await client.post("/api/v1/generate/video", json=body)).json()
            jobs[directive] = job["id"]
        for id in jobs.values():
            await ended_job(client, id)
    secrets = {
        "password": PASSWORD,
        "access token": tokens["access_token"],
        "refresh token": tokens["refresh_token"],
        "API key": key,
        "query": "queried-words",
        "token in the query": "token-in-the-query",
        "key in the query": "key-in-the-query",
        "email": ACCOUNT["email"],
        "prompt": PROMPT,
    }
    return secrets, jobs


async def test_the_log_of_a_process(tmp_path: Path) -> None:
    async with atelier_process(tmp_path) as process:
        secrets, jobs = await use(process)
        assert await process.stopped(signal.SIGTERM, BOUND) == 0
    lines: list[Line] = [json.loads(line) for line in process.err]  # every line is one event in JSON
    assert all({"event", "level", "timestamp", "part"} <= set(line) for line in lines)
    text = "\n".join(process.err)
    assert [name for name, secret in secrets.items() if secret in text] == []
    check_requests([line for line in lines if line["event"] == "request"])

    failed = [line for line in lines if line["event"] == "job failed"]
    assert [line["code"] for line in failed] == ["PROVIDER_REFUSED", "RESULT_INVALID"]
    assert all(re.fullmatch(r"[0-9a-f]{32}", line["job"]) for line in failed)
    assert failed[1]["job"] == jobs["badmedia"]
    assert not any("request" in line for line in failed), "a job outlives the request that created it"

    # A provider knows nothing of jobs; its lines have the id all the same, and none has another's.
    (unknown_state,) = [line for line in lines if line["event"] == "unknown video job state"]
    assert unknown_state["part"] == "providers.openrouter"
    assert unknown_state["job"] == jobs["odd-state"]


def check_requests(requests: list[Line]) -> None:
    assert all({"request", "method", "path", "status", "ms"} <= set(line) for line in requests)
    assert not any("?" in line["path"] for line in requests)
    assert len({line["request"] for line in requests}) == len(requests), "each has its own id"
    (login,) = [line for line in requests if line["path"] == "/api/v1/auth/login"]
    assert (login["request"], login["status"]) == ("signing-in", 200)
    (missing,) = [line for line in requests if line["path"] == "/no/such/page"]
    assert missing["status"] == 404
