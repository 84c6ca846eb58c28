"""The job store: the submit log, jobs and incomplete files."""

import hashlib
import json
from pathlib import Path

from app.providers.simulator.state import JobStore, SimulatedJob, SubmitRecord
from tests.providers.simulator.kit import IMAGE_MODEL, SimulatorClient, data_url, serving, two_halves


def open_store(folder: Path) -> JobStore:
    store = JobStore(folder)
    store.open()
    return store


def job(id: str) -> SimulatedJob:
    return SimulatedJob(
        id=id, kind="video", model="m", prompt="p", created_at=10, starts_at=12, ends_at=20, seed=1, cost=0.5
    )


def submit(id: str) -> SubmitRecord:
    return SubmitRecord(time=1, endpoint="/videos", model="m", prompt="p", id=id, digest="d", request={})


def test_the_state_of_a_job_depends_on_the_time_only() -> None:
    assert [job("a").phase(now) for now in (10, 11.9, 12, 19.9, 20, 1e9)] == [
        *("waiting", "waiting", "running", "running", "ended", "ended"),
    ]


def test_every_kind_of_paid_request_is_logged_with_its_body(empty: SimulatorClient) -> None:
    text = empty.chat("a logged answer").json()
    empty.image("[stamp] a logged image", seed=4)
    video = empty.submit("a logged video").json()
    lines = empty.submits()
    assert [line["endpoint"] for line in lines] == ["/chat/completions", "/images", "/videos"]
    assert [line["prompt"] for line in lines] == ["a logged answer", "[stamp] a logged image", "a logged video"]
    assert lines[0]["id"] == text["id"]
    assert lines[2]["id"] == video["id"]
    assert lines[1]["model"] == IMAGE_MODEL
    assert lines[1]["request"] == {"model": IMAGE_MODEL, "prompt": "[stamp] a logged image", "seed": 4}
    assert lines == sorted(lines, key=lambda line: line["time"])


def test_reading_and_polling_are_not_logged(empty: SimulatorClient) -> None:
    state = empty.video("only this")
    empty.poll(state["id"])
    empty.get("/models")
    empty.get("/key")
    assert len(empty.submits()) == 1


def test_the_log_has_the_digest_of_the_body_and_no_images(empty: SimulatorClient) -> None:
    url = data_url(two_halves())
    image = {"type": "image_url", "image_url": {"url": url}, "frame_type": "first_frame"}
    body = {"model": "kwaivgi/kling-v3.0-pro", "prompt": "with an image", "frame_images": [image]}
    raw = json.dumps(body).encode()
    answer = empty.http.post("/videos", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202
    line = empty.submits()[0]
    assert line["digest"] == hashlib.sha256(raw).hexdigest()
    logged = line["request"]["frame_images"][0]["image_url"]["url"]
    assert logged.startswith("data:image/png;sha256:")
    assert url.partition(",")[2] not in (empty.folder / "submits.jsonl").read_text()


def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as sim:
        before = sim.video("[stamp] before the restart")
        log = sim.submits()
    with serving(tmp_path) as sim:
        after = sim.poll(before["id"])
        assert after["status"] == "completed"
        assert after["usage"] == before["usage"]
        assert sim.submits() == log
        assert sim.content(before["id"]).status_code == 200


def test_an_incomplete_line_is_skipped_and_damages_no_other(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.log_submit(submit("one"))
    with (tmp_path / "submits.jsonl").open("ab") as file:
        file.write(b'{"time": 2, "endpoint": "/vid')
    store = open_store(tmp_path)
    store.log_submit(submit("two"))
    assert [json.loads(line)["id"] for line in store.submits()] == ["one", "two"]


def test_an_incomplete_file_is_deleted_at_the_start(tmp_path: Path) -> None:
    open_store(tmp_path).save(job("whole"))
    (tmp_path / "jobs" / "half.json.abc.part").write_bytes(b"{")
    store = open_store(tmp_path)
    assert store.job("whole") == job("whole")
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["whole.json"]


def test_an_unknown_or_invalid_id_has_no_job(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ids = ("", "unknown", "../secret", "a/b", "..", ".", "x" * 300, "ü", "a\0b")
    assert [id for id in ids if store.job(id) is not None] == []


def test_a_first_time_is_remembered_after_a_restart(tmp_path: Path) -> None:
    assert open_store(tmp_path).first_time("busy", "a prompt")
    assert not open_store(tmp_path).first_time("busy", "a prompt")
    assert open_store(tmp_path).first_time("busy", "another prompt")


def test_a_long_log_is_returned_completely(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for number in range(230):
        store.log_submit(submit(str(number)))
    with serving(tmp_path) as sim:
        assert [line["id"] for line in sim.submits()] == [str(number) for number in range(230)]


def test_an_empty_log_is_an_empty_list(empty: SimulatorClient) -> None:
    assert empty.submits() == []
    assert empty.get("/simulator/health").status_code == 200
