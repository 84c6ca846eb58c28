"""`/generate/text`: an answer in one call, and a job that remembers it."""

import httpx
import pytest

from tests.api.kit import PICTURE, TEXT, Json, check_job, invalid, is_money, read_job, submits
from tests.studio import Studio


async def written(client: httpx.AsyncClient, prompt: str, **more: object) -> httpx.Response:
    return await client.post("/api/v1/generate/text", json={"model": TEXT, "prompt": prompt, **more})


async def test_a_text_comes_in_one_call_and_is_recorded_as_a_job(maker: httpx.AsyncClient) -> None:
    answer = await written(maker, "Three words about lighthouses")
    assert answer.status_code == 200
    made: Json = answer.json()
    assert set(made) == {"id", "model", "text", "usage", "cost_usd"}
    assert made["model"] == TEXT
    assert made["text"].strip()
    assert is_money(made["cost_usd"])
    assert made["cost_usd"] is not None
    assert made["usage"]
    job = await read_job(maker, made["id"])
    check_job(job)
    assert (job["kind"], job["status"], job["progress"]) == ("text", "completed", 100)
    assert (job["text"], job["cost_usd"]) == (made["text"], made["cost_usd"])
    assert job["prompt"] == "Three words about lighthouses"
    assert job["assets"] == []


async def test_a_system_prompt_reaches_the_provider(atelier: Studio, maker: httpx.AsyncClient) -> None:
    answer = await written(maker, "Hello", system_prompt="Answer as a pirate of the north")
    assert answer.status_code == 200
    sent = [one["request"]["messages"] for one in submits(atelier) if "pirate of the north" in str(one["request"])]
    assert sent == [
        [
            {"role": "system", "content": "Answer as a pirate of the north"},
            {"role": "user", "content": "Hello"},
        ]
    ]


async def test_a_parameter_of_the_model_is_kept_with_the_job(maker: httpx.AsyncClient) -> None:
    answer = await written(maker, "Hello", temperature=0.5, max_tokens=200, stop=["END"])
    assert answer.status_code == 200
    job = await read_job(maker, answer.json()["id"])
    assert job["params"] == {"temperature": 0.5, "max_tokens": 200, "stop": ["END"]}


@pytest.mark.parametrize(
    "prompt",
    [
        "Grüße aus Łódź",
        "写一首关于灯塔的诗",
        "اكتب عن المنارة",
        "👩‍👩‍👧‍👦 🎨",
        "e\u0301 \u200f \u202e reversed",
        "line\nbreak\ttab",
        '<script>alert("x")</script>',
        "' or 1=1; --",
        "{{ 7*7 }} {% raw %} ${x} %s",
    ],
)
async def test_every_language_and_sign_of_a_prompt_comes_back_as_it_was(maker: httpx.AsyncClient, prompt: str) -> None:
    answer = await written(maker, prompt)
    assert answer.status_code == 200, answer.text
    assert (await read_job(maker, answer.json()["id"]))["prompt"] == prompt


async def test_a_model_that_makes_pictures_is_not_asked_for_text(reader: httpx.AsyncClient) -> None:
    answer = await reader.post("/api/v1/generate/text", json={"model": PICTURE, "prompt": "x"})
    invalid(answer, "model")
