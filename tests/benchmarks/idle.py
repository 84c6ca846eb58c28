"""What the program costs when no one uses it, and what an hour of light use leaves behind, with the simulator.

python -m tests.benchmarks.idle
"""

import asyncio
import itertools
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.processes import USER, Process, started
from tests.benchmarks.results import Result, run
from tests.kit import IMAGE_MODEL, SHORT_VIDEO, TEXT_MODEL, VIDEO_MODEL, png
from tests.studio import Browser
from tests.trust import trust

QUIET = 60.0  # seconds without a request before an idle program is measured, and again while it is
ROUNDS = 100  # of light use, each some forty requests
WORK_ROUNDS = 10  # every tenth round generates an image and a video, too
DEFAULTS = {"ATELIER_SIMULATOR_SPEED": "1", "ATELIER_WORKER_SECONDS": "15", "ATELIER_RATE_LIMITS": "on"}
PAGES = (
    *(
        "/",
        "/generate/text",
        "/generate/image",
        "/generate/video",
        "/chat",
        "/library",
        "/jobs",
        "/models",
        "/spending",
    ),
    *("/users/profile", "/help/providers", "/help/api", "/api/docs"),
    *("/admin", "/admin/users", "/admin/jobs", "/admin/models", "/admin/audit"),
)
READS = (
    *("/api/v1/users/me", "/api/v1/ai/models", "/api/v1/jobs", "/api/v1/assets", "/api/v1/generate/videos"),
    *("/api/v1/admin/stats", "/api/v1/admin/health", "/metrics", "/v1/models", "/health", "/api/v1/openapi.json"),
)


def wake_ups(pid: int) -> int:
    """How often the threads of a process have gone to sleep so far, which is how often they were woken."""
    statuses = [status.read_text("ascii") for status in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(
        int(count) for text in statuses for count in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)
    )


@asynccontextmanager
async def visitor(process: Process) -> AsyncIterator[Browser]:
    """The program's first user, an admin, signed in both by cookie and by access token."""
    async with Browser(base_url=process.url, trust_env=False, verify=trust(), timeout=120) as browser:
        await browser.post("/api/v1/auth/register", json=USER)
        tokens = (await browser.post("/api/v1/auth/login", json=USER)).json()
        await browser.send_form("/login", USER)
        browser.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield browser


async def use(browser: Browser, number: int) -> int:
    """One round of light use: every page, every kind of call. Returns the number of requests."""
    count = itertools.count()

    async def ask(method: str, path: str, **options: Any) -> Any:
        next(count)
        answer = await browser.request(method, path, **options)
        if answer.status_code >= 400:
            raise RuntimeError(f"{method} {path} was answered {answer.status_code}: {answer.text[:300]}")
        return answer.json() if answer.headers["content-type"].startswith("application/json") else None

    for path in PAGES + READS:
        await ask("GET", path)
    words = [{"role": "user", "content": f"Question {number}"}]
    await ask("POST", "/api/v1/ai/chat", json={"model": TEXT_MODEL, "messages": words})
    await ask("POST", "/v1/chat/completions", json={"model": TEXT_MODEL, "messages": words, "stream": True})
    await ask("POST", "/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": f"Story {number}"})
    await ask("POST", "/api/v1/auth/login", json=USER)
    asset = await ask("POST", "/api/v1/assets", files={"file": ("image.png", png(800, 600))})
    await ask("GET", asset["url"])
    await ask("GET", f"/library/{asset['id']}")
    if number % (ROUNDS // WORK_ROUNDS) == 0:
        image = await ask(
            "POST", "/api/v1/generate/image", json={"model": IMAGE_MODEL, "prompt": f"Lighthouse {number}"}
        )
        video = await ask("POST", "/api/v1/generate/video", json={"model": VIDEO_MODEL, "prompt": "Sea", **SHORT_VIDEO})
        while (await ask("GET", f"/api/v1/jobs/{video['id']}"))["status"] in ("queued", "processing"):
            await ask("GET", f"/jobs/{video['id']}/card")
            await asyncio.sleep(0.5)
        for job in (image, video):
            await ask("GET", f"/jobs/{job['id']}")
    return next(count)


async def idleness(process: Process, when: str) -> list[Result]:
    """CPU time and wake-ups of a program that no one uses."""
    await asyncio.sleep(QUIET)
    cpu, count = process.cpu_seconds, wake_ups(process.process.pid)
    await asyncio.sleep(QUIET)
    cpu, count = process.cpu_seconds - cpu, wake_ups(process.process.pid) - count
    workload = f"{QUIET:.0f} s without a request, after as many of quiet"
    return [
        Result(
            name=f"idle program, {when}", value=cpu / QUIET * 100, unit="% core", target="<= 0.5", workload=workload
        ),
        Result(
            name=f"its wake-ups, {when}", value=count / QUIET, unit="/s", target="<= 20", workload=workload
        ),
    ]  # fmt: skip


async def idle_program() -> AsyncIterator[Result]:
    with tempfile.TemporaryDirectory() as folder:
        async with started(Path(folder), "app", settings=DEFAULTS) as process:
            for result in await idleness(process, "just started"):
                yield result


async def light_use() -> AsyncIterator[Result]:
    """The longest garbage collection and the growth in memory over an hour of light use, made in some minutes."""
    with tempfile.TemporaryDirectory() as temporary:
        async with started(Path(temporary), "tests.benchmarks.watched_program", settings={}) as process:
            async with visitor(process) as browser:
                at_start = process.megabytes
                await use(browser, 0)
                before = process.megabytes
                requests = sum([await use(browser, number) for number in range(1, ROUNDS + 1)])
            after = process.megabytes
            longest = re.findall(r"^collection ([\d.]+) ms", process.log.read_text("utf-8", "replace"), re.M)
            workload = f"{requests} requests: every page, every kind of call, {WORK_ROUNDS} images and videos"
            yield Result(
                name="longest garbage collection",
                value=float(longest[-1]),
                unit="ms",
                target="<= 25",
                workload=f"{workload}; CPU time",
            )
            yield Result(
                name="growth of memory in light use",
                value=(after / before - 1) * 100,
                unit="%",
                target="<= 20",
                workload=workload,
                comparison=f"{at_start:.0f} MB at the start, {before:.0f} MB once everything was used, {after:.0f} MB at the end",
            )
            for result in await idleness(process, "after light use"):
                yield result


if __name__ == "__main__":
    run(idle_program, light_use)
