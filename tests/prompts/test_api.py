"""Prompt templates and wildcard lists in the API: who sees and changes them, two editors, limits, search."""

import httpx

from tests.kit import UNKNOWN_ID, Cases, Json, error_of, new_user, validation_error
from tests.studio import Studio

PROMPTS = "/api/v1/prompts"
TEMPLATE: Json = {
    "kind": "template",
    "name": "Harbour",
    "text": "A {red|blue} boat, __weather__",
    "negative_prompt": "people",
    "output": "image",
    "tags": ["boats", "morning"],
}
LIST: Json = {"kind": "wildcards", "name": "weather", "lines": ["light rain", "first snow"]}


async def created(client: httpx.AsyncClient, content: Json, **changes: object) -> Json:
    answer = await client.post(PROMPTS, json={**content, **changes})
    assert answer.status_code == 201, answer.text
    prompt: Json = answer.json()
    return prompt


async def names(client: httpx.AsyncClient, **query: str) -> list[str]:
    answer = await client.get(PROMPTS, params=query)
    assert answer.status_code == 200, answer.text
    return [prompt["name"] for prompt in answer.json()["items"]]


def changeable(prompt: Json) -> Json:
    """The body that saves a prompt as it is."""
    fields = ("name", "text", "negative_prompt", "output", "tags", "shared", "version")
    return {**{field: prompt[field] for field in fields}, "lines": prompt["lines"] or []}


async def test_a_prompt_is_as_it_was_entered(ann: httpx.AsyncClient) -> None:
    template = await created(
        ann, TEMPLATE, name="  Harbour \u202e at\ndawn ", text="two\r\nlines ", tags=["a", " a", ""]
    )
    assert {field: template[field] for field in ("kind", "name", "text", "negative_prompt", "output", "tags")} == {
        **{field: TEMPLATE[field] for field in ("kind", "negative_prompt", "output")},
        "name": "Harbour at dawn",
        "text": "two\nlines",
        "tags": ["a"],
    }
    listed = await created(ann, LIST, name="__Weather__", lines=[" light rain ", "", "fog\nfirst snow"])
    assert (listed["name"], listed["lines"], listed["line_count"]) == (
        "weather",
        ["light rain", "fog", "first snow"],
        3,
    )
    assert (await ann.get(f"{PROMPTS}/{listed['id']}")).json() == listed
    in_list = {prompt["id"]: prompt for prompt in (await ann.get(PROMPTS)).json()["items"]}
    assert in_list[template["id"]] == template
    assert in_list[listed["id"]] == {**listed, "lines": None}  # a list may be long


