"""Every search finds a word in any letter case of its own spelling."""

import httpx

from tests.kit import TEXT_MODEL, Cases, new_user, png
from tests.studio import Studio

WRITTEN, TYPED = "Straße nach İzmir, οδός cafe\u0301", ("STRASSE", "izmir", "ΟΔΌΣ", "CAFÉ")


async def total(client: httpx.AsyncClient, path: str, q: str) -> int:
    answer = await client.get(path, params={"q": q})
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["total"]
    return found


async def test_every_search_finds_a_word_in_any_letter_case(atelier: Studio) -> None:
    admin, user = await atelier.user("admin@studio.example"), await new_user(atelier)
    mark = (await user.get("/api/v1/users/me")).json()["id"][-8:]
    renamed = await user.put("/api/v1/users/me", json={"name": f"{WRITTEN} {mark}"})
    assert renamed.status_code == 200, renamed.text
    uploaded = await user.post("/api/v1/assets", files={"file": (f"{WRITTEN} {mark}.png", png(), "image/png")})
    assert uploaded.status_code == 201, uploaded.text
    made = await user.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": f"{WRITTEN} {mark}"})
    assert made.status_code == 200, made.text
    with Cases() as cases:
        for word in TYPED:
            with cases.case(ascii(word)):
                assert await total(user, "/api/v1/assets", f"{word} {mark}") == 1
                assert await total(admin, "/api/v1/admin/jobs", f"{word} {mark}") == 1
                assert await total(admin, "/api/v1/users", word) == 1
