"""After a restore everything is as it was, nothing is paid for twice, and what is damaged is refused before anything is
touched."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from app.base.database import Database
from app.base.errors import AtelierError
from app.base.folder import Folder
from app.base.migrate import migrate
from app.main import MIGRATIONS
from app.upkeep.schemas import Applied, Filed, Manifest
from app.upkeep.service import examine_backup, restored
from tests.api.kit import PICTURE, TEXT, Json, asked_clip, eventually, pictured, read_job, uploaded
from tests.api.processes import atelier, provider
from tests.journeys.test_restart import beside, submits
from tests.studio import PASSWORD, Browser, Studio, running
from tests.upkeep.conftest import upkeep


@pytest.fixture
async def backed_up(data: Path, tmp_path: Path) -> Path:
    async with upkeep(data) as beside:
        assert (await beside.backup(str(tmp_path / "backup"))).ok
    return tmp_path / "backup"


# Everything is as it was


async def portrait(client: httpx.AsyncClient) -> Json:
    """All that a person sees of what is theirs, media by their hashes."""
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


async def pages(browser: Browser) -> Json:
    """The same in the browser: what was said and what was spent."""
    talk = await browser.get("/chat", follow_redirects=True)
    assert talk.status_code == 200
    said = re.findall(r"Hello there|data-role=\S+", talk.text)
    assert said
    return {"talk": said, "library": sorted(set(re.findall(r"/media/\w+", (await browser.get("/library")).text)))}


async def ledger(studio: Studio) -> list[Json]:
    return await studio.program.database.read(lambda tx: tx.rows("select * from ledger order by id"))


async def test_everybody_finds_everything_again_and_is_still_signed_in(tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        ann, bob = await studio.person(), await studio.person("bob@studio.example")
        browser = await studio.person_in_browser("carl@studio.example")
        await pictured(ann)
        await studio.finished(ann, (await asked_clip(ann))["id"])
        await uploaded(bob)
        await bob.post("/api/v1/generate/text", json={"model": TEXT, "prompt": "three words"})
        await browser.send_form("/chat", {"text": "Hello there", "model": TEXT})
        key = (await bob.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["key"]
        person = {"email": "bob@studio.example", "password": PASSWORD}
        tokens = (await studio.client().post("/api/v1/auth/login", json=person)).json()
        assert (await studio.client(key).get("/api/v1/users/me")).status_code == 200
        before = [await portrait(ann), await portrait(bob), await pages(browser), await ledger(studio)]
        assert (await studio.program.upkeep.backup(str(tmp_path / "backup"))).ok
        await pictured(ann, "made after the backup")
        cookies = dict(browser.cookies)
    told = restored(str(tmp_path / "backup"), Folder(tmp_path / "again" / "data"), MIGRATIONS)
    assert "3 people, 3 jobs" in told.text
    async with running(tmp_path / "again") as studio:
        ann_again, bob_again = (studio.client(one.headers["Authorization"].split()[1]) for one in (ann, bob))
        browser_again = studio.browser()
        browser_again.cookies.update(cookies)
        after = [await portrait(ann_again), await portrait(bob_again), await pages(browser_again), await ledger(studio)]
        assert after == before
        assert (await studio.client(key).get("/api/v1/users/me")).json()["email"] == person["email"]
        assert (await studio.client().post("/api/v1/auth/login", json=person)).status_code == 200
        refreshed = await studio.client().post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert refreshed.status_code == 200
        assert (await studio.program.upkeep.examine()).ok
        await pictured(ann_again, "and it works on")


# Nothing is sent twice


async def offered(client: httpx.AsyncClient) -> None:
    async def count() -> int:
        total: int = (await client.get("/api/v1/ai/models")).json()["total"]
        return total

    await eventually(count, lambda total: total > 0)


async def asked_late(client: httpx.AsyncClient, prompt: str) -> Json:
    answer = await client.post(
        "/api/v1/generate/image", json={"model": PICTURE, "prompt": prompt}, headers={"Prefer": "respond-async"}
    )
    job: Json = answer.json()
    return job


async def test_what_was_unfinished_is_polled_or_told_to_be_unknown_and_never_sent_again(tmp_path: Path) -> None:
    backup, again = tmp_path / "backup", tmp_path / "again" / "data"
    async with provider(tmp_path, speed="0.3") as upstream:

        async def sent(prompt: str) -> int:
            return len([one for one in await submits(upstream) if one["prompt"] == prompt])

        async with running(tmp_path, **beside(upstream)) as studio:
            ann = await studio.person()
            await offered(ann)
            clip = await asked_clip(ann, "a clip under way")
            picture = await asked_late(ann, "[stuck] a picture being sent")
            await eventually(lambda: sent("[stuck] a picture being sent"), lambda count: count == 1)
            await eventually(lambda: sent("a clip under way"), lambda count: count == 1)
            queued = await asked_clip(ann, "[overloaded] a clip in the queue")
            await eventually(
                lambda: read_job(ann, queued["id"]), lambda job: job["status"] == "queued" and job["attempts"] == 1
            )
            assert (await studio.program.upkeep.backup(str(backup))).ok
            turned_away = await sent("[overloaded] a clip in the queue")
            # The studio that was backed up goes on: what was queued then is sent now.
            await studio.finished(ann, queued["id"])
            paid = await sent("[overloaded] a clip in the queue")
            assert paid > turned_away
        restored(str(backup), Folder(again), MIGRATIONS)
        async with running(tmp_path / "again", **beside(upstream)) as studio:
            ann = await studio.person()
            await offered(ann)
            for job in (queued, picture):
                now = await read_job(ann, job["id"])
                assert (now["status"], now["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN"), now
                assert "not sent again" in now["error"]["message"]
            assert (await studio.finished(ann, clip["id"]))["status"] == "completed"
            assert await sent("a clip under way") == 1
            assert await sent("[stuck] a picture being sent") == 1
            assert await sent("[overloaded] a clip in the queue") == paid
            assert (await studio.program.upkeep.examine()).ok

            retried = (await ann.post(f"/api/v1/jobs/{queued['id']}/retry")).json()
            assert (await studio.finished(ann, retried["id"]))["status"] == "completed"
            assert await sent("[overloaded] a clip in the queue") > paid
            waiting = await asked_clip(ann, "[overloaded] a new clip")
            await eventually(
                lambda: read_job(ann, waiting["id"]), lambda job: job["status"] == "queued" and job["attempts"] == 1
            )
        assert not (again / "manifest.json").exists()
        async with running(tmp_path / "again", **beside(upstream)) as studio:
            ann = await studio.person()
            assert (await studio.finished(ann, waiting["id"]))["status"] == "completed", "only the first start is wary"


async def test_a_backup_that_was_put_in_place_by_hand_is_treated_alike(tmp_path: Path) -> None:
    async with running(tmp_path) as studio:
        ann = await studio.person()
        queued = await asked_clip(ann, "[overloaded] a clip in the queue")
        await eventually(
            lambda: read_job(ann, queued["id"]), lambda job: job["status"] == "queued" and job["attempts"] == 1
        )
        assert (await studio.program.upkeep.backup(str(tmp_path / "backup"))).ok
    shutil.copytree(tmp_path / "backup", tmp_path / "again" / "data")
    async with running(tmp_path / "again") as studio:
        now = await read_job(await studio.person(), queued["id"])
        assert (now["status"], now["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
    assert not (tmp_path / "again" / "data" / "manifest.json").exists()


# What is refused, before anything is touched


def refused(source: Path, folder: Path) -> str:
    there = folder.exists()
    before = set(folder.rglob("*"))
    with pytest.raises(AtelierError) as problem:
        restored(str(source), Folder(folder), MIGRATIONS)
    assert "\n" not in problem.value.message
    assert folder.exists() == there
    assert set(folder.rglob("*")) == before
    return problem.value.message


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


KINDS = {"database": "atelier.duckdb", "secret": "secret.key", "picture": "*.png", "clip": "*.mp4", "thumb": "*.webp"}
WAYS: dict[str, Callable[[Path], None]] = {"flip": flip, "cut": cut, "grow": grow, "swap": swap, "remove": Path.unlink}


def one_of(backup: Path, kind: str) -> Path:
    return min(backup.rglob(KINDS[kind]))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_that_is_not_as_it_was_is_named(backed_up: Path, kind: str, way: str) -> None:
    path = one_of(backed_up, kind)
    WAYS[way](path)
    said = refused(backed_up, backed_up.parent / "again")
    name = path.relative_to(backed_up).as_posix()
    assert f"{name} is {'missing' if way == 'remove' else 'damaged'}" in said
    told = examine_backup(str(backed_up), MIGRATIONS)
    assert (told.ok, told.text) == (False, f"{name} is {'missing' if way == 'remove' else 'damaged'}")


def changed(manifest: Manifest, backup: Path) -> dict[str, Manifest]:
    """What somebody may have done to a manifest, sealed anew."""
    replace, files = msgspec.structs.replace, manifest.files
    outside = backup.parent / "outside.png"
    outside.write_bytes(b"x")
    stranger = Filed("media/../../outside.png", 1, hashlib.sha256(b"x").hexdigest())
    return {
        "a path that leads out": replace(manifest, files=[*files, stranger]),
        "a path from the root": replace(manifest, files=[*files, msgspec.structs.replace(stranger, path=str(outside))]),
        "without the database": replace(manifest, files=[one for one in files if "duckdb" not in one.path]),
        "without the secret": replace(manifest, files=[one for one in files if "secret" not in one.path]),
        "of a newer program": replace(
            manifest, program="9.9", migrations=[*manifest.migrations, Applied("9999_later.sql", "x")]
        ),
        "of another program": replace(
            manifest, migrations=[Applied("0001_accounts.sql", "x"), *manifest.migrations[1:]]
        ),
        "of a newer format": replace(manifest, program="9.9", format=2),
    }


REFUSED = {
    "a path that leads out": "has no place in a backup",
    "a path from the root": "has no place in a backup",
    "without the database": "atelier.duckdb is missing",
    "without the secret": "secret.key is missing",
    "of a newer program": r"was made by a newer program \(9.9\): restore it with that one",
    "of another program": "whose migrations are not the same",
    "of a newer format": r"was made by a newer program \(9.9\)",
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_manifest_that_asks_for_what_must_not_be_is_refused(backed_up: Path, what: str) -> None:
    path = backed_up / "manifest.json"
    manifest = changed(msgspec.json.decode(path.read_bytes(), type=Manifest), backed_up)[what].sealed()
    path.write_bytes(msgspec.json.encode(manifest))
    assert re.search(REFUSED[what], refused(backed_up, backed_up.parent / "again"))


@pytest.mark.parametrize("way", ["flip", "cut", "swap", "remove", "a number", "a hash", "nonsense"])
async def test_a_manifest_that_is_not_as_it_was_written_is_refused(backed_up: Path, way: str) -> None:
    path = backed_up / "manifest.json"
    text = path.read_text()
    match way:
        case "a number":
            path.write_text(text.replace('"jobs": 8', '"jobs": 9'))
        case "a hash":
            path.write_text(re.sub(r'"sha256": "\w', '"sha256": "g', text, count=1))
        case "nonsense":
            path.write_text('{"format": 1}')
        case "cut":
            path.write_text(text[: len(text) // 2])
        case _:
            WAYS[way](path)
    assert path.read_text() != text if path.exists() else True
    said = refused(backed_up, backed_up.parent / "again")
    assert "is not a backup" in said if way == "remove" else "is damaged" in said


@pytest.mark.parametrize("what", ["nothing there", "a file", "an empty folder", "the backup itself"])
async def test_what_is_no_backup_is_refused(backed_up: Path, tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    sources = {"nothing there": tmp_path / "gone", "a file": tmp_path / "file", "an empty folder": tmp_path / "empty"}
    if what == "the backup itself":
        assert "not empty" in refused(backed_up, backed_up)
    else:
        assert str(sources[what]) in refused(sources[what], tmp_path / "again")


@pytest.mark.parametrize("holding", ["a studio", "a database", "a file", "the simulator's memory"])
async def test_a_data_folder_that_is_not_empty_is_refused(backed_up: Path, tmp_path: Path, holding: str) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    if holding == "a studio":
        folder = tmp_path / "data"
    else:
        names = {"a database": "atelier.duckdb", "a file": "notes.txt"}
        path = folder / names.get(holding, "simulator/submits.jsonl")
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    said = refused(backed_up, folder)
    assert f"The data folder {folder} is not empty" in said
    assert "ATELIER_DATA_DIR" in said


async def test_what_a_start_leaves_before_anything_happens_counts_as_empty(backed_up: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "again")
    folder.make()
    folder.hold()
    folder.release()
    (folder.temporary / "left").write_text("x")
    assert restored(str(backed_up), folder, MIGRATIONS).ok


async def test_the_command_is_refused_while_a_studio_serves_there(backed_up: Path, tmp_path: Path) -> None:
    async with atelier(tmp_path / "other") as server:
        await server.ready()
        async with atelier(tmp_path / "other", "restore", str(backed_up)) as command:
            assert await command.ended() == 1
        [line] = command.err
        assert line.startswith("atelier: The data folder")
        assert await server.stopped() == 0
    async with atelier(tmp_path / "new", "restore", "backup", cwd=tmp_path) as command:
        assert await command.ended() == 0
    assert command.out[0].startswith("restored the backup of 20")
    async with atelier(tmp_path / "new", "doctor") as command:
        assert await command.ended() == 0


async def test_without_room_nothing_is_restored_and_it_works_once_there_is(
    backed_up: Path, small_disk: Path, tmp_path: Path
) -> None:
    folder, ballast = small_disk / "data", small_disk / "ballast"
    for room in (100_000, 5_600_000):  # not even for the database; for that, but not for everything
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
        with pytest.raises(AtelierError, match="there is no room on its disk"):
            restored(str(backed_up), Folder(folder), MIGRATIONS)
        assert {path.name for path in folder.rglob("*") if path.is_file()} <= {"lock"}
        ballast.unlink()
    assert restored(str(backed_up), Folder(folder), MIGRATIONS).ok
    async with upkeep(folder) as beside:
        assert (await beside.examine()).ok


async def test_a_backup_of_an_older_program_is_brought_up_to_date_by_the_next_start(tmp_path: Path) -> None:
    older = tmp_path / "migrations"
    older.mkdir()
    for path in sorted(MIGRATIONS.glob("*.sql"))[:-1]:
        shutil.copy(path, older)
    folder = Folder(tmp_path / "data")
    folder.make()
    folder.secret.write_text("x" * 64)
    database = Database(folder.database)
    await migrate(database, older)
    await database.close()
    async with upkeep(tmp_path / "data") as beside:
        assert (await beside.backup(str(tmp_path / "backup"))).ok
        assert "is older than this program" in (await beside.examine()).text
    restored(str(tmp_path / "backup"), Folder(tmp_path / "again" / "data"), MIGRATIONS)
    async with running(tmp_path / "again") as studio:
        assert (await pictured(await studio.person()))["status"] == "completed"
        assert (await studio.program.upkeep.examine()).ok
