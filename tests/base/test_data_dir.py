"""One process at a time uses the data folder."""

import os
import stat
from pathlib import Path

import pytest

from app.base.data_dir import DataDir, DataDirError


def _data_folder(path: Path) -> DataDir:
    folder = DataDir(path)
    folder.create()
    return folder


def test_a_second_holder_is_refused_with_the_process_id_of_the_first(tmp_path: Path) -> None:
    first, second = _data_folder(tmp_path / "data"), _data_folder(tmp_path / "data")
    first.lock()
    with pytest.raises(DataDirError, match=f"another Atelier \\(process {os.getpid()}\\) is using the data folder"):
        second.lock()
    first.release()
    second.lock()
    second.release()


def test_a_folder_that_cannot_be_created_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataDirError, match=r"cannot be created .* set ATELIER_DATA_DIR") as refused:
        _data_folder(tmp_path / "file" / "data")
    assert "\n" not in str(refused.value)


def test_only_the_owner_can_read_the_folder_and_the_secret(tmp_path: Path) -> None:
    folder = _data_folder(tmp_path / "data")
    folder.secret_key()
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.secret.stat().st_mode) == 0o600


def test_the_secret_stays_the_same_and_a_damaged_one_is_not_replaced(tmp_path: Path) -> None:
    folder = _data_folder(tmp_path / "data")
    assert folder.secret_key() == folder.secret_key()
    folder.secret.write_text("cut")
    with pytest.raises(DataDirError, match=r"secret\.key is damaged"):
        folder.secret_key()
    assert folder.secret.read_text() == "cut"
