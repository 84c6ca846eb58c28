"""The doctor: asks whether database, ledger and files still agree, one line for each thing that is wrong. It changes
nothing, may be asked while the studio serves, and looks at one file at a time."""

from collections.abc import Callable, Sequence
from typing import Final

from app.base.errors import Missing
from app.db.database import Database, Transaction
from app.maintenance import repository
from app.maintenance.schemas import Invariant, ReferencedFile
from app.storage.files import Files

SHOWN: Final = repository.SHOWN


def nobody(_: str) -> bool:
    """No file is about to be named by a row."""
    return False


async def check(database: Database, files: Files, *, in_use: Callable[[str], bool] = nobody) -> list[str]:
    """Every finding about rows, ledger and stored files as one line; nothing when all is in order. While the studio works,
    `in_use` tells which stored files are about to be named by a row."""
    found, named = await database.read(lambda tx: (asked(tx), repository.named_any(tx)))
    return [*found, *await _files(database, files, named, in_use)]


def asked(tx: Transaction, questions: Sequence[Invariant] = repository.QUESTIONS) -> list[str]:
    """Every finding about rows and ledger at one moment."""
    lines = []
    for question in questions:
        found = repository.faults_any(tx, question)
        lines += [found.fault.format(id=id) for id in found.ids]
        if found.count > len(found.ids):
            lines.append(_more(found.count - len(found.ids)))
    return lines


async def _files(
    database: Database, files: Files, named: Sequence[ReferencedFile], in_use: Callable[[str], bool]
) -> list[str]:
    """Rows and files go on changing meanwhile, so what does not agree is asked once more before it is told."""
    wanted = {one.key: one for one in named}
    missing, damaged, strange = _Lines(), _Lines(), _Lines()
    async for key in files.keys():
        one = wanted.pop(key, None)
        if one is None:
            if not in_use(key) and not await database.read(repository.names_any, key) and await files.exists(key):
                strange.add(f"stored file {key} is named by no row; the next start removes it")
        elif fault := await _fault(files, one):
            if await files.exists(key):
                damaged.add(fault)
            else:
                wanted[key] = one
    for key, one in sorted(wanted.items()):
        if await database.read(repository.names_any, key):
            missing.add(f"stored file {key} of file {one.asset} is missing")
    return [*missing.lines(), *damaged.lines(), *strange.lines()]


async def _fault(files: Files, one: ReferencedFile) -> str | None:
    try:
        if not await files.verify(one.key):
            return f"stored file {one.key} of file {one.asset} is damaged"
        if one.bytes is not None and await files.size(one.key) != one.bytes:
            return f"stored file {one.key} has another size than file {one.asset} says"
    except OSError as exc:
        return f"stored file {one.key} of file {one.asset} cannot be read ({exc.strerror})"
    except Missing:
        return "gone"
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
        return [*self._first, _more(more)] if more else self._first


def _more(count: int) -> str:
    return f"… and {count} more like the last"