async def test_only_a_shared_prompt_is_seen_by_others_and_only_its_owner_and_admins_change_it(
    atelier: Studio, ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    admin = await atelier.user("admin@studio.example", direct=True)
    await ann.put("/api/v1/users/me", json={"name": "Ann Kern"})
    private, shared = await created(ann, TEMPLATE), await created(ann, LIST, shared=True)
    for stranger in (bob, admin):
        path = f"{PROMPTS}/{private['id']}"
        error_of(await stranger.get(path), 404)
        error_of(await stranger.put(path, json=changeable(private)), 404)
        error_of(await stranger.delete(path), 404)
        assert private["name"] not in await names(stranger)
    path = f"{PROMPTS}/{shared['id']}"
    seen = (await bob.get(path)).json()
    assert (seen["lines"], seen["own"], seen["owner_name"]) == (shared["lines"], False, "Ann Kern")
    error_of(await bob.put(path, json=changeable(shared)), 403, "FORBIDDEN")
    error_of(await bob.delete(path), 403, "FORBIDDEN")
    changed = await admin.put(path, json={**changeable(shared), "lines": ["fog"]})
    assert changed.status_code == 200, changed.text
    assert (await ann.get(path)).json()["lines"] == ["fog"]
    log = (await admin.get("/api/v1/admin/audit")).json()["items"]
    assert ("prompt.changed", "weather") in [(entry["action"], entry["subject"]) for entry in log]
    assert (await ann.put(path, json={**changeable(changed.json()), "shared": False})).status_code == 200
    error_of(await bob.get(path), 404)


async def test_of_two_editors_the_second_gets_the_newest_version_and_loses_nothing(ann: httpx.AsyncClient) -> None:
    prompt = await created(ann, TEMPLATE)
    path, first = f"{PROMPTS}/{prompt['id']}", changeable(prompt)
    assert (await ann.put(path, json={**first, "text": "first"})).json()["version"] == 2
    error = error_of(await ann.put(path, json={**first, "text": "second"}), 409, "CONFLICT")
    assert error["details"] == {"version": 2}
    assert (await ann.get(path)).json()["text"] == "first"
    assert (await ann.put(path, json={**first, "text": "second", "version": 2})).json()["text"] == "second"


async def test_what_is_wrong_is_named(ann: httpx.AsyncClient) -> None:
    wrong: list[tuple[Json, str]] = [
        ({**TEMPLATE, "name": " \u202e "}, "name"),
        ({**TEMPLATE, "name": "x" * 101}, "name"),
        ({**TEMPLATE, "text": " "}, "text"),
        ({**TEMPLATE, "text": "x" * 32_001}, "text"),
        ({**TEMPLATE, "text": "a\x00"}, "text"),
        ({**TEMPLATE, "negative_prompt": "x" * 32_001}, "negative_prompt"),
        ({**TEMPLATE, "output": "audio"}, "output"),
        ({**TEMPLATE, "lines": ["a"]}, "lines"),
        ({**TEMPLATE, "tags": [str(number) for number in range(11)]}, "tags"),
        ({**TEMPLATE, "tags": ["x" * 41]}, "tags"),
        *[({**LIST, "name": name}, "name") for name in ("two words", "a__b", "ä", "-a", "x" * 65, "_")],
        ({**LIST, "lines": []}, "lines"),
        ({**LIST, "lines": ["x" * 1_001]}, "lines"),
        ({**LIST, "lines": ["x"] * 5_001}, "lines"),
        ({**LIST, "lines": ["x" * 1_000] * 201}, "lines"),
        ({**LIST, "text": "a"}, "text"),
    ]
    with Cases() as cases:
        for content, field in wrong:
            with cases.case(field, str(content.get(field))):
                validation_error(await ann.post(PROMPTS, json=content), field)
    assert await names(ann, visibility="own") == []


async def test_a_name_is_used_once_by_a_user_and_a_kind_whatever_its_case(
    ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    prompt, other = await created(ann, TEMPLATE, name="Straße"), await created(ann, TEMPLATE, name="other")
    error_of(await ann.post(PROMPTS, json={**TEMPLATE, "name": "STRASSE"}), 409)
    error_of(await ann.put(f"{PROMPTS}/{other['id']}", json={**changeable(other), "name": "strasse"}), 409)
    await created(bob, TEMPLATE, name="strasse")
    await created(ann, LIST, name="strasse")
    assert (await ann.delete(f"{PROMPTS}/{prompt['id']}")).status_code == 204
    error_of(await ann.get(f"{PROMPTS}/{prompt['id']}"), 404)
    await created(ann, TEMPLATE, name="strasse")


async def test_prompts_are_found_by_their_words_kind_and_owner_page_by_page(
    ann: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    word = f"w{ann.headers['Authorization'][-12:].lower()}".replace("_", "x").replace("-", "x")
    await created(bob, TEMPLATE, name=f"Çelik {word}", shared=True, output="video")
    await created(ann, TEMPLATE, name=f"bridge {word}", tags=["İstanbul"])
    await created(ann, TEMPLATE, name="Any", text=f"a bridge, {word}", output=None)
    await created(ann, LIST, name="rain", lines=["drizzle", word])
    assert await names(ann, q=word) == ["Any", f"bridge {word}", "rain", f"Çelik {word}"]
    assert await names(ann, q=f"bridge {word}") == ["Any", f"bridge {word}"]
    assert await names(ann, q=f"istanbul {word}") == [f"bridge {word}"]
    assert await names(ann, q=word, kind="wildcards") == ["rain"]
    assert await names(ann, q=word, kind="template", output="video") == ["Any", f"Çelik {word}"]
    assert await names(ann, q=word, visibility="own") == ["Any", f"bridge {word}", "rain"]
    assert await names(ann, q=word, visibility="shared") == [f"Çelik {word}"]
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"q": word, "limit": "1", **({"cursor": cursor} if cursor else {})}
        answer = (await ann.get(PROMPTS, params=query)).json()
        assert answer["total"] == 4
        found += [prompt["name"] for prompt in answer["items"]]
        cursor = answer["next"]
    assert found == await names(ann, q=word)


async def test_a_user_is_deleted_with_their_prompts(atelier: Studio, bob: httpx.AsyncClient) -> None:
    gone = await new_user(atelier, "gone")
    prompt = await created(gone, TEMPLATE, shared=True)
    assert (await bob.get(f"{PROMPTS}/{prompt['id']}")).status_code == 200
    admin = await atelier.user("admin@studio.example", direct=True)
    user = (await gone.get("/api/v1/users/me")).json()
    assert (await admin.delete(f"/api/v1/users/{user['id']}")).status_code == 204
    error_of(await bob.get(f"{PROMPTS}/{prompt['id']}"), 404)
    error_of(await bob.get(f"{PROMPTS}/{UNKNOWN_ID}"), 404)
