"""The simulator as a program of its own: started, killed, started again."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.providers.simulator.caller import Caller, conversation

READY = re.compile(r"^Simulator listening on (http://127\.0\.0\.1:\d+) \(OpenRouter at /api/v1\)$")


@contextmanager
def running(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Caller]]:
    command = [sys.executable, "-W", "error", "-m", "app.providers.simulator", "--port", "0", "--data", str(folder)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            ready = READY.match(program.stdout.readline().strip())
            assert ready
            caller = Caller(ready[1], folder)
            yield program, caller
            caller.close()
        finally:
            program.kill()


def test_a_job_outlives_a_kill_and_is_in_the_log_once(tmp_path: Path) -> None:
    with running(tmp_path, "--speed", "0.3") as (program, sim):
        id = sim.submit("it goes on").json()["id"]
        assert sim.poll(id)["status"] == "pending"
        program.send_signal(signal.SIGKILL)
        program.wait(5)
    with running(tmp_path, "--speed", "0.3") as (_, sim):
        deadline = time.monotonic() + 10
        seen = {sim.poll(id)["status"]}
        while "completed" not in seen and time.monotonic() < deadline:
            time.sleep(0.05)
            seen.add(sim.poll(id)["status"])
        assert "completed" in seen
        assert seen <= {"pending", "in_progress", "completed"}
        assert len(sim.submits("it goes on")) == 1
        assert sim.content(id).content[4:8] == b"ftyp"


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_and_without_a_word(tmp_path: Path, name: signal.Signals) -> None:
    with running(tmp_path, "--speed", "0") as (program, sim):
        assert sim.get("/key").status_code == 200
        program.send_signal(name)
        out, err = program.communicate(timeout=5)
        assert (program.returncode, out, err) == (0, "", "")


def test_it_stops_also_while_an_answer_without_an_end_is_under_way(tmp_path: Path) -> None:
    with running(tmp_path, "--speed", "0") as (program, sim):
        with sim.http.stream("POST", "/chat/completions", json=conversation("[stuck]", stream=True)) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            program.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                list(pieces)
        out, err = program.communicate(timeout=5)
        assert (program.returncode, out, err) == (0, "", "")


def test_one_key_can_be_the_only_one(tmp_path: Path) -> None:
    with running(tmp_path, "--speed", "0", "--key", "sk-other") as (_, sim):
        assert sim.get("/key").status_code == 401


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with running(tmp_path) as (_, sim):
        port = sim.origin.rpartition(":")[2]
        command = [sys.executable, "-m", "app.providers.simulator", "--port", port, "--data", str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert second.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in second.stderr
    assert "Traceback" not in second.stderr


def test_importing_the_program_loads_neither_pictures_nor_films() -> None:
    code = "import sys, app.providers.simulator.app; print([n for n in ('PIL', 'av') if n in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert out.stdout.strip() == "[]"
