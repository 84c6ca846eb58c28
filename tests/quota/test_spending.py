"""What was spent is told by the ledger, wherever it is told: jobs and answers, deleted ones too, and nothing that is not
known."""

import re
from decimal import Decimal

import httpx

from app.base.money import nano_dollars
from app.web.render import money
from tests.api.kit import TEXT, pictured
from tests.studio import Browser, Studio


async def _month(client: httpx.AsyncClient) -> Decimal:
    months = (await client.get("/api/v1/users/me/spending")).json()
    return sum((Decimal(month["spent_usd"]) for month in months["items"]), Decimal(0))


async def _shown(browser: Browser, path: str) -> str | None:
    """The figure beside the word on a page, as in `$0.04`."""
    page = (await browser.get(path)).text.partition("<main")[2]
    found = re.search(r"(?i)>spent<.*?(\$[0-9.]+)", page, re.DOTALL)
    return found[1] if found else None


async def test_the_dashboard_and_the_admins_figures_agree_with_the_ledger(studio: Studio) -> None:
    ann, browser = await studio.person(), await studio.person_in_browser()
    bob = await studio.person("bob@studio.example")
    assert await _shown(browser, "/") is None, "nothing is known, which is not 0"
    assert (await ann.get("/api/v1/admin/stats")).json()["cost_usd"] is None
    question = {"model": TEXT, "messages": [{"role": "user", "content": "Hello " * 2000}]}
    answer = (await ann.post("/api/v1/ai/chat", json=question)).json()
    kept, deleted = await pictured(ann), await pictured(ann)
    await browser.send_form(f"/jobs/{deleted['id']}/delete")
    theirs = await pictured(bob)
    mine = sum((Decimal(it["cost_usd"]) for it in (answer, kept, deleted)), Decimal(0))
    assert mine > 2 * Decimal(kept["cost_usd"])
    assert await _month(ann) == mine
    assert await _shown(browser, "/") == money(nano_dollars(mine))
    everybody = mine + Decimal(theirs["cost_usd"])
    assert Decimal((await ann.get("/api/v1/admin/stats")).json()["cost_usd"]) == everybody
    assert await _shown(browser, "/admin") == money(nano_dollars(everybody))
