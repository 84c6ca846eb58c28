"""A retry is a paid request like any other: no route accepts one for a model that is no longer available."""

from collections.abc import Awaitable, Callable

import pytest

from app.base.errors import Invalid
from app.catalog.service import Catalog
from app.db.database import Database
from app.jobs.service import Jobs
from app.providers.contract import ErrorCode, Failed, ModelOffer, Pending, UpstreamJob
from tests.jobs.conftest import MODEL, ModelProvider, new_job
from tests.kit import IMAGE_MODEL, error_of, submit_log, validation_error
from tests.studio import Studio


async def test_a_model_that_is_no_longer_offered_cannot_be_used_by_a_retry(
    jobs: Jobs, database: Database, catalog: Catalog, model_provider: ModelProvider
) -> None:
    async def disable() -> None:
        await database.write(catalog.set_enabled, MODEL, False)

    async def retire() -> None:
        await database.write(catalog.set_enabled, MODEL, True)
        model_provider.models = [ModelOffer(id="another/model", name="Another", output_modalities=("video",))]
        await catalog.refresh()

    changes: list[Callable[[], Awaitable[None]]] = [disable, retire]
    for change in changes:
        await jobs.enqueue(new_job())
        (job,) = await jobs.claim(1)
        await jobs.fail(job, Failed(code=ErrorCode.PROVIDER_FAILED, message="The provider failed."))
        await change()
        with pytest.raises(Invalid) as rejection:
            await jobs.retry("ann", job.id)
        assert "model" in rejection.value.fields
        assert not jobs.has_waiting()


async def test_a_paid_result_is_fetched_even_when_its_model_has_been_disabled(
    jobs: Jobs, database: Database, catalog: Catalog
) -> None:
    await jobs.enqueue(new_job())
    (job,) = await jobs.claim(1)
    await jobs.record_progress(job, Pending(upstream_job=UpstreamJob("up-1"), state="completed"))
    await jobs.fail(job, Failed(code=ErrorCode.STORAGE_FULL, message="The disk is full."))
    await database.write(catalog.set_enabled, MODEL, False)
    assert (await jobs.retry("ann", job.id)).job.upstream_job == UpstreamJob("up-1")


async def test_no_route_retries_with_a_disabled_model_not_even_for_an_admin(studio: Studio) -> None:
    admin, bob = await studio.person(direct=True), await studio.person("bob@studio.example", direct=True)
    request = {"model": IMAGE_MODEL, "prompt": "[refuse] a boat"}
    id = error_of(await bob.post("/api/v1/generate/image", json=request), 400)["details"]["job_id"]
    before = len(submit_log(studio))
    await admin.put(f"/api/v1/admin/models/{IMAGE_MODEL}", json={"enabled": False})
    validation_error(await bob.post(f"/api/v1/jobs/{id}/retry"), "model")
    validation_error(await admin.post(f"/api/v1/admin/jobs/{id}/retry"), "model")
    for email, path in (("ann@studio.example", f"/admin/jobs/{id}/retry"), ("bob@studio.example", f"/jobs/{id}/retry")):
        browser = await studio.person_in_browser(email, direct=True)
        rejected = await browser.send_form(path)
        assert rejected.status_code == 400
        assert "is not available" in rejected.text
    assert (await bob.get("/api/v1/jobs")).json()["total"] == 1
    assert len(submit_log(studio)) == before
    await admin.put(f"/api/v1/admin/models/{IMAGE_MODEL}", json={"enabled": True})
    assert (await bob.post(f"/api/v1/jobs/{id}/retry")).status_code == 201
