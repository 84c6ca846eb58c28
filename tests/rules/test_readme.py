"""`README.md` stays short, and `tests/README.md` says what each folder of tests proves."""

import re

from tests.rules.source import ROOT


def test_every_folder_of_tests_has_a_row_in_their_readme() -> None:
    text = (ROOT / "tests" / "README.md").read_text("utf-8")
    described = set(re.findall(r"^\| `(\w+)` \| \S", text, re.M))
    folders = {
        path.parent.name for path in (ROOT / "tests").glob("*/*.*") if not path.parent.name.startswith((".", "__"))
    }
    assert described == folders


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 250
