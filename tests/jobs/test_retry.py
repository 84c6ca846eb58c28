"""A retry is a paid request like any other: no route accepts one for a model that is no longer available."""

from collections.abc import Awaitable, Callable

import pytest

from app.base.errors import Invalid
from app.catalog.service import Catalog
from app.db.database import Database
from app.idempotency.schemas import IdempotencyKey
from app.jobs.schemas import JobStatus
from app.jobs.service import Jobs
from app.providers.contract import ErrorCode, Failed, ModelOffer, Pending, UpstreamJob
from tests.jobs.conftest import MODEL, ModelProvider, new_job
from tests.kit import IMAGE_MODEL, error_of, submit_log, validation_error
from tests.studio import Studio

DISK_FULL = Failed(code=ErrorCode.STORAGE_FULL, message="The disk is full.")
REFUSED = Failed(code=ErrorCode.PROVIDER_REFUSED, message="The provider refused this.")


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
        (job,) = await jobs.execution.claim(1)
        await jobs.execution.fail(job, Failed(code=ErrorCode.PROVIDER_FAILED, message="The provider failed."))
        await change()
        with pytest.raises(Invalid) as rejection:
            await jobs.retry("ann", job.id)
        assert "model" in rejection.value.fields
        assert not jobs.live.has_waiting()


async def test_a_paid_result_is_fetched_even_when_its_model_has_been_disabled(
    jobs: Jobs, database: Database, catalog: Catalog
) -> None:
    await jobs.enqueue(new_job())
    (job,) = await jobs.execution.claim(1)
    await jobs.execution.record_progress(job, Pending(upstream_job=UpstreamJob("up-1"), state="completed"))
    await jobs.execution.fail(job, Failed(code=ErrorCode.STORAGE_FULL, message="The disk is full."))
    await database.write(catalog.set_enabled, MODEL, False)
    assert (await jobs.retry("ann", job.id)).job.upstream_job == UpstreamJob("up-1")


async def test_a_paid_result_is_fetched_by_one_retry_only(jobs: Jobs) -> None:
    """Otherwise its cost would be counted twice."""
    await jobs.enqueue(new_job())
    (job,) = await jobs.execution.claim(1)
    upstream_job = UpstreamJob("up-1")
    await jobs.execution.record_progress(job, Pending(upstream_job=upstream_job, state="completed"))
    await jobs.execution.fail(job, DISK_FULL)
    first, second = (
        await jobs.retry("ann", job.id, IdempotencyKey("ann", "a", "x")),
        await jobs.retry("ann", job.id, IdempotencyKey("ann", "b", "x")),
    )
    assert (first.repeated, second.repeated) == (False, True)
    assert (first.job.upstream_job, second.job.id) == (upstream_job, first.job.id)
    (retried,) = await jobs.execution.claim(5)
    assert (retried.status, retried.attempts) == (JobStatus.PROCESSING, 0), "nothing was submitted"
    await jobs.execution.fail(retried, DISK_FULL)  # the disk is still full, so another retry is allowed
    third = await jobs.retry("ann", job.id, IdempotencyKey("ann", "b", "x"))
    assert (third.repeated, third.job.upstream_job) == (False, upstream_job)


async def test_a_retry_of_a_refused_job_is_paid_for_again(jobs: Jobs) -> None:
    await jobs.enqueue(new_job())
    (job,) = await jobs.execution.claim(1)
    await jobs.execution.record_progress(job, Pending(upstream_job=UpstreamJob("up-1"), state="pending"))
    await jobs.execution.fail(job, REFUSED)
    first, second = await jobs.retry("ann", job.id), await jobs.retry("ann", job.id)
    assert [first.job.upstream_job, second.job.upstream_job] == [None, None]
    assert first.job.id != second.job.id


async def test_no_route_retries_with_a_disabled_model_not_even_for_an_admin(studio: Studio) -> None:
    admin, bob = await studio.user(direct=True), await studio.user("bob@studio.example", direct=True)
    request = {"model": IMAGE_MODEL, "prompt": "[refuse] a boat"}
    id = error_of(await bob.post("/api/v1/generate/image", json=request), 400)["details"]["job_id"]
    before = len(submit_log(studio))
    await admin.put(f"/api/v1/admin/models/{IMAGE_MODEL}", json={"enabled": False})
    validation_error(await bob.post(f"/api/v1/jobs/{id}/retry"), "model")
    validation_error(await admin.post(f"/api/v1/admin/jobs/{id}/retry"), "model")
    for email, path in (("ann@studio.example", f"/admin/jobs/{id}/retry"), ("bob@studio.example", f"/jobs/{id}/retry")):
        browser = await studio.user_in_browser(email, direct=True)
        rejected = await browser.send_form(path)
        assert rejected.status_code == 400
        assert "is not available" in rejected.text
    assert (await bob.get("/api/v1/jobs")).json()["total"] == 1
    assert len(submit_log(studio)) == before
    await admin.put(f"/api/v1/admin/models/{IMAGE_MODEL}", json={"enabled": True})
    assert (await bob.post(f"/api/v1/jobs/{id}/retry")).status_code == 201
