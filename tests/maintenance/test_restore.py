"""A restore brings everything back and charges nothing twice; a damaged backup is rejected before anything changes."""

import asyncio
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from app.base.data_dir import DataDir
from app.base.errors import AtelierError
from app.db.duckdb.database import EmbeddedDatabase
from app.db.migrate import MIGRATIONS, migrate
from app.maintenance.schemas import AppliedMigration, Manifest, ManifestEntry
from app.maintenance.service import examine_backup, restore_backup
from tests.kit import (
    IMAGE_MODEL,
    TEXT_MODEL,
    Json,
    eventually,
    generated_image,
    read_job,
    requested_video,
    uploaded_asset,
)
from tests.maintenance.conftest import (
    HOLDINGS,
    QUEUED,
    Command,
    maintenance,
    retries_in_an_hour,
    until_retry_is_scheduled,
)
from tests.studio import PASSWORD, Browser, Studio, running
from tests.upstream import submission_is_stored, upstream

pytestmark = pytest.mark.xdist_group("maintenance")  # one worker creates the shared fixtures
# Everything is as it was


async def api_view(client: httpx.AsyncClient) -> Json:
    """Everything users see of their data, media as hashes."""
    seen: Json = {"me": (await client.get("/api/v1/users/me")).json()}
    for path in ("/jobs?limit=100", "/assets?limit=100", "/users/me/keys", "/ai/models?limit=100"):
        seen[path] = (await client.get(f"/api/v1{path}")).json()
        assert "items" in seen[path]
    for asset in seen["/assets?limit=100"]["items"]:
        for url in (asset["url"], asset["thumbnail_url"]):
            answer = await client.get(url)
            assert answer.status_code == 200
            seen[url] = hashlib.sha256(answer.content).hexdigest()
    return seen


async def browser_view(browser: Browser) -> Json:
    """The chat and library pages."""
    chat = await browser.get("/chat", follow_redirects=True)
    assert chat.status_code == 200
    messages = re.findall(r"Hello there|data-role=\S+", chat.text)
    assert messages
    return {"chat": messages, "library": sorted(set(re.findall(r"/media/\w+", (await browser.get("/library")).text)))}


async def ledger(studio: Studio) -> list[Json]:
    return await studio.program.database.read(lambda tx: tx.rows("ledger", "select * from ledger order by id"))


