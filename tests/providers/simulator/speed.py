"""Measures the CPU time that the simulator needs for an image and a video. Not a test:

python -m tests.providers.simulator.speed
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from app.providers.simulator import images, videos
from app.providers.simulator.videos import Video

PROMPTS = ("a lighthouse at dusk", "cyberpunk city in the rain", "a bowl of ramen", "abstract poster", "a forest path")
IMAGE_SECONDS = 0.35  # what one core of a small machine should need at most for a megapixel
VIDEO_SECONDS = 1.2  # … and for four seconds of 720p with audio


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        videos.generate(path, Video("warm up", 1, (64, 64), 1, True))
        image = max(cpu_seconds(partial(images.generate, prompt, 0, (1024, 1024))) for prompt in PROMPTS)
        video = cpu_seconds(lambda: videos.generate(path, Video("a harbour at dawn", 1, (1280, 720), 4, True)))
    print(f"an image of 1024 × 1024 pixels: {image:.2f} s, should be below {IMAGE_SECONDS} s")
    print(f"four seconds of 720p with audio: {video:.2f} s, should be below {VIDEO_SECONDS} s")


if __name__ == "__main__":
    main()
