"""The clips are real H.264 in MP4, of the size and length that was asked for, and they move."""

import time
from itertools import pairwise
from pathlib import Path

import av
import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from app.providers.simulator import clips
from tests.providers.simulator.caller import Caller, data_url, png, two_halves


def frames(path: Path) -> list[Image.Image]:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]  # type: ignore[no-untyped-call]


def difference(one: Image.Image, other: Image.Image) -> float:
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


@pytest.mark.parametrize(
    ("size", "seconds", "audio"), [((854, 480), 2, False), ((360, 640), 3, True), ((480, 480), 1, True)]
)
def test_a_clip_has_the_size_the_length_and_the_sound_that_was_asked_for(
    tmp_path: Path, size: tuple[int, int], seconds: int, audio: bool
) -> None:
    clips.film(tmp_path / "clip", "a river", 1, size, seconds, audio=audio)
    with av.open(str(tmp_path / "clip")) as container:
        video = container.streams.video[0]
        assert video.codec_context.name == "h264"
        assert video.codec_context.pix_fmt == "yuv420p"
        assert (video.width, video.height) == size
        assert video.average_rate == 24
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(seconds, abs=0.1)
        assert [stream.codec_context.name for stream in container.streams.audio] == (["aac"] if audio else [])
        assert sum(1 for _ in container.decode(video=0)) == seconds * 24


def test_a_clip_can_be_played_while_it_is_still_arriving(tmp_path: Path) -> None:
    clips.film(tmp_path / "clip", "a river", 1, (320, 180), 1, audio=True)
    data = (tmp_path / "clip").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_the_sound_is_quiet_but_there(tmp_path: Path) -> None:
    clips.film(tmp_path / "clip", "a bell", 1, (320, 180), 2, audio=True)
    with av.open(str(tmp_path / "clip")) as container:
        loud = 0.0
        for frame in container.decode(audio=0):
            samples = memoryview(bytes(frame.planes[0])).cast("f")
            loud = max(loud, max(samples), -min(samples))
    assert 0.01 < loud < 0.2


@pytest.mark.parametrize("prompt", ["a lighthouse at dusk", "abstract ribbons of silk", "a planet"])
def test_the_picture_moves_all_the_time(tmp_path: Path, prompt: str) -> None:
    clips.film(tmp_path / "clip", prompt, 1, (320, 180), 2, audio=False)
    shown = frames(tmp_path / "clip")
    assert difference(shown[0], shown[-1]) > 1
    assert all(difference(one, other) > 0 for one, other in pairwise(shown))


def test_a_clip_from_a_picture_begins_with_exactly_that_picture_and_leaves_it(tmp_path: Path) -> None:
    given = two_halves()
    clips.film(tmp_path / "clip", "drift", 1, (480, 480), 2, audio=False, first=png(given))
    shown = frames(tmp_path / "clip")
    assert difference(shown[0], ImageOps.fit(given, (480, 480))) < 4
    assert difference(shown[0], shown[-1]) > 2


def test_a_clip_between_two_pictures_ends_with_the_second(tmp_path: Path) -> None:
    last = Image.new("RGB", (320, 180), "green")
    clips.film(tmp_path / "clip", "turn", 1, (320, 180), 2, audio=False, first=png(two_halves()), last=png(last))
    shown = frames(tmp_path / "clip")
    assert difference(shown[0], two_halves()) < 4
    assert difference(shown[-1], last) < 4


def test_the_same_job_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        clips.film(tmp_path / name, "again", 5, (320, 180), 1, audio=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_old_clips_make_room_for_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "KEPT_BYTES", 1)
    for name in ("old.mp4", "new.mp4"):
        clips.keep(tmp_path / name, name, 1, (64, 64), 1, audio=False)
    assert [path.name for path in tmp_path.iterdir()] == ["new.mp4"]


def test_a_picture_sent_over_the_wire_is_the_first_frame_of_the_clip(sim: Caller, tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": data_url(two_halves())}, "frame_type": "first_frame"}
    state = sim.video("over the wire", frame_images=[image], resolution="480p")
    (tmp_path / "clip").write_bytes(sim.content(state["id"]).content)
    shown = frames(tmp_path / "clip")
    assert shown[0].size == (854, 480)
    assert difference(shown[0], ImageOps.fit(two_halves(), (854, 480))) < 4


def test_a_clip_without_a_shape_of_its_own_takes_that_of_its_first_frame(sim: Caller, tmp_path: Path) -> None:
    image = {
        "type": "image_url",
        "image_url": {"url": data_url(Image.new("RGB", (300, 400), "teal"))},
        "frame_type": "first_frame",
    }
    body = {"model": "kwaivgi/kling-v3.0-pro", "prompt": "tall", "duration": 2, "resolution": "480p"}
    id = sim.http.post("/videos", json={**body, "frame_images": [image]}).json()["id"]
    (tmp_path / "clip").write_bytes(sim.content(id).content)
    assert frames(tmp_path / "clip")[0].size == (480, 640)


def test_a_first_frame_that_is_only_an_address_gives_a_clip_all_the_same(sim: Caller, tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}, "frame_type": "first_frame"}
    state = sim.video("from afar", frame_images=[image])
    (tmp_path / "clip").write_bytes(sim.content(state["id"]).content)
    assert len(frames(tmp_path / "clip")) == 48


def test_four_seconds_in_720p_take_about_a_second_of_one_core(tmp_path: Path) -> None:
    clips.film(tmp_path / "warm", "warm up", 1, (64, 64), 1, audio=False)
    start = time.thread_time()
    clips.film(tmp_path / "clip", "a harbour at dawn", 1, (1280, 720), 4, audio=True)
    assert time.thread_time() - start < 1.2
