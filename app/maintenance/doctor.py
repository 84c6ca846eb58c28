"""The doctor: checks that rows, ledger and stored files are consistent, with one line per finding. It changes nothing, can
run beside a serving instance, and reads one file at a time."""

from collections.abc import Callable, Sequence
from typing import Final

from app.base.errors import Missing
from app.db.database import Database
from app.db.transaction import Transaction
from app.maintenance import repository
from app.maintenance.schemas import Invariant, ReferencedFile
from app.storage.files import Files

MAX_SHOWN: Final = repository.MAX_SHOWN


def never_in_use(_: str) -> bool:
    """Without a serving instance no file is in use."""
    return False


async def check(database: Database, files: Files, *, in_use: Callable[[str], bool] = never_in_use) -> list[str]:
    """One line per finding about rows, ledger and stored files. `in_use` returns which stored files are about to be
    referenced by a row."""
    found, referenced = await database.read(lambda tx: (check_rows(tx), repository.referenced_files_any(tx)))
    return [*found, *await _check_files(database, files, referenced, in_use)]


def check_rows(tx: Transaction, invariants: Sequence[Invariant] = repository.INVARIANTS) -> list[str]:
    """One line per finding about rows and ledger, in one transaction."""
    lines = []
    for invariant in invariants:
        violations = repository.violations_any(tx, invariant)
        lines += [violations.message.format(id=id) for id in violations.ids]
        if violations.count > len(violations.ids):
            lines.append(_more(violations.count - len(violations.ids)))
    return lines


async def _check_files(
    database: Database, files: Files, referenced: Sequence[ReferencedFile], in_use: Callable[[str], bool]
) -> list[str]:
    """Rows and files may change meanwhile, so an inconsistency is checked again before it is reported."""
    expected = {file.key: file for file in referenced}
    missing, damaged, unreferenced = _Lines(), _Lines(), _Lines()
    async for key in files.keys():
        file = expected.pop(key, None)
        if file is None:
            if (
                not in_use(key)
                and not await database.read(repository.is_referenced_any, key)
                and await files.exists(key)
            ):
                unreferenced.add(f"stored file {key} is not referenced by any row; the next start removes it")
        elif fault := await _check_file(files, file):
            if await files.exists(key):
                damaged.add(fault)
            else:
                expected[key] = file
    for key, file in sorted(expected.items()):
        if await database.read(repository.is_referenced_any, key):
            missing.add(f"stored file {key} of asset {file.asset} is missing")
    return [*missing.lines(), *damaged.lines(), *unreferenced.lines()]


async def _check_file(files: Files, file: ReferencedFile) -> str | None:
    try:
        if not await files.verify(file.key):
            return f"stored file {file.key} of asset {file.asset} is damaged"
        if file.bytes is not None and await files.size(file.key) != file.bytes:
            return f"stored file {file.key} differs in size from asset {file.asset}"
    except OSError as exc:
        return f"stored file {file.key} of asset {file.asset} cannot be read ({exc.strerror})"
    except Missing:
        return "gone"
    return None


class _Lines:
    """Findings of one kind: the first few as text, the rest as a count."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def add(self, line: str) -> None:
        self._count += 1
        if self._count <= MAX_SHOWN:
            self._first.append(line)

    def lines(self) -> list[str]:
        more = self._count - len(self._first)
        return [*self._first, _more(more)] if more else self._first


def _more(count: int) -> str:
    return f"… and {count} more of this kind"
