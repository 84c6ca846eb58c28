"""Checks the state after a crash and a restart from outside: the database, the files on disk and the provider's log. It
shares no code with the application under test."""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import msgspec

Row = dict[str, Any]
NANO = 1_000_000_000
MAX_RECOVERIES = 5


class ProviderLog(msgspec.Struct, frozen=True):
    """How often the provider accepted each prompt, and what it charged for it in nano-dollars."""

    submits: Mapping[str, int]
    charged: Mapping[str, int]


def run_of(prompt: str) -> str:
    """The run that a prompt belongs to, which follows the `|`."""
    return prompt.partition(" | ")[2].partition(" ")[0]


def provider_log(folder: Path, runs: Collection[str]) -> ProviderLog:
    """What the provider has logged about the prompts of these runs."""
    submits: Counter[str] = Counter()
    charged: Counter[str] = Counter()
    log = folder / "submits.jsonl"
    for line in log.read_bytes().splitlines() if log.exists() else ():
        submit = json.loads(line)
        prompt = submit["prompt"]
        if run_of(prompt) not in runs:
            continue
        submits[prompt] += 1
        with contextlib.suppress(FileNotFoundError):  # accepted, and then the connection broke
            job = json.loads((folder / "jobs" / f"{submit['id']}.json").read_bytes())
            charged[prompt] += round(job["cost"] * NANO)
    return ProviderLog(submits, charged)


@contextmanager
def opened(data: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of the database, so that reading it changes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        for path in data.glob("atelier.duckdb*"):
            shutil.copy2(path, folder)
        connection = duckdb.connect(str(Path(folder) / "atelier.duckdb"))
        try:
            yield connection
        finally:
            connection.close()


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    result = connection.execute(sql)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, values, strict=True)) for values in result.fetchall()]


def in_submission(data: Path) -> set[str]:
    """The jobs that were being submitted when the process died, including those cancelled meanwhile: whether the
    provider accepted them cannot be known."""
    sql = (
        "select id from jobs where upstream_job_id is null"
        " and (status = 'processing' or (status = 'cancelled' and late_result_policy is not null))"
    )
    with opened(data) as connection:
        return {row["id"] for row in _rows(connection, sql)}


def check(data: Path, provider: ProviderLog, acknowledged: Collection[str], unknown: Collection[str]) -> list[str]:
    """One sentence per fault; `unknown` are the jobs that may have ended as OUTCOME_UNKNOWN."""
    with opened(data) as connection:
        jobs = _rows(connection, "select * from jobs")
        ledger = _rows(connection, "select * from ledger where subject_kind = 'job'")
        assets = _rows(connection, "select * from assets")
        events = _rows(connection, "select job_id, event from job_events")
    return [
        *_lost(jobs, assets, acknowledged),
        *_states(jobs, events, unknown),
        *_submits(jobs, provider),
        *_ledger(jobs, ledger),
        *_costs(jobs, provider, unknown),
        *_results(jobs, assets),
        *_files(data, assets),
        *_leftovers(data),
    ]


def _lost(jobs: list[Row], assets: list[Row], acknowledged: Collection[str]) -> Iterator[str]:
    found = {row["id"] for row in (*jobs, *assets)}
    for id in acknowledged:
        if id not in found:
            yield f"{id} was acknowledged and is lost"


def _states(jobs: list[Row], events: list[Row], unknown: Collection[str]) -> Iterator[str]:
    first: dict[str, str] = {}
    for event in events:
        first.setdefault(event["job_id"], event["event"])
    for job in jobs:
        if job["status"] not in ("completed", "failed", "cancelled"):
            yield f"{job['prompt']} has not ended: {job['status']}"
        if job["error_code"] == "OUTCOME_UNKNOWN" and job["id"] not in unknown:
            yield f"{job['prompt']} ended as unknown although its outcome could be known"
        if job["id"] in unknown and job["status"] == "completed":
            yield f"{job['prompt']} was completed, which is impossible without a second submit"
        if job["late_result_policy"] is not None and job["status"] != "completed":
            yield f"{job['prompt']}: a late result is still expected"
        if first.get(job["id"]) != "queued":
            yield f"{job['prompt']} has a timeline that does not begin with its queueing"


