"""`/generate/batch` and `/generate/batches`: many jobs of one request, all of them accepted or none."""

from decimal import Decimal

import httpx

from tests.kit import (
    IMAGE_MODEL,
    MULTI_IMAGE_MODEL,
    TEXT_MODEL,
    UNKNOWN_ID,
    VIDEO_MODEL,
    Cases,
    Json,
    check_job,
    check_list,
    error_of,
    eventually,
    key_client,
    read_job,
    uploaded_asset,
    validation_error,
)
from tests.studio import Studio

PATH = "/api/v1/generate/batch"
WAITS = "[ratelimit-long] a boat"  # its jobs are tried once, and then wait half an hour


def series(**changes: object) -> Json:
    return {"kind": "image", "model": MULTI_IMAGE_MODEL, "prompt": "[stamp] a boat", **changes}


async def started(client: httpx.AsyncClient, **changes: object) -> str:
    answer = await client.post(PATH, json=series(**changes))
    assert answer.status_code == 202, answer.text
    id: str = answer.json()["id"]
    return id


async def read(client: httpx.AsyncClient, id: str) -> Json:
    answer = await client.get(f"/api/v1/generate/batches/{id}")
    assert answer.status_code == 200, answer.text
    batch: Json = answer.json()
    return batch


async def ended(client: httpx.AsyncClient, id: str) -> Json:
    return await eventually(lambda: read(client, id), lambda batch: batch["status"] not in ("processing", "paused"))


async def change(client: httpx.AsyncClient, id: str, verb: str) -> Json:
    answer = await client.post(f"/api/v1/generate/batches/{id}/{verb}")
    assert answer.status_code == 200, answer.text
    batch: Json = answer.json()
    return batch


async def job_count(client: httpx.AsyncClient) -> int:
    total: int = (await client.get("/api/v1/jobs", params={"limit": 1})).json()["total"]
    return total


async def test_a_series_is_every_combination_as_ordinary_jobs(ann: httpx.AsyncClient) -> None:
    answer = await ann.post(
        PATH, json=series(prompt="[stamp] a {red|green} boat", matrix={"seed": [1, 2], "n": [1, None]})
    )
    assert answer.status_code == 202
    accepted = answer.json()
    assert set(accepted) == {"id", "total", "cost_usd"}
    assert accepted["total"] == 8
    batch = await ended(ann, accepted["id"])
    assert (batch["status"], batch["counters"]["completed"], batch["total"]) == ("completed", 8, 8)
    for job in batch["jobs"]:
        check_job(job)
        assert (job["status"], job["batch_id"]) == ("completed", batch["id"])
        assert await read_job(ann, job["id"]) == job
    assert [(job["prompt"], job["params"]) for job in batch["jobs"]] == [
        (f"[stamp] a {color} boat", {"seed": seed, **({"n": n} if n else {})})
        for color in ("red", "green")
        for seed in (1, 2)
        for n in (1, None)
    ]
    assert Decimal(batch["cost_usd"]) == sum(Decimal(job["cost_usd"]) for job in batch["jobs"])
    [listed] = check_list((await ann.get("/api/v1/generate/batches")).json())
    assert listed == {name: value for name, value in batch.items() if name != "jobs"}


async def test_several_models_get_the_same_input_image(ann: httpx.AsyncClient) -> None:
    asset = (await uploaded_asset(ann))["id"]
    models = [MULTI_IMAGE_MODEL, "google/gemini-3-pro-image"]
    inputs = [{"role": "image", "asset_id": asset}]
    batch = await read(ann, await started(ann, model=None, models=models, inputs=inputs))
    assert [job["model"] for job in batch["jobs"]] == models
    for job in batch["jobs"]:
        assert (job["generation_type"], job["inputs"][0]["asset_id"]) == ("image_to_image", asset)


async def test_choices_can_be_decided_by_the_seed_of_each_job(ann: httpx.AsyncClient) -> None:
    prompt = "[stamp] a {red|green|blue|white} boat"
    batch = await read(ann, await started(ann, prompt=prompt, choices="random", matrix={"seed": [1, 2, 3]}))
    single = {"model": MULTI_IMAGE_MODEL, "prompt": prompt, "seed": 2}
    job = (await ann.post("/api/v1/generate/image", json=single)).json()
    assert batch["total"] == 3
    assert batch["jobs"][1]["prompt"] == job["prompt"]
    text = await read(ann, await started(ann, kind="text", model=TEXT_MODEL, prompt="JSON: {a|b}"))
    assert [job["prompt"] for job in text["jobs"]] == ["JSON: {a|b}"]


async def test_a_batch_with_one_wrong_job_is_refused_as_a_whole_and_names_the_job(ann: httpx.AsyncClient) -> None:
    wrong = {
        "matrix.seed": series(matrix={"seed": [1, 2, "three"]}),
        "matrix.color": series(matrix={"color": ["red"]}),
        "params.seed": series(params={"seed": "one"}),
        "models": series(model=None, models=[MULTI_IMAGE_MODEL, TEXT_MODEL]),
        "prompts": series(prompt=None, prompts=["a boat", " "]),
        "inputs.0": series(inputs=[{"role": "image", "asset_id": UNKNOWN_ID}]),
    }
    messages = {}
    with Cases() as cases:
        for field, body in wrong.items():
            with cases.case(field):
                error = validation_error(await ann.post(PATH, json=body), field)
                messages[field] = error["message"]
    assert messages["matrix.seed"].startswith("Job 3 of 3 ([stamp] a boat, ByteDance Seed: Seedream 5, three): ")
    assert messages["models"].startswith("Job 2 of 2 ")
    assert await job_count(ann) == 0


