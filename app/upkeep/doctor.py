"""The doctor: asks whether database, ledger and files still agree, one line for each thing that is wrong. It changes
nothing, may be asked while the studio serves, and looks at one file at a time."""

from collections.abc import Callable, Sequence
from typing import Final

from app.base.database import Database, Transaction
from app.storage.files import Files
from app.upkeep import repository
from app.upkeep.schemas import Faults, Named

SHOWN: Final = repository.SHOWN


def nobody(_: str) -> bool:
    """No file is about to be named by a row."""
    return False


async def check(database: Database, files: Files, *, in_use: Callable[[str], bool] = nobody) -> list[str]:
    """Every finding about rows, ledger and stored files as one line; nothing when all is in order. While the studio works,
    `in_use` tells which stored files are about to be named by a row."""
    faults, named = await database.read(_rows)
    return [*_told(faults), *await _files(database, files, named, in_use)]


def _rows(tx: Transaction) -> tuple[list[Faults], list[Named]]:
    """All questions about one moment."""
    found = [repository.faults_any(tx, question) for question in repository.QUESTIONS]
    return [faults for faults in found if faults.count], repository.named_any(tx)


def _told(faults: Sequence[Faults]) -> list[str]:
    lines = []
    for one in faults:
        lines += [one.fault.format(id=id) for id in one.ids]
        if one.count > len(one.ids):
            lines.append(f"… and {one.count - len(one.ids)} more like the last")
    return lines


async def _files(database: Database, files: Files, named: Sequence[Named], in_use: Callable[[str], bool]) -> list[str]:
    """Rows and files go on changing meanwhile, so what does not agree is asked once more before it is told."""
    wanted = {one.key: one for one in named}
    missing, damaged, strange = _Lines(), _Lines(), _Lines()
    async for key in files.keys():
        one = wanted.pop(key, None)
        if one is None:
            if not in_use(key) and not await database.read(repository.names_any, key) and await files.exists(key):
                strange.add(f"stored file {key} is named by no row")
        elif not await files.exists(key):
            wanted[key] = one
        elif fault := await _fault(files, one):
            damaged.add(fault)
    for key, one in sorted(wanted.items()):
        if await database.read(repository.names_any, key):
            missing.add(f"stored file {key} of file {one.asset} is missing")
    return [*missing.lines(), *damaged.lines(), *strange.lines()]


async def _fault(files: Files, one: Named) -> str | None:
    try:
        if not await files.verify(one.key):
            return f"stored file {one.key} of file {one.asset} is damaged"
        if one.bytes is not None and await files.size(one.key) != one.bytes:
            return f"stored file {one.key} has another size than file {one.asset} says"
    except OSError as problem:
        return f"stored file {one.key} of file {one.asset} cannot be read ({problem.strerror})"
    return None


class _Lines:
    """Findings of one kind: the first few in words, the others as a number."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def add(self, line: str) -> None:
        self._count += 1
        if self._count <= SHOWN:
            self._first.append(line)

    def lines(self) -> list[str]:
        more = self._count - len(self._first)
        return [*self._first, f"… and {more} more like the last"] if more else self._first