def _submits(jobs: list[Row], provider: ProviderLog) -> Iterator[str]:
    for job in jobs:
        times = provider.submits.get(job["prompt"], 0)
        if times > 1:
            yield f"{job['prompt']} was submitted {times} times"
        if times == 0 and job["status"] == "completed":
            yield f"{job['prompt']} was completed without having been submitted"


def _ledger(jobs: list[Row], ledger: list[Row]) -> Iterator[str]:
    entries: dict[str, list[Row]] = defaultdict(list)
    for row in ledger:
        entries[row["subject_id"]].append(row)
    for job in jobs:
        rows = entries.pop(job["id"], [])
        kinds = Counter(row["entry"] for row in rows)
        ended = job["ended_at"] is not None
        if kinds["hold"] != 1 or kinds["settlement"] != int(ended) or kinds["correction"] > 1:
            yield f"{job['prompt']} has the entries {dict(kinds)}"
        if ended and sum(row["held_nano"] for row in rows) != 0:
            yield f"{job['prompt']} has ended and something is held for it"
        known = [row["spent_nano"] for row in rows if row["spent_nano"] is not None]
        if (sum(known) if known else None) != job["cost_nano"]:
            yield f"{job['prompt']} cost {job['cost_nano']}, the ledger says {known}"
        if any(row["owner_id"] != job["owner_id"] for row in rows):
            yield f"{job['prompt']} is in another user's ledger"
    for id in entries:
        yield f"the ledger has a job {id} that does not exist"


def _costs(jobs: list[Row], provider: ProviderLog, unknown: Collection[str]) -> Iterator[str]:
    for job in jobs:
        charged = provider.charged.get(job["prompt"], 0)
        if job["cost_nano"] is None:
            free = job["status"] != "completed" and charged == 0  # the provider does not charge for a video that failed
            stopped = job["recovery_count"] >= MAX_RECOVERIES  # its result crashed the server repeatedly
            if not free and not stopped and job["id"] not in unknown:
                ended = f"{job['error_code'] or job['status']}, recovered {job['recovery_count']} times"
                yield f"{job['prompt']} ({ended}) cost {charged}, but its cost is not recorded"
        elif job["cost_nano"] != charged:
            yield f"{job['prompt']} cost {charged}, but {job['cost_nano']} is recorded"


def _results(jobs: list[Row], assets: list[Row]) -> Iterator[str]:
    results = Counter(asset["job_id"] for asset in assets if asset["job_id"])
    known = {job["id"] for job in jobs}
    for job in jobs:
        expected = job["kind"] != "text" and job["status"] == "completed"
        if expected != bool(results[job["id"]]) and job["status"] != "cancelled":
            yield f"{job['prompt']} ({job['status']}) has {results[job['id']]} files"
        if results[job["id"]] > 1:
            yield f"{job['prompt']} has {results[job['id']]} results"
        if job["kind"] == "text" and (job["text"] is not None) != (job["status"] == "completed"):
            yield f"{job['prompt']} ({job['status']}) has {'a' if job['text'] else 'no'} text"
    for id in results.keys() - known:
        yield f"a file belongs to a job {id} that does not exist"


def _files(data: Path, assets: list[Row]) -> Iterator[str]:
    media = data / "media"
    named = {key: row for row in assets for key in (row["file_key"], row["thumbnail_key"]) if key}
    stored = {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}
    for key in named.keys() - stored:
        yield f"a row without a file: {key}"
    for key in stored - named.keys():
        yield f"a file without a row: {key}"
    for key in stored & named.keys():
        content = (media / key).read_bytes()
        if hashlib.sha256(content).hexdigest() != Path(key).stem:
            yield f"damaged: {key}"
        if named[key]["file_key"] == key and named[key]["bytes"] != len(content):
            yield f"the size differs from its row: {key}"


def _leftovers(data: Path) -> Iterator[str]:
    for path in (data / "tmp").iterdir():
        yield f"left behind: tmp/{path.name}"
