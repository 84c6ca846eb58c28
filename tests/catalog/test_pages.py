"""The models pages: prices, filters, sort orders, and the link from a model to its create form."""

import html
import re

import httpx
import pytest

from app.catalog.prices import free, prices, summary, typical_cost
from app.catalog.schemas import Model, Price
from app.web.render import money
from tests.pages import PageUser
from tests.studio import Browser, Studio


def model(**pricing: str) -> Model:
    return Model(
        id="a/b",
        upstream_id="a/b",
        name="B",
        provider="openrouter",
        description="",
        input_modalities=("text",),
        output_modalities=("text",),
        context_length=None,
        pricing=pricing,
        parameters={},
        route="chat",
    )


def as_text(found: list[Price]) -> list[str]:
    return [f"{money(it.least)}{f' to {money(it.most)}' if it.most > it.least else ''} {it.per}" for it in found]


@pytest.mark.parametrize(
    ("pricing", "text"),
    [
        (
            {"prompt": "0.000003", "completion": "0.000015"},
            ["$3.00 per 1M input tokens", "$15.00 per 1M output tokens"],
        ),
        ({"prompt": "0", "completion": "0", "image_output": "0.00000366"}, ["$3.66 per 1M image output tokens"]),
        ({"image_output": "0.04"}, ["$0.04 per image"]),
        ({"prompt": "0.0000001", "request": "0.0005"}, ["$0.10 per 1M input tokens", "$0.0005 per request"]),
        ({"prompt": "0.000001", "input_cache_read": "0.0000001", "audio": "0.1"}, ["$1.00 per 1M input tokens"]),
        ({"duration_seconds_480p": "0.05", "duration_seconds_1080p": "0.14"}, ["$0.05 to $0.14 per second"]),
        ({"cents_per_second_output": "3.2"}, ["$0.032 per second"]),
        ({"per_video": "0.5"}, ["$0.50 per video"]),
        ({"prompt": "0", "completion": "0"}, []),
        ({}, []),
    ],
)
def test_the_short_price_is_a_summary_of_the_main_prices(pricing: dict[str, str], text: list[str]) -> None:
    assert as_text(summary(model(**pricing))) == text


def test_all_prices_are_listed_with_what_they_depend_on() -> None:
    veo = model(duration_seconds_with_audio="0.40", duration_seconds_without_audio="0.20", duration_seconds_4k="0.6")
    assert as_text(prices(veo)) == [
        "$0.40 per second with audio",
        "$0.20 per second without audio",
        "$0.60 per second at 4k",
    ]
    assert as_text(prices(model(prompt="0", web_search="0.01"))) == [
        "$0.00 per 1M input tokens",
        "$0.01 per web search",
    ]


def test_a_model_is_free_when_all_its_prices_are_zero() -> None:
    assert free(model(prompt="0", completion="0.0"))
    assert not free(model(prompt="0", completion="0.000001"))
    assert not free(model())


def test_prices_can_be_compared_across_kinds_of_output() -> None:
    row = [model(prompt="0"), model(prompt="0.0000003"), model(image_output="0.00003"), model(duration_seconds="0.04")]
    costs = [typical_cost(it) for it in row]
    assert costs == sorted(costs, key=lambda cost: cost or 0)
    assert typical_cost(model()) is None


async def models_page(browser: Browser, query: str = "") -> httpx.Response:
    answer = await browser.get(f"/models{query}")
    assert answer.status_code == 200, answer.text
    return answer


def model_names(answer: httpx.Response) -> list[str]:
    return [html.unescape(name) for name in re.findall(r'<a href="/models/[^"]+">([^<]+)</a>', answer.text)]


async def test_the_pages_are_for_signed_in_users(atelier: Studio) -> None:
    for path in ("/models", "/models/google/veo-3.1"):
        assert (await atelier.direct_browser().get(path)).status_code == 303


async def test_models_are_filtered_and_sorted(viewer: PageUser) -> None:
    browser = viewer.browser
    all_models = model_names(await models_page(browser))
    assert all_models == sorted(all_models, key=str.lower)
    assert len(model_names(await models_page(browser, "?output=video"))) == 4
    assert "MiniMax: Hailuo 2.3 Fast" not in model_names(await models_page(browser, "?output=video&input=text"))
    assert model_names(await models_page(browser, "?q=AUDIO+frame")) == ["Google: Veo 3.1"]
    assert model_names(await models_page(browser, "?provider=unknown")) == []
    assert "Nothing found" in (await models_page(browser, "?q=nothing+has+this")).text
    cheapest = model_names(await models_page(browser, "?sort=price"))
    assert cheapest[0] == "Meta: Llama 3.3 70B Instruct (free)"
    assert cheapest.index("DeepSeek: DeepSeek V4") < cheapest.index("Anthropic: Claude Sonnet 5")
    assert model_names(await models_page(browser, "?sort=context"))[0] == "Google: Gemini 3.5 Flash"
    assert model_names(await models_page(browser, "?sort=nonsense")) == all_models


async def test_prices_are_shown_beside_the_models_and_free_ones_are_marked(viewer: PageUser) -> None:
    browser = viewer.browser
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (await models_page(browser)).text))
    assert "$3.00 per 1M input tokens" in text
    assert "$0.20 to $0.40 per second" in text
    assert re.search(r"Llama 3\.3 70B Instruct \(free\) .{,200} Free ", text)
    assert text.count(" Free ") == 1


async def test_every_model_links_to_a_form_in_which_it_is_selected(viewer: PageUser) -> None:
    browser = viewer.browser
    answer = await models_page(browser)
    forms = [html.unescape(href) for href in re.findall(r'href="(/generate/[^"]+model=[^"]+)"', answer.text)]
    assert len(forms) == len(model_names(answer))
    for form in forms:
        id = httpx.URL(form).params["model"]
        assert f'<option value="{id}" selected>' in (await browser.get(form)).text, form


async def test_the_page_of_a_model_lists_its_parameters(viewer: PageUser) -> None:
    browser = viewer.browser
    answer = await browser.get("/models/google/veo-3.1")
    assert "Aspect ratio" in answer.text
    assert "16:9, 9:16" in answer.text
    assert "per second with audio" in answer.text
    for id in ("no/such", "google/veo-3.1/more", "x%2F..%2Fy"):
        assert (await browser.get(f"/models/{id}")).status_code == 404


async def test_a_search_text_is_escaped(viewer: PageUser) -> None:
    browser = viewer.browser
    answer = await models_page(browser, "?q=%22%3E%3Cscript%3Ex&output=%22&input=%3C&provider=%22&cursor=%00")
    assert "<script>x" not in answer.text
