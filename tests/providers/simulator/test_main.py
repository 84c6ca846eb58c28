"""The simulator as a process of its own: started, killed, started again, stopped."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from app.providers.simulator.__main__ import main
from app.providers.simulator.state import JobStore
from tests.providers.simulator.kit import SECONDS, SimulatorClient, conversation

READY = re.compile(
    r"^Simulator listening on (http://127\.0\.0\.1:\d+) \(OpenRouter at /api/v1, fal at /fal/queue and /fal/rest\)$"
)


@contextmanager
def running(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], SimulatorClient]]:
    command = [sys.executable, "-W", "error", "-m", "app.providers.simulator", "--port", "0", "--data", str(folder)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = READY.match(process.stdout.readline().strip())
            assert ready
            client = SimulatorClient(ready[1], folder)
            yield process, client
            client.close()
        finally:
            process.kill()


def stopped(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The exit code and the output of a process that was asked to stop."""
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def test_a_job_survives_a_kill_and_is_logged_once(tmp_path: Path) -> None:
    """The two processes also prove that heavy libraries are not loaded at the start, that a configured key is the only one
    accepted, and that SIGTERM stops the simulator during an endless response."""
    with running(tmp_path, "--speed", "1000") as (process, sim):
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert not re.search(r"/PIL/|/av/|libav", loaded), "it loads images or videos before it needs them"
        id = sim.submit("[stamp] it continues").json()["id"]
        assert sim.poll(id)["status"] == "pending"
        process.send_signal(signal.SIGKILL)
        process.wait(SECONDS)
    store = JobStore(tmp_path)
    job = store.job(id)
    assert job is not None
    assert job.ends_at is not None
    store.save(
        msgspec.structs.replace(job, starts_at=job.created_at, ends_at=job.created_at)
    )  # the time it takes has passed
    with running(tmp_path, "--speed", "0", "--key", "sk-test") as (process, sim):
        assert sim.poll(id)["status"] == "completed"
        assert len(sim.submits("[stamp] it continues")) == 1
        assert sim.content(id).content[4:8] == b"ftyp"
        another = {"Authorization": "Bearer sk-other"}
        assert sim.anonymous.get(f"{sim.origin}/api/v1/key", headers=another).status_code == 401
        assert sim.get("/key").status_code == 200
        with sim.http.stream("POST", "/chat/completions", json=conversation("[stuck]", stream=True)) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                list(pieces)
        assert stopped(process) == (0, "", "")


def test_an_interrupt_stops_it_cleanly_and_without_output(tmp_path: Path) -> None:
    with running(tmp_path, "--speed", "0") as (process, sim):
        assert sim.get("/key").status_code == 200
        process.send_signal(signal.SIGINT)
        assert stopped(process) == (0, "", "")


def test_a_port_in_use_is_reported_in_one_line(
    sim: SimulatorClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = sim.origin.rpartition(":")[2]
    with pytest.raises(SystemExit) as caught:
        main(["--port", port, "--data", str(tmp_path)])
    assert caught.value.code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_webhooks_to_another_machine_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--port", "0", "--data", str(tmp_path), "--webhook-to", "https://studio.example.org"])
    assert caught.value.code == 2
    assert "on this machine" in capsys.readouterr().err
