"""Migrations: plain SQL files, applied once each in the order of their numbers; their checksums are stored."""

import hashlib
import re
from pathlib import Path
from typing import Final

import msgspec

from app.base.clock import now
from app.db.database import Database, DatabaseError
from app.db.transaction import Transaction

MIGRATIONS: Final = Path(__file__).resolve().parent.parent.parent / "migrations"


class Migration(msgspec.Struct, frozen=True):
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def find_migrations(folder: Path) -> list[Migration]:
    """The migrations in `folder`, in order; numbers must be 1, 2, 3, … without a gap."""
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        match = re.fullmatch(r"(\d{4})_\w+\.sql", path.name)
        if not match:
            raise DatabaseError(f"the migration {path.name} must have a name like 0001_accounts.sql")
        migrations.append(Migration(int(match[1]), path.name, path.read_text("utf-8")))
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise DatabaseError("the numbers of the migrations must be 0001, 0002, … without a gap")
    return migrations


async def migrate(database: Database, folder: Path) -> list[str]:
    """Apply new migrations and return their names. DatabaseError when the database was migrated by a newer version, or a file was
    edited after it had been applied."""
    migrations = find_migrations(folder)
    await database.write(_create_table)
    applied = await database.read(_applied)
    _check(migrations, applied)
    new = migrations[len(applied) :]
    for migration in new:
        await database.write(_apply, migration)
    return [migration.name for migration in new]


def _create_table(tx: Transaction) -> None:
    tx.execute(
        "migrations",
        "create table if not exists migrations"
        " (number integer primary key, name text not null, checksum text not null, applied_at timestamp not null)",
    )


def _applied(tx: Transaction) -> list[tuple[str, str]]:
    return [
        (row["name"], row["checksum"])
        for row in tx.rows("migrations", "select name, checksum from migrations order by number")
    ]


def _check(migrations: list[Migration], applied: list[tuple[str, str]]) -> None:
    if len(applied) > len(migrations):
        raise DatabaseError(
            f"the database was migrated by a newer version (it has {applied[-1][0]}): use that version, or restore a backup"
        )
    for migration, (name, checksum) in zip(migrations, applied, strict=False):
        if migration.checksum != checksum:
            raise DatabaseError(
                f"the migration {migration.name} was edited after it was applied as {name}: restore the file and add a new migration"
            )


def _apply(tx: Transaction, migration: Migration) -> None:
    tx.script(migration.sql)
    tx.execute(
        "migrations",
        "insert into migrations values ($1, $2, $3, $4)",
        migration.number,
        migration.name,
        migration.checksum,
        now(),
    )
