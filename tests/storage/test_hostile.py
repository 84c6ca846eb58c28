"""Files made to do harm: refused in words that tell nothing of the server, or kept without what they carried."""

import re
from pathlib import Path

import pytest

from app.base import errors
from app.storage import media
from tests.storage.hostile import CORPUS, Entry, Fate

REFUSALS = {Fate.WRONG_TYPE: errors.WrongType, Fate.TOO_LARGE: errors.TooLarge}
# What a path, an address in memory, or a library's own words would look like.
TELLTALE = re.compile(r"/|\\|0x|Errno|libav|ffmpeg|PIL|Pillow|PyAV|av\.|Traceback|upload-name")


@pytest.mark.parametrize("entry", [entry for entry in CORPUS if entry.expected in REFUSALS], ids=str)
def test_a_harmful_file_is_refused_and_nothing_of_it_stays(entry: Entry, tmp_path: Path) -> None:
    path = tmp_path / "upload-name"
    path.write_bytes(entry.data())
    for verb in (lambda: media.inspect(path), lambda: media.clean(path, tmp_path)):
        with pytest.raises(REFUSALS[entry.expected]) as refusal:
            verb()
        message = refusal.value.message
        assert not TELLTALE.search(message)
        assert message.endswith(".")
        assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("entry", [entry for entry in CORPUS if entry.expected is Fate.CLEANED], ids=str)
def test_a_real_picture_is_kept_without_what_it_carried(entry: Entry, tmp_path: Path) -> None:
    path = tmp_path / "upload-name"
    path.write_bytes(entry.data())
    assert any(trace in entry.data() for trace in entry.traces), "there is nothing to be cleaned away"
    seen = media.inspect(path)
    cleaned, facts = media.clean(path, tmp_path)
    kept = cleaned.read_bytes()
    assert [trace for trace in entry.traces if trace in kept] == []
    assert b"upload-name" not in kept
    assert (facts.kind, facts.width, facts.height) == (seen.kind, seen.width, seen.height)
    assert media.inspect(cleaned) == facts


def test_the_corpus_is_large_and_its_titles_tell_its_entries_apart() -> None:
    assert len(CORPUS) >= 100
    assert len({entry.title for entry in CORPUS}) == len(CORPUS)
    assert {entry.expected for entry in CORPUS} == set(Fate)
