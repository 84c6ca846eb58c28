"""Damages files at random and checks that only an expected error is raised. The test suite runs a few rounds; to run more:

python -m tests.storage.damage 1000
"""

import contextlib
import random
import sys
import tempfile
from pathlib import Path

from app.base import errors
from app.storage import media


def check(data: bytes, folder: Path, rounds: int, seed: str) -> None:
    """Change some bytes of the file and process it, `rounds` times."""
    rng = random.Random(seed)
    path = folder / "damaged"
    for _ in range(rounds):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 3, 30))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(errors.Invalid):
            media.thumbnail(path, media.inspect(path), folder)
        with contextlib.suppress(errors.Invalid):
            media.clean(path, folder)


if __name__ == "__main__":
    from tests.storage.test_media import SAMPLES

    for name, sample in SAMPLES.items():
        with tempfile.TemporaryDirectory() as folder:
            check(sample.data(), Path(folder), int(sys.argv[1]), f"{name} {random.random()}")
        print(name)
