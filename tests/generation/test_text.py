"""`/generate/text`: the text in one response, recorded as a job."""

import httpx

from tests.kit import IMAGE_MODEL, TEXT_MODEL, Cases, Json, check_job, is_money, read_job, submit_log, validation_error
from tests.studio import Studio


async def generate_text(client: httpx.AsyncClient, prompt: str, **more: object) -> httpx.Response:
    return await client.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": prompt, **more})


async def test_a_text_is_answered_in_one_call_and_recorded_as_a_job(creator: httpx.AsyncClient) -> None:
    answer = await generate_text(creator, "Three words about lighthouses")
    assert answer.status_code == 200
    text: Json = answer.json()
    assert set(text) == {"id", "model", "text", "usage", "cost_usd"}
    assert text["model"] == TEXT_MODEL
    assert text["text"].strip()
    assert is_money(text["cost_usd"])
    assert text["cost_usd"] is not None
    assert text["usage"]
    job = await read_job(creator, text["id"])
    check_job(job)
    assert (job["kind"], job["status"], job["progress"]) == ("text", "completed", 100)
    assert (job["text"], job["cost_usd"]) == (text["text"], text["cost_usd"])
    assert job["prompt"] == "Three words about lighthouses"
    assert job["assets"] == []


async def test_a_system_prompt_reaches_the_provider(atelier: Studio, creator: httpx.AsyncClient) -> None:
    answer = await generate_text(creator, "Hello", system_prompt="Answer as a pirate of the north")
    assert answer.status_code == 200
    sent = [one["request"]["messages"] for one in submit_log(atelier) if "pirate of the north" in str(one["request"])]
    assert sent == [
        [
            {"role": "system", "content": "Answer as a pirate of the north"},
            {"role": "user", "content": "Hello"},
        ]
    ]


async def test_a_parameter_of_the_model_is_kept_with_the_job(creator: httpx.AsyncClient) -> None:
    answer = await generate_text(creator, "Hello", temperature=0.5, max_tokens=200, stop=["END"])
    assert answer.status_code == 200
    job = await read_job(creator, answer.json()["id"])
    assert job["params"] == {"temperature": 0.5, "max_tokens": 200, "stop": ["END"]}


PROMPTS = [
    "Grüße aus Łódź",
    "写一首关于灯塔的诗",
    "اكتب عن المنارة",
    "👩‍👩‍👧‍👦 🎨",
    "e\u0301 \u200f \u202e reversed",
    "line\nbreak\ttab",
    '<script>alert("x")</script>',
    "' or 1=1; --",
    "{{ 7*7 }} {% raw %} ${x} %s",
]


async def test_a_prompt_in_any_language_is_kept_unchanged(creator: httpx.AsyncClient) -> None:
    with Cases() as cases:
        for prompt in PROMPTS:
            with cases.case(repr(prompt)):
                answer = await generate_text(creator, prompt)
                assert answer.status_code == 200, answer.text
                assert (await read_job(creator, answer.json()["id"]))["prompt"] == prompt


async def test_a_model_without_text_output_is_refused(reader: httpx.AsyncClient) -> None:
    answer = await reader.post("/api/v1/generate/text", json={"model": IMAGE_MODEL, "prompt": "x"})
    validation_error(answer, "model")
