"""Jobs of which some outputs cannot be had are completed, keep the others, and say what is missing."""

from pathlib import Path

import httpx
import msgspec
import pytest

from app.jobs.schemas import JobStatus, JobWarning, LateResultPolicy
from app.jobs.service import Jobs
from app.providers.contract import Completed, ErrorCode, MissingOutput, Outcome, Request, ResultFile
from tests.jobs.conftest import new_job
from tests.kit import generated_image
from tests.studio import Studio

PROMPT = "[stamp] three of which one is usable"
BLOCKED = MissingOutput(1, ErrorCode.PROVIDER_REFUSED, "The provider refused this content.")


async def test_what_cannot_be_stored_is_a_warning_and_the_rest_is_kept_in_its_place(
    atelier: Studio, creator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = atelier.program.providers["openrouter"]
    submit = provider.submit

    async def partly(request: Request, folder: Path) -> Outcome:
        outcome = await submit(request, folder)
        if request.prompt != PROMPT:
            return outcome
        assert isinstance(outcome, Completed)
        (folder / "broken").write_bytes(b"\x89PNG\r\n\x1a\n but no image")
        media = (ResultFile(folder / "broken"), *outcome.media)
        return msgspec.structs.replace(outcome, media=media, missing=(BLOCKED,))

    monkeypatch.setattr(provider, "submit", partly)
    job = await generated_image(creator, PROMPT)
    assert job["status"] == "completed"
    assert job["error"] is None
    assert [(each["index"], each["code"]) for each in job["warnings"]] == [
        (0, "RESULT_INVALID"),
        (1, "PROVIDER_REFUSED"),
    ]
    (asset,) = job["assets"]
    assert (await creator.get(asset["url"])).status_code == 200
    stored = await atelier.program.jobs.all.find(job["id"])
    assert [each.position for each in stored.assets] == [2]


async def test_a_warning_about_the_inputs_is_kept_beside_those_about_the_outputs(jobs: Jobs) -> None:
    about_input = JobWarning(None, "FRAMES_DROPPED", "Only the first frame of this animation was kept.")
    about_output = JobWarning(1, "PROVIDER_REFUSED", "The provider refused this content.")
    for late in (None, LateResultPolicy.KEEP, LateResultPolicy.DISCARD):
        await jobs.enqueue(new_job(warnings=(about_input,)))
        (job,) = await jobs.execution.claim(1)
        if late is not None:
            await jobs.cancel("ann", job.id, late)
        await jobs.execution.complete(job, Completed(text="x"), [], [about_output])
        found = await jobs.find("ann", job.id)
        assert found.status is (JobStatus.COMPLETED if late is None else JobStatus.CANCELLED)
        kept = late is not LateResultPolicy.DISCARD
        assert found.warnings == ((about_input, about_output) if kept else (about_input,))
