"""The submit log and the jobs: what promises about money are judged by."""

import hashlib
import json
from pathlib import Path

import pytest

from app.providers.simulator.memory import Job, Memory, Submit
from tests.providers.simulator.caller import PAINTER, Caller, data_url, serving, two_halves


def opened(folder: Path) -> Memory:
    memory = Memory(folder)
    memory.open()
    return memory


def job(id: str) -> Job:
    return Job(id=id, kind="video", model="m", prompt="p", created=10, runs=12, ends=20, seed=1, cost=0.5)


def submit(id: str) -> Submit:
    return Submit(time=1, endpoint="/videos", model="m", prompt="p", id=id, digest="d", request={})


def test_the_state_of_a_job_follows_from_the_clock_alone() -> None:
    assert [job("a").phase(now) for now in (10, 11.9, 12, 19.9, 20, 1e9)] == [
        *("waiting", "waiting", "running", "running", "ended", "ended"),
    ]


def test_every_kind_of_paid_request_is_logged_with_what_was_asked(fresh: Caller) -> None:
    text = fresh.chat("a logged answer").json()
    fresh.image("a logged picture", seed=4)
    clip = fresh.submit("a logged clip").json()
    lines = fresh.submits()
    assert [line["endpoint"] for line in lines] == ["/chat/completions", "/images", "/videos"]
    assert [line["prompt"] for line in lines] == ["a logged answer", "a logged picture", "a logged clip"]
    assert lines[0]["id"] == text["id"]
    assert lines[2]["id"] == clip["id"]
    assert lines[1]["model"] == PAINTER
    assert lines[1]["request"] == {"model": PAINTER, "prompt": "a logged picture", "seed": 4}
    assert lines == sorted(lines, key=lambda line: line["time"])


def test_reading_and_polling_are_not_logged(fresh: Caller) -> None:
    state = fresh.video("only this")
    fresh.poll(state["id"])
    fresh.get("/models")
    fresh.get("/key")
    assert len(fresh.submits()) == 1


def test_the_log_has_the_digest_of_what_was_sent_and_no_pictures(fresh: Caller) -> None:
    url = data_url(two_halves())
    image = {"type": "image_url", "image_url": {"url": url}, "frame_type": "first_frame"}
    body = {"model": "kwaivgi/kling-v3.0-pro", "prompt": "with a picture", "frame_images": [image]}
    raw = json.dumps(body).encode()
    answer = fresh.http.post("/videos", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202
    line = fresh.submits()[0]
    assert line["digest"] == hashlib.sha256(raw).hexdigest()
    kept = line["request"]["frame_images"][0]["image_url"]["url"]
    assert kept.startswith("data:image/png;sha256:")
    assert url.partition(",")[2] not in (fresh.folder / "submits.jsonl").read_text()


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as sim:
        before = sim.video("before the restart")
        log = sim.submits()
    with serving(tmp_path) as sim:
        after = sim.poll(before["id"])
        assert after["status"] == "completed"
        assert after["usage"] == before["usage"]
        assert sim.submits() == log
        assert sim.content(before["id"]).status_code == 200


def test_a_line_that_a_kill_cut_short_is_skipped_and_spoils_no_other(tmp_path: Path) -> None:
    memory = opened(tmp_path)
    memory.log(submit("one"))
    with (tmp_path / "submits.jsonl").open("ab") as file:
        file.write(b'{"time": 2, "endpoint": "/vid')
    memory = opened(tmp_path)
    memory.log(submit("two"))
    assert [json.loads(line)["id"] for line in memory.submits()] == ["one", "two"]


def test_a_half_written_file_is_swept_away_at_the_start(tmp_path: Path) -> None:
    opened(tmp_path).save(job("whole"))
    (tmp_path / "jobs" / "half.json.abc.part").write_bytes(b"{")
    memory = opened(tmp_path)
    assert memory.job("whole") == job("whole")
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["whole.json"]


@pytest.mark.parametrize("id", ["", "nobody", "../secret", "a/b", "..", ".", "x" * 300, "ü", "a\0b"])
def test_an_id_that_is_no_job_leads_nowhere(tmp_path: Path, id: str) -> None:
    memory = opened(tmp_path)
    assert memory.job(id) is None


def test_once_is_once_also_after_a_restart(tmp_path: Path) -> None:
    assert opened(tmp_path).first_time("busy", "a prompt")
    assert not opened(tmp_path).first_time("busy", "a prompt")
    assert opened(tmp_path).first_time("busy", "another prompt")


def test_a_long_log_comes_whole(tmp_path: Path) -> None:
    memory = opened(tmp_path)
    for place in range(230):
        memory.log(submit(str(place)))
    with serving(tmp_path) as sim:
        assert [line["id"] for line in sim.submits()] == [str(place) for place in range(230)]


def test_an_empty_log_is_an_empty_list(fresh: Caller) -> None:
    assert fresh.submits() == []
    assert fresh.get("/simulator/health").status_code == 200
