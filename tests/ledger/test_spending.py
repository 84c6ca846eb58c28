"""All displayed costs equal the ledger: jobs and chat answers, including deleted ones, without unknown costs."""

import re
from decimal import Decimal

import httpx

from app.base.money import nano_dollars
from app.web.render import money
from tests.kit import TEXT_MODEL, generated_image
from tests.studio import Browser, Studio


async def api_total(client: httpx.AsyncClient) -> Decimal:
    """The sum of all months."""
    months = (await client.get("/api/v1/users/me/spending")).json()
    return sum((Decimal(month["spent_usd"]) for month in months["items"]), Decimal(0))


async def page_total(browser: Browser, path: str) -> str | None:
    """The amount on the page, as in `$0.04`."""
    page = (await browser.get(path)).text.partition("<main")[2]
    found = re.search(r"(?i)>spent(?:, simulated)?<.*?(\$[0-9.]+)", page, re.DOTALL)
    return found[1] if found else None


async def test_the_dashboard_and_the_admin_statistics_agree_with_the_ledger(studio: Studio) -> None:
    ann, browser = await studio.user(direct=True), await studio.user_in_browser(direct=True)
    bob = await studio.user("bob@studio.example", direct=True)
    assert await page_total(browser, "/") is None, "an unknown amount is not 0"
    assert (await ann.get("/api/v1/admin/stats")).json()["cost_usd"] is None
    question = {"model": TEXT_MODEL, "messages": [{"role": "user", "content": "Hello " * 2000}]}
    answer = (await ann.post("/api/v1/ai/chat", json=question)).json()
    kept, deleted = await generated_image(ann), await generated_image(ann)
    await browser.send_form(f"/jobs/{deleted['id']}/delete")
    other = await generated_image(bob)
    own = sum((Decimal(subject["cost_usd"]) for subject in (answer, kept, deleted)), Decimal(0))
    assert own > 2 * Decimal(kept["cost_usd"])
    assert await api_total(ann) == own
    assert await page_total(browser, "/") == money(nano_dollars(own))
    total = own + Decimal(other["cost_usd"])
    assert Decimal((await ann.get("/api/v1/admin/stats")).json()["cost_usd"]) == total
    assert await page_total(browser, "/admin") == money(nano_dollars(total))
