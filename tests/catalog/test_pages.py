"""The models page: prices in words, filters, orders, and the way from a model to its form."""

import html
import re

import httpx
import pytest

from app.catalog.prices import free, in_short, prices, usual
from app.catalog.schemas import Model, Price
from app.web.render import money
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


def said(found: list[Price]) -> list[str]:
    return [f"{money(it.least)}{f' to {money(it.most)}' if it.most > it.least else ''} {it.per}" for it in found]


@pytest.mark.parametrize(
    ("pricing", "words"),
    [
        (
            {"prompt": "0.000003", "completion": "0.000015"},
            ["$3.00 a million tokens read", "$15.00 a million tokens written"],
        ),
        ({"prompt": "0", "completion": "0", "image_output": "0.00000366"}, ["$3.66 a million picture tokens"]),
        ({"image_output": "0.04"}, ["$0.04 a picture"]),
        ({"prompt": "0.0000001", "request": "0.0005"}, ["$0.10 a million tokens read", "$0.0005 a request"]),
        ({"prompt": "0.000001", "input_cache_read": "0.0000001", "audio": "0.1"}, ["$1.00 a million tokens read"]),
        ({"duration_seconds_480p": "0.05", "duration_seconds_1080p": "0.14"}, ["$0.05 to $0.14 a second"]),
        ({"cents_per_second_output": "3.2"}, ["$0.032 a second"]),
        ({"per_video": "0.5"}, ["$0.50 a video"]),
        ({"prompt": "0", "completion": "0"}, []),
        ({}, []),
    ],
)
def test_a_price_in_short_is_what_matters_for_a_choice(pricing: dict[str, str], words: list[str]) -> None:
    assert said(in_short(model(**pricing))) == words


def test_all_prices_are_told_with_what_they_depend_on() -> None:
    veo = model(duration_seconds_with_audio="0.40", duration_seconds_without_audio="0.20", duration_seconds_4k="0.6")
    assert said(prices(veo)) == ["$0.40 a second with sound", "$0.20 a second without sound", "$0.60 a second at 4k"]
    assert said(prices(model(prompt="0", web_search="0.01"))) == [
        "$0.00 a million tokens read",
        "$0.01 a search of the web",
    ]


def test_free_is_what_is_known_to_cost_nothing() -> None:
    assert free(model(prompt="0", completion="0.0"))
    assert not free(model(prompt="0", completion="0.000001"))
    assert not free(model())


def test_what_is_cheap_can_be_told_across_kinds() -> None:
    row = [model(prompt="0"), model(prompt="0.0000003"), model(image_output="0.00003"), model(duration_seconds="0.04")]
    costs = [usual(it) for it in row]
    assert costs == sorted(costs, key=lambda cost: cost or 0)
    assert usual(model()) is None


async def _get(browser: Browser, query: str = "") -> httpx.Response:
    answer = await browser.get(f"/models{query}")
    assert answer.status_code == 200, answer.text
    return answer


def _names(answer: httpx.Response) -> list[str]:
    return [html.unescape(name) for name in re.findall(r'<a href="/models/[^"]+">([^<]+)</a>', answer.text)]


async def test_the_page_is_for_whoever_is_signed_in(studio: Studio) -> None:
    nobody = studio.browser()
    for path in ("/models", "/models/google/veo-3.1"):
        assert (await nobody.get(path)).status_code == 303


async def test_models_are_filtered_and_put_in_order(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    everything = _names(await _get(browser))
    assert everything == sorted(everything, key=str.lower)
    assert len(_names(await _get(browser, "?output=video"))) == 4
    assert "MiniMax: Hailuo 2.3 Fast" not in _names(await _get(browser, "?output=video&input=text"))
    assert _names(await _get(browser, "?q=SOUND+clips")) == ["Google: Veo 3.1"]
    assert _names(await _get(browser, "?provider=nobody")) == []
    assert "Nothing found" in (await _get(browser, "?q=nothing+has+this")).text
    cheapest = _names(await _get(browser, "?sort=price"))
    assert cheapest[0] == "Meta: Llama 3.3 70B Instruct (free)"
    assert cheapest.index("DeepSeek: DeepSeek V4") < cheapest.index("Anthropic: Claude Sonnet 5")
    assert _names(await _get(browser, "?sort=context"))[0] == "Google: Gemini 3.5 Flash"
    assert _names(await _get(browser, "?sort=nonsense")) == everything


async def test_prices_stand_beside_the_models_and_free_ones_are_marked(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (await _get(browser)).text))
    assert "$3.00 a million tokens read" in text
    assert "$0.20 to $0.40 a second" in text
    assert re.search(r"Llama 3\.3 70B Instruct \(free\) .{,200} Free ", text)
    assert text.count(" Free ") == 1


async def test_every_model_leads_to_a_form_in_which_it_is_chosen(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    answer = await _get(browser)
    forms = [html.unescape(href) for href in re.findall(r'href="(/generate/[^"]+model=[^"]+)"', answer.text)]
    assert len(forms) == len(_names(answer))
    for form in forms:
        id = httpx.URL(form).params["model"]
        assert f'<option value="{id}" selected>' in (await browser.get(form)).text, form


async def test_a_page_of_one_model_tells_what_can_be_set(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    answer = await browser.get("/models/google/veo-3.1")
    assert "Aspect ratio" in answer.text
    assert "16:9, 9:16" in answer.text
    assert "a second with sound" in answer.text
    for id in ("no/such", "google/veo-3.1/more", "x%2F..%2Fy"):
        assert (await browser.get(f"/models/{id}")).status_code == 404


async def test_what_is_searched_for_is_never_taken_for_markup(studio: Studio) -> None:
    browser = await studio.person_in_browser()
    answer = await _get(browser, "?q=%22%3E%3Cscript%3Ex&output=%22&input=%3C&provider=%22&cursor=%00")
    assert "<script>x" not in answer.text
