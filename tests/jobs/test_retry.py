"""A retry is a purchase like any other: what is not on offer any more cannot be bought by it, through whatever door."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from app.base.database import Database
from app.base.errors import Invalid
from app.catalog.service import Catalog
from app.jobs.service import Jobs
from app.providers.contract import ErrorCode, Later, Never, Ticket
from tests.api.kit import PICTURE, invalid, problem, submits
from tests.jobs.conftest import a_job
from tests.studio import Studio

MODEL = "google/veo-3.1"
Change = Callable[[Database, Catalog], Awaitable[None]]


async def _failed_picture(client: httpx.AsyncClient) -> str:
    body = {"model": PICTURE, "prompt": "[refuse] a boat"}
    id: str = problem(await client.post("/api/v1/generate/image", json=body), 400)["details"]["job_id"]
    return id


async def _switched_off(database: Database, catalog: Catalog) -> None:
    await database.write(catalog.switch, MODEL, False)


async def _gone(_: Database, catalog: Catalog) -> None:
    catalog._models = {"another/model": catalog._models.pop(MODEL)}


@pytest.mark.parametrize("change", [_switched_off, _gone])
async def test_what_is_not_on_offer_is_not_bought_by_a_retry(
    jobs: Jobs, database: Database, catalog: Catalog, change: Change
) -> None:
    await jobs.enqueue(a_job())
    (job,) = await jobs.claim(1)
    await jobs.fail(job, Never(code=ErrorCode.PROVIDER_FAILED, message="It broke."))
    await change(database, catalog)
    with pytest.raises(Invalid) as refusal:
        await jobs.retry("ann", job.id)
    assert "model" in refusal.value.fields
    assert not jobs.waiting()


async def test_a_result_that_was_paid_for_is_fetched_also_when_its_model_was_switched_off(
    jobs: Jobs, database: Database, catalog: Catalog
) -> None:
    await jobs.enqueue(a_job())
    (job,) = await jobs.claim(1)
    await jobs.go_on(job, Later(ticket=Ticket("up-1"), state="completed"))
    await jobs.fail(job, Never(code=ErrorCode.STORAGE_FULL, message="The disk is full."))
    await _switched_off(database, catalog)
    assert (await jobs.retry("ann", job.id)).job.ticket == Ticket("up-1")


async def test_no_door_retries_with_a_model_that_was_switched_off_not_even_the_admins(studio: Studio) -> None:
    admin, bob = await studio.person(), await studio.person("bob@studio.example")
    pages = [await studio.person_in_browser(), await studio.person_in_browser("bob@studio.example")]
    id = await _failed_picture(bob)
    before = len(submits(studio))
    await admin.put(f"/api/v1/admin/models/{PICTURE}", json={"enabled": False})
    invalid(await bob.post(f"/api/v1/jobs/{id}/retry"), "model")
    invalid(await admin.post(f"/api/v1/admin/jobs/{id}/retry"), "model")
    for browser, path in zip(pages, (f"/admin/jobs/{id}/retry", f"/jobs/{id}/retry"), strict=True):
        refused = await browser.send_form(path)
        assert refused.status_code == 400
        assert "on offer" in refused.text
    assert (await bob.get("/api/v1/jobs")).json()["total"] == 1
    assert len(submits(studio)) == before
    await admin.put(f"/api/v1/admin/models/{PICTURE}", json={"enabled": True})
    assert (await bob.post(f"/api/v1/jobs/{id}/retry")).status_code == 201
