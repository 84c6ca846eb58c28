"""Videos of the simulator are real H.264 in MP4, of the requested size and duration, and every frame is different."""

from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import av
import pytest
from PIL import Image, ImageOps

from app.providers.simulator import images, painting, videos
from app.providers.simulator.videos import Video
from tests.kit import Cases
from tests.providers.simulator.kit import SimulatorClient, data_url, difference, png, two_halves

SMALL = (160, 90)


def frames(path: Path) -> list[Image.Image]:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]  # type: ignore[no-untyped-call]


def first_frame(path: Path) -> Image.Image:
    with av.open(str(path)) as container:
        image: Image.Image = next(container.decode(video=0)).to_image()  # type: ignore[no-untyped-call]
        return image


def frame_image(url: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}, "frame_type": "first_frame"}


def test_a_video_has_the_requested_size_duration_and_audio(tmp_path: Path) -> None:
    table = [((214, 120), 2, False), ((90, 160), 3, True), ((120, 120), 1, True)]
    with Cases() as cases:
        for size, seconds, audio in table:
            videos.generate(tmp_path / "video", Video("a river", 1, size, seconds, audio))
            with cases.case(size, seconds, audio), av.open(str(tmp_path / "video")) as container:
                video = container.streams.video[0]
                assert video.codec_context.name == "h264"
                assert video.codec_context.pix_fmt == "yuv420p"
                assert (video.width, video.height) == size
                assert video.average_rate == 24
                assert container.duration is not None
                assert container.duration / av.time_base == pytest.approx(seconds, abs=0.1)
                assert [stream.codec_context.name for stream in container.streams.audio] == (["aac"] if audio else [])
                assert sum(1 for _ in container.decode(video=0)) == seconds * 24


def test_a_video_can_be_played_while_it_is_still_arriving(tmp_path: Path) -> None:
    videos.generate(tmp_path / "video", Video("a river", 1, SMALL, 1, True))
    data = (tmp_path / "video").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_the_audio_is_quiet_but_not_silent(tmp_path: Path) -> None:
    videos.generate(tmp_path / "video", Video("a bell", 1, SMALL, 2, True))
    with av.open(str(tmp_path / "video")) as container:
        loudest = 0.0
        for frame in container.decode(audio=0):
            samples = memoryview(bytes(frame.planes[0])).cast("f")
            loudest = max(loudest, max(samples), -min(samples))
    assert 0.01 < loudest < 0.2


def test_every_frame_differs_from_the_one_before(tmp_path: Path) -> None:
    with Cases() as cases:
        for prompt in ("a lighthouse at dusk", "abstract ribbons of silk", "a planet"):
            videos.generate(tmp_path / "video", Video(prompt, 1, SMALL, 2, False))
            with cases.case(prompt):
                shown = frames(tmp_path / "video")
                assert difference(shown[0], shown[-1]) > 1
                assert all(difference(one, other) > 0 for one, other in pairwise(shown))


def test_a_video_from_an_image_begins_with_exactly_that_image_and_leaves_it(tmp_path: Path) -> None:
    first = two_halves()
    videos.generate(tmp_path / "video", Video("drift", 1, (240, 240), 2, False, first=png(first)))
    shown = frames(tmp_path / "video")
    assert difference(shown[0], ImageOps.fit(first, (240, 240))) < 4
    assert difference(shown[0], shown[-1]) > 2


def test_a_video_between_two_images_ends_with_the_second(tmp_path: Path) -> None:
    last = Image.new("RGB", (320, 180), "green")
    videos.generate(tmp_path / "video", Video("turn", 1, (320, 180), 2, False, first=png(two_halves()), last=png(last)))
    shown = frames(tmp_path / "video")
    assert difference(shown[0], two_halves()) < 4
    assert difference(shown[-1], last) < 4


def test_the_same_job_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        videos.generate(tmp_path / name, Video("again", 5, SMALL, 1, True))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_oldest_files_are_deleted_above_the_limit(tmp_path: Path) -> None:
    for name in ("old.mp4", "new.mp4"):
        videos.cached(tmp_path / name, Video(name, 1, (64, 64), 1), max_cache_bytes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["new.mp4"]


def test_a_large_landscape_is_painted_small_and_enlarged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Painting takes most of the time. How long a video takes is measured by tests.providers.simulator.speed."""

    class Painted(Exception):
        pass

    def paint(prompt: str, seed: int, size: tuple[int, int]) -> NoReturn:
        assert max(size) <= images.MAX_PAINTED_SIDE
        raise Painted

    monkeypatch.setattr(painting, "paint", paint)
    with pytest.raises(Painted):
        videos.generate(tmp_path / "video", Video("a harbour", 1, (1920, 1080), 4, False))
    with pytest.raises(Painted):
        images.generate("a harbour", 1, (4096, 4096))


def test_an_image_sent_over_http_is_the_first_frame(sim: SimulatorClient, tmp_path: Path) -> None:
    state = sim.video("over http", frame_images=[frame_image(data_url(two_halves()))], resolution="480p")
    (tmp_path / "video").write_bytes(sim.content(state["id"]).content)
    shown = first_frame(tmp_path / "video")
    assert shown.size == (854, 480)
    assert difference(shown, ImageOps.fit(two_halves(), (854, 480))) < 4


def test_a_video_without_a_shape_of_its_own_has_that_of_its_first_frame(sim: SimulatorClient, tmp_path: Path) -> None:
    image = frame_image(data_url(Image.new("RGB", (300, 400), "teal")))
    body = {"model": "kwaivgi/kling-v3.0-pro", "prompt": "tall", "duration": 2, "resolution": "480p"}
    id = sim.http.post("/videos", json={**body, "frame_images": [image]}).json()["id"]
    (tmp_path / "video").write_bytes(sim.content(id).content)
    assert first_frame(tmp_path / "video").size == (480, 640)


def test_a_first_frame_by_url_is_replaced_and_not_fetched(sim: SimulatorClient, tmp_path: Path) -> None:
    state = sim.video("[stamp] from afar", frame_images=[frame_image("https://example.org/a.png")])
    (tmp_path / "video").write_bytes(sim.content(state["id"]).content)
    assert len(frames(tmp_path / "video")) == 48