async def test_what_is_no_batch_is_refused(reader: httpx.AsyncClient) -> None:
    wrong = {
        "models": series(model=None),
        "prompts": series(prompt=None, prompts=[]),
        "matrix.seed": series(matrix={"seed": []}),
        "matrix.n": series(matrix={"n": [1]}, params={"n": 1}),
        "prompts ": series(prompt="a __missing__ boat"),
    }
    with Cases() as cases:
        for field, body in wrong.items():
            with cases.case(field):
                validation_error(await reader.post(PATH, json=body), field.strip())
        for body in (series(models=[IMAGE_MODEL]), series(prompts=["a"]), series(color="red"), series(kind="magic")):
            with cases.case(body):
                error_of(await reader.post(PATH, json=body), 400, "VALIDATION_ERROR")


async def test_a_billion_jobs_are_counted_and_refused(reader: httpx.AsyncClient) -> None:
    tens = {name: list(range(10)) for name in "abcdefghi"}
    for body in (series(matrix=tens), series(prompt="{a|b}" * 5_000), series(matrix={"seed": list(range(501))})):
        error = error_of(await reader.post(PATH, json=body), 400, "VALIDATION_ERROR")
        assert "at most 500" in error["message"]
    error = error_of(await reader.post(PATH, json=series(matrix=tens)), 400)
    assert "1,000,000,000 jobs" in error["message"]


async def test_a_repeated_request_returns_the_same_batch(ann: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "series 1"}
    first = await ann.post(PATH, json=series(matrix={"seed": [1, 2]}), headers=key)
    again = await ann.post(PATH, json=series(matrix={"seed": [1, 2]}), headers=key)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json() == again.json()
    assert await job_count(ann) == 2
    error_of(await ann.post(PATH, json=series(), headers=key), 409, "CONFLICT")


async def test_the_total_is_known_when_every_price_is(ann: httpx.AsyncClient) -> None:
    known = series(kind="video", model=VIDEO_MODEL, matrix={"duration": [1, 2]}, params={"resolution": "360p"})
    one, two = [
        (
            await ann.post(
                "/api/v1/generate/estimate", json={"model": VIDEO_MODEL, "resolution": "360p", "duration": seconds}
            )
        ).json()["cost_usd"]["max"]
        for seconds in (1, 2)
    ]
    accepted = (await ann.post(PATH, json=known)).json()
    assert Decimal(accepted["cost_usd"]) == Decimal(one) + Decimal(two)
    assert (await read(ann, accepted["id"]))["estimated_cost_usd"] == accepted["cost_usd"]


async def test_a_paused_batch_waits_and_a_resumed_one_goes_on(ann: httpx.AsyncClient) -> None:
    id = await started(ann, prompt=WAITS, matrix={"seed": [1, 2, 3]})
    paused = await change(ann, id, "pause")
    assert paused["status"] == "paused"
    waiting = await eventually(lambda: read(ann, id), lambda batch: batch["counters"]["queued"] == 3)
    assert waiting["status"] == "paused"
    assert (await change(ann, id, "resume"))["status"] == "processing"
    cancelled = await change(ann, id, "cancel")
    assert cancelled["counters"]["cancelled"] == 3
    assert cancelled["status"] == "cancelled"
    for verb in ("pause", "resume", "cancel"):
        error_of(await ann.post(f"/api/v1/generate/batches/{id}/{verb}"), 409, "CONFLICT")


async def test_retries_take_the_place_of_the_jobs_that_failed(ann: httpx.AsyncClient) -> None:
    id = await started(ann, prompt=None, prompts=["[stamp] a boat", "[refuse] a boat"])
    batch = await ended(ann, id)
    assert (batch["status"], batch["counters"]["completed"], batch["counters"]["failed"]) == ("completed", 1, 1)
    kept, failed = batch["jobs"]
    await change(ann, id, "retry")
    retried = await ended(ann, id)
    assert retried["jobs"][0] == kept
    assert retried["jobs"][1]["retry_of"] == failed["id"]
    assert retried["counters"] == batch["counters"]
    single = await started(ann)
    await ended(ann, single)
    error_of(await ann.post(f"/api/v1/generate/batches/{single}/retry"), 409, "CONFLICT")


async def test_a_batch_goes_when_its_last_job_was_erased(atelier: Studio, ann: httpx.AsyncClient) -> None:
    batches = atelier.program.batches
    kept, erased = await started(ann), await started(ann, prompts=["[stamp] a", "[stamp] b"], prompt=None)
    for id in (kept, erased):
        await ended(ann, id)
    for job in (await read(ann, erased))["jobs"]:
        await batches.sweep()
        assert (await read(ann, erased))["total"] == 2
        await atelier.program.database.write(atelier.program.jobs.all.erase, [job["id"]])
    await batches.sweep()
    error_of(await ann.get(f"/api/v1/generate/batches/{erased}"), 404, "RESOURCE_NOT_FOUND")
    assert (await read(ann, kept))["status"] == "completed"


async def test_a_key_is_limited_to_its_models_and_its_budget(atelier: Studio) -> None:
    owner = await key_client(atelier, "limited")
    limits = {"name": "small", "allowed_models": [IMAGE_MODEL], "monthly_cap_usd": "0.05"}
    key = (await owner.post("/api/v1/users/me/keys", json=limits)).json()["key"]
    client = atelier.direct(key)
    error_of(await client.post(PATH, json=series()), 403, "FORBIDDEN")
    body = series(model=IMAGE_MODEL)
    assert (await client.post("/api/v1/generate/image", json={"model": IMAGE_MODEL, "prompt": "[stamp] a"})).is_success
    error_of(await client.post(PATH, json={**body, "prompts": ["a"] * 100, "prompt": None}), 429)
    assert await job_count(owner) == 1