async def test_every_user_finds_everything_again_and_is_still_signed_in(tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        ann, bob = await studio.user(), await studio.user("bob@studio.example")
        browser = await studio.user_in_browser("carl@studio.example")
        await generated_image(ann)
        await studio.finished(ann, (await requested_video(ann, "[stamp] a lighthouse"))["id"])
        await uploaded_asset(bob)
        await bob.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": "three words"})
        await browser.send_form("/chat", {"text": "Hello there", "model": TEXT_MODEL})
        key = (await bob.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["key"]
        account = {"email": "bob@studio.example", "password": PASSWORD}
        tokens = (await studio.client().post("/api/v1/auth/login", json=account)).json()
        assert (await studio.client(key).get("/api/v1/users/me")).status_code == 200
        before = [await api_view(ann), await api_view(bob), await browser_view(browser), await ledger(studio)]
        assert (await studio.program.maintenance.backup(str(tmp_path / "backup"))).ok
        await generated_image(ann, "generated after the backup")
        cookies = dict(browser.cookies)
    result = restore_backup(str(tmp_path / "backup"), DataDir(tmp_path / "again" / "data"), MIGRATIONS)
    assert "3 users, 3 jobs" in result.text
    async with running(tmp_path / "again") as studio:
        ann_again, bob_again = (studio.client(one.headers["Authorization"].split()[1]) for one in (ann, bob))
        browser_again = studio.browser()
        browser_again.cookies.update(cookies)
        after = [
            await api_view(ann_again),
            await api_view(bob_again),
            await browser_view(browser_again),
            await ledger(studio),
        ]
        assert after == before
        assert (await studio.client(key).get("/api/v1/users/me")).json()["email"] == account["email"]
        assert (await studio.client().post("/api/v1/auth/login", json=account)).status_code == 200
        refreshed = await studio.client().post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert refreshed.status_code == 200
        assert (await studio.program.maintenance.examine()).ok
        await generated_image(ann_again, "and it goes on")


# Nothing is sent twice


async def requested_image(client: httpx.AsyncClient, prompt: str) -> Json:
    answer = await client.post(
        "/api/v1/generate/image", json={"model": IMAGE_MODEL, "prompt": prompt}, headers={"Prefer": "respond-async"}
    )
    job: Json = answer.json()
    return job


async def test_what_was_unfinished_is_polled_or_fails_as_unknown_and_is_never_sent_again(tmp_path: Path) -> None:
    backup, again = tmp_path / "backup", tmp_path / "again" / "data"
    in_progress, being_sent = "[stamp] a video in progress", "an image being sent"
    in_queue, new = "[overloaded] [stamp] a video in the queue", "[overloaded] [stamp] a new video"
    async with upstream(tmp_path) as provider:

        async def sent(prompt: str, count: int = 1) -> None:
            """Wait until the provider has accepted it this many times."""
            await eventually(lambda: asyncio.sleep(0, provider.prompts().count(prompt)), lambda now: now == count)

        async with provider.atelier(tmp_path) as studio:
            ann = await studio.user()
            video = await requested_video(ann, in_progress)
            image = await requested_image(ann, being_sent)
            await submission_is_stored(studio, ann, video)
            await sent(being_sent)
            with retries_in_an_hour():
                queued = await requested_video(ann, in_queue)
                await until_retry_is_scheduled(ann, queued)
            assert (await studio.program.maintenance.backup(str(backup))).ok
            assert in_queue not in provider.prompts()
            # The original instance continues and sends the queued jobs.
            await ann.post(f"/api/v1/jobs/{queued['id']}/cancel")
            await ann.post(f"/api/v1/jobs/{queued['id']}/retry")
            await sent(in_queue)
            await studio.program.worker.stop(0)  # the provider's clock stands still, so the image is not ready
        restore_backup(str(backup), DataDir(again), MIGRATIONS)
        async with provider.atelier(tmp_path / "again") as studio:
            ann = await studio.user()
            for job in (queued, image):
                now = await read_job(ann, job["id"])
                assert (now["status"], now["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN"), now
                assert "not sent again" in now["error"]["message"]
            provider.clock.advance(60)
            assert (await studio.finished(ann, video["id"]))["status"] == "completed"
            assert sorted(provider.prompts()) == sorted([in_progress, being_sent, in_queue])
            assert (await studio.program.maintenance.examine()).ok

            retried = (await ann.post(f"/api/v1/jobs/{queued['id']}/retry")).json()
            await sent(in_queue, 2)
            provider.clock.advance(60)
            assert (await studio.finished(ann, retried["id"]))["status"] == "completed"
            waiting = await requested_video(ann, new)
            await until_retry_is_scheduled(ann, waiting)
        assert not (again / "manifest.json").exists()
        async with provider.atelier(tmp_path / "again") as studio:
            ann = await studio.user()
            await sent(new)
            provider.clock.advance(60)
            assert (await studio.finished(ann, waiting["id"]))["status"] == "completed", "only the first start is wary"


async def test_a_backup_that_was_put_in_place_by_hand_is_treated_alike(backup: Path, tmp_path: Path) -> None:
    shutil.move(backup, tmp_path / "data")
    async with running(tmp_path) as studio:
        bob = await studio.user("bob@studio.example")
        jobs = (await bob.get("/api/v1/jobs")).json()["items"]
        (queued,) = [job for job in jobs if job["prompt"] == QUEUED]
        assert (queued["status"], queued["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
    assert not (tmp_path / "data" / "manifest.json").exists()


# What is rejected, before anything is changed


def rejection(source: Path, folder: Path) -> str:
    existed = folder.exists()
    before = set(folder.rglob("*"))
    with pytest.raises(AtelierError) as raised:
        restore_backup(str(source), DataDir(folder), MIGRATIONS)
    assert "\n" not in raised.value.message
    assert folder.exists() == existed
    assert set(folder.rglob("*")) == before
    return raised.value.message


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n ")


def swap(path: Path) -> None:
    path.write_bytes(b"something else")


KINDS = {"database": "atelier.duckdb", "secret": "secret.key", "image": "*.png", "video": "*.mp4", "thumb": "*.webp"}
DAMAGES: dict[str, Callable[[Path], None]] = {
    "flip": flip,
    "cut": cut,
    "grow": grow,
    "swap": swap,
    "remove": Path.unlink,
}


@contextmanager
def damaged(path: Path, damage: str) -> Iterator[None]:
    """Damages a file until the end of the block."""
    content = path.read_bytes()
    DAMAGES[damage](path)
    try:
        yield
    finally:
        path.write_bytes(content)


def test_a_file_that_is_not_as_it_was_is_named(backup: Path) -> None:
    failures = []
    for pattern in KINDS.values():
        path = min(backup.rglob(pattern))
        for damage in DAMAGES:
            expected = f"{path.relative_to(backup).as_posix()} is {'missing' if damage == 'remove' else 'damaged'}"
            with damaged(path, damage):
                message = rejection(backup, backup.parent / "again")
                result = examine_backup(str(backup), MIGRATIONS)
            if expected not in message or (result.ok, result.text) != (False, expected):
                failures.append((expected, message, result))
    assert not failures
    assert examine_backup(str(backup), MIGRATIONS).ok, "and nothing else was wrong"


def changed_manifests(manifest: Manifest, backup: Path) -> dict[str, Manifest]:
    """Manipulated manifests with a valid seal."""
    replace, files = msgspec.structs.replace, manifest.files
    outside = backup.parent / "outside.png"
    outside.write_bytes(b"x")
    unknown = ManifestEntry("media/../../outside.png", 1, hashlib.sha256(b"x").hexdigest())
    return {
        "a path that leads out": replace(manifest, files=[*files, unknown]),
        "a path from the root": replace(manifest, files=[*files, msgspec.structs.replace(unknown, path=str(outside))]),
        "without the database": replace(manifest, files=[one for one in files if "duckdb" not in one.path]),
        "without the secret": replace(manifest, files=[one for one in files if "secret" not in one.path]),
        "of a newer program": replace(
            manifest, program="9.9", migrations=[*manifest.migrations, AppliedMigration("9999_later.sql", "x")]
        ),
        "of another program": replace(
            manifest, migrations=[AppliedMigration("0001_accounts.sql", "x"), *manifest.migrations[1:]]
        ),
        "of a newer format": replace(manifest, program="9.9", format=2),
    }


REJECTIONS = {
    "a path that leads out": "does not belong in a backup",
    "a path from the root": "does not belong in a backup",
    "without the database": "atelier.duckdb is missing",
    "without the secret": "secret.key is missing",
    "of a newer program": r"was created by a newer version of Atelier \(9.9\)",
    "of another program": "has other migrations",
    "of a newer format": r"was created by a newer version of Atelier \(9.9\)",
}


def test_a_manifest_with_contents_that_are_not_allowed_is_rejected(backup: Path) -> None:
    path = backup / "manifest.json"
    manifests = changed_manifests(msgspec.json.decode(path.read_bytes(), type=Manifest), backup)
    assert manifests.keys() == REJECTIONS.keys()
    failures = {}
    for change, manifest in manifests.items():
        path.write_bytes(msgspec.json.encode(manifest.sealed()))
        message = rejection(backup, backup.parent / "again")
        if not re.search(REJECTIONS[change], message):
            failures[change] = message
    assert not failures


def test_a_manifest_that_is_not_as_it_was_written_is_rejected(backup: Path) -> None:
    path = backup / "manifest.json"
    text = path.read_text()

    def is_rejected(expected: str) -> None:
        assert not path.exists() or path.read_text() != text
        assert expected in rejection(backup, backup.parent / "again")

    for damage in ("flip", "swap"):
        with damaged(path, damage):
            is_rejected("is damaged")
    with damaged(path, "remove"):
        is_rejected("is not a backup")
    for changed in (
        text[: len(text) // 2],
        text.replace('"jobs": 9', '"jobs": 10'),
        re.sub(r'"sha256": "\w', '"sha256": "g', text, count=1),
        '{"format": 1}',
    ):
        path.write_text(changed)
        is_rejected("is damaged")


def test_what_is_not_a_backup_is_rejected(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "gone", tmp_path / "file", tmp_path / "empty"):
        assert str(source) in rejection(source, tmp_path / "again")
    assert "not empty" in rejection(backup, backup), "into the backup itself"


def test_a_data_folder_that_is_not_empty_is_rejected(backup: Path, data: Path, tmp_path: Path) -> None:
    folders = [data]
    for name in ("atelier.duckdb", "notes.txt", "simulator/submits.jsonl"):
        folder = tmp_path / name.replace("/", "-")
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("x")
        folders.append(folder)
    for folder in folders:
        message = rejection(backup, folder)
        assert f"The data folder {folder} is not empty" in message
        assert "ATELIER_DATA_DIR" in message


def test_what_a_start_leaves_before_anything_happens_counts_as_empty(backup: Path, tmp_path: Path) -> None:
    folder = DataDir(tmp_path / "again")
    folder.create()
    folder.lock()
    folder.release()
    (folder.temporary / "left").write_text("x")
    assert restore_backup(str(backup), folder, MIGRATIONS).ok


async def test_the_command_is_rejected_while_a_program_serves_there(
    backup: Path, tmp_path: Path, command: Command
) -> None:
    async with running(tmp_path / "other"):
        outcome = await command(tmp_path / "other", "restore", str(backup))
        assert outcome.code == 1
        [line] = outcome.err
        assert line.startswith("atelier: The data folder")
    outcome = await command(tmp_path / "new", "restore", "backup", cwd=tmp_path)
    assert outcome.code == 0
    assert outcome.out[0].startswith("restored the backup of 20")
    assert HOLDINGS in outcome.out[0]
    assert (await command(tmp_path / "new", "doctor")).code == 0


def size_of(folder: Path) -> int:
    """Bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def test_without_room_nothing_is_restored_and_it_works_once_there_is(
    backup: Path, small_disk: Path, tmp_path: Path
) -> None:
    folder, ballast = small_disk / "data", small_disk / "ballast"
    database = (backup / "atelier.duckdb").stat().st_size
    everything = size_of(backup)
    for room in (database // 2, (database + everything) // 2):  # not enough for the database; only for that
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
        with pytest.raises(AtelierError, match="disk full"):
            restore_backup(str(backup), DataDir(folder), MIGRATIONS)
        assert {path.name for path in folder.rglob("*") if path.is_file()} <= {"lock"}
        ballast.unlink()
    assert restore_backup(str(backup), DataDir(folder), MIGRATIONS).ok
    async with maintenance(folder) as offline:
        assert (await offline.examine()).ok


async def test_a_backup_of_an_older_program_is_brought_up_to_date_by_the_next_start(tmp_path: Path) -> None:
    older = tmp_path / "migrations"
    older.mkdir()
    for path in sorted(MIGRATIONS.glob("*.sql"))[:-1]:
        shutil.copy(path, older)
    folder = DataDir(tmp_path / "data")
    folder.create()
    folder.secret.write_text("x" * 64)
    database = EmbeddedDatabase(folder.database)
    await migrate(database, older)
    await database.close()
    async with maintenance(tmp_path / "data") as offline:
        assert (await offline.backup(str(tmp_path / "backup"))).ok
        assert "is older than this version" in (await offline.examine()).text
    restore_backup(str(tmp_path / "backup"), DataDir(tmp_path / "again" / "data"), MIGRATIONS)
    async with running(tmp_path / "again") as studio:
        assert (await generated_image(await studio.user()))["status"] == "completed"
        assert (await studio.program.maintenance.examine()).ok
