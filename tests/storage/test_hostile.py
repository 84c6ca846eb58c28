"""Malicious files are rejected with a message that reveals nothing about the server, or stored without their payload."""

import re
from pathlib import Path

import msgspec
import pytest

from app.base import errors
from app.storage import media
from tests.kit import Cases
from tests.storage.hostile import CORPUS, Entry, Fate

REFUSALS = {Fate.WRONG_TYPE: errors.WrongType, Fate.TOO_LARGE: errors.TooLarge}
# What a path, a memory address, or a library's own message would look like.
REVEALING = re.compile(r"/|\\|0x|Errno|libav|ffmpeg|PIL|Pillow|PyAV|av\.|Traceback|upload-name")


def upload(entry: Entry, folder: Path) -> Path:
    folder.mkdir()
    (folder / "upload-name").write_bytes(entry.data())
    return folder / "upload-name"


def test_a_malicious_file_is_rejected_and_leaves_nothing(tmp_path: Path) -> None:
    with Cases() as cases:
        for number, entry in enumerate(entry for entry in CORPUS if entry.expected in REFUSALS):
            with cases.case(entry.title):
                path = upload(entry, tmp_path / str(number))
                for verb in (media.inspect, lambda path: media.clean(path, path.parent)):
                    with pytest.raises(REFUSALS[entry.expected]) as refusal:
                        verb(path)
                    message = refusal.value.message
                    assert not REVEALING.search(message)
                    assert message.endswith(".")
                    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
                assert list(path.parent.iterdir()) == [path]


def test_a_real_image_or_video_is_stored_without_its_payload(tmp_path: Path) -> None:
    with Cases() as cases:
        for number, entry in enumerate(entry for entry in CORPUS if entry.expected is Fate.CLEANED):
            with cases.case(entry.title):
                path = upload(entry, tmp_path / str(number))
                assert any(trace in entry.data() for trace in entry.traces), "it has no payload"
                before = media.inspect(path)
                cleaned, facts = media.clean(path, path.parent)
                content = cleaned.read_bytes()
                assert [trace for trace in entry.traces if trace in content] == []
                assert b"upload-name" not in content
                assert (facts.kind, facts.width, facts.height) == (before.kind, before.width, before.height)
                assert media.inspect(cleaned) == msgspec.structs.replace(facts, frames_dropped=False)


def test_the_corpus_is_large_and_has_each_title_once() -> None:
    assert len(CORPUS) >= 100
    assert len({entry.title for entry in CORPUS}) == len(CORPUS)
    assert {entry.expected for entry in CORPUS} == set(Fate)
