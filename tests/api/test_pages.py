"""The pages as HTTP sees them: doors, forms, fragments, headers. What only a browser can show stands in `tests/journeys`."""

import re
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.api.html import Element, read
from tests.api.kit import (
    CLIP,
    COUNTED,
    FRAMED,
    INVENTED,
    PICTURE,
    SHORT,
    TEXT,
    Json,
    asked_clip,
    email,
    eventually,
    person,
    pictured,
    png,
    read_job,
    submits,
    uploaded,
    watched,
)
from tests.studio import PASSWORD, Browser, Studio

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}
PRIVATE_PAGES = [
    "/generate",
    "/generate/text",
    "/generate/image",
    "/generate/video",
    "/generate/video?mode=picture",
    "/library",
    "/library?kind=video&q=a%20b",
    "/jobs",
    f"/jobs/{INVENTED}",
    f"/jobs/{INVENTED}/card",
]
POSTS = [
    "/login",
    "/register",
    "/logout",
    "/theme",
    "/generate/text",
    "/generate/image",
    "/generate/video",
    "/library",
    "/library/{asset}/delete",
    "/library/{asset}/restore",
    "/jobs/{job}/cancel",
    "/jobs/{job}/retry",
    "/jobs/{job}/delete",
    "/jobs/{job}/restore",
]


class Visitor:
    """Somebody signed in both ways: the browser under test and, beside it, the API to look behind the page."""

    def __init__(self, address: str, browser: Browser, client: httpx.AsyncClient) -> None:
        self.address = address
        self.browser = browser
        self.client = client

    async def page(self, path: str) -> Element:
        answer = await self.browser.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.headers.get('location')}"
        assert answer.headers["content-type"].startswith("text/html")
        return read(answer.text)

    async def send(self, kind: str, htmx: bool = False, **form: str) -> httpx.Response:
        """Fill the create form of `kind` in and send it, as a browser with or without htmx does."""
        query = {key: form[key] for key in ("mode", "model") if key in form}
        page = await self.page(f"/generate/{kind}?" + "&".join(f"{key}={quote(it)}" for key, it in query.items()))
        filled = {**page.one("form", id="create").values(), **form}
        headers = FRAGMENT if htmx else {}
        return await self.browser.send_form(f"/generate/{kind}", filled, headers=headers)

    async def jobs(self) -> list[Json]:
        items: list[Json] = (await self.client.get("/api/v1/jobs")).json()["items"]
        return items

    async def ended(self, job_id: str) -> Json:
        return await eventually(lambda: read_job(self.client, job_id), lambda job: job["completed_at"] is not None)


async def visit(atelier: Studio) -> Visitor:
    address = email("visitor")
    browser = await atelier.person_in_browser(address)
    person = {"email": address, "password": PASSWORD}
    tokens = await atelier.client().post("/api/v1/auth/login", json=person)
    return Visitor(address, browser, atelier.client(tokens.json()["access_token"]))


@pytest_asyncio.fixture
async def visitor(atelier: Studio) -> Visitor:
    return await visit(atelier)


@pytest_asyncio.fixture(scope="module")
async def looker(atelier: Studio) -> Visitor:
    """Somebody with something of everything, who only looks."""
    someone = await visit(atelier)
    await someone.client.post("/api/v1/generate/text", json={"model": TEXT, "prompt": "a text"})
    await pictured(someone.client)
    await someone.ended((await asked_clip(someone.client))["id"])
    return someone


# Doors


@pytest.mark.parametrize("path", PRIVATE_PAGES)
async def test_signed_out_a_page_leads_to_signing_in_and_back(atelier: Studio, path: str) -> None:
    answer = await atelier.browser().get(path)
    assert answer.status_code == 303
    where = urlsplit(answer.headers["location"])
    assert (where.scheme, where.netloc, where.path) == ("", "", "/login")
    assert parse_qs(where.query)["next"] == [path]


async def test_signing_in_leads_back_to_the_page_that_was_asked_for(atelier: Studio) -> None:
    address = email()
    await atelier.person(address)
    browser = atelier.browser()
    asked = "/library?kind=video&q=a b"
    sent_away = await browser.get("/library", params={"kind": "video", "q": "a b"})
    page = read((await browser.get(sent_away.headers["location"])).text)
    form = page.one("form", action="/login")
    filled = {**form.values(), "email": address, "password": PASSWORD}
    answer = await browser.post("/login", data=filled)
    assert answer.status_code == 303
    assert answer.headers["location"].replace("%20", " ").replace("+", " ") == asked
    assert (await browser.get(answer.headers["location"])).status_code == 200


async def test_registering_signs_in_and_leads_back_too(atelier: Studio) -> None:
    browser = atelier.browser()
    page = read((await browser.get("/register", params={"next": "/jobs?limit=5"})).text)
    form = page.one("form", action="/register")
    filled = {**form.values(), "email": email(), "password": PASSWORD, "name": "Ann"}
    answer = await browser.post("/register", data=filled)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?limit=5")
    assert (await browser.get("/jobs")).status_code == 200


TRICKS = [
    "https://evil.example/",
    "http://evil.example",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/\n/evil.example",
    "https:evil.example",
    "https:/evil.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,x",
    "/%09/evil.example",
    "/%5cevil.example",
    "/..//evil.example",
    "/.//evil.example",
    "evil.example",
    "@evil.example",
    "/@evil.example/../..//evil.example",
    "/jobs\r\nSet-Cookie: a=b",
    "/jobs\r\n\r\n<script>",
    "http:///evil.example",
    "////evil.example",
    "/\u2028/evil.example",
    "/\x00/evil.example",
    "／／evil.example",
    "/login",
    "/logout",
    "x" * 10_000,
]


@pytest.mark.parametrize("trick", TRICKS, ids=lambda value: repr(value)[:30])
async def test_next_never_leads_to_another_place(atelier: Studio, looker: Visitor, trick: str) -> None:
    browser = atelier.browser()
    form = {"email": looker.address, "password": PASSWORD, "next": trick}
    answers = [await browser.get("/login", params={"next": trick})]
    answers.append(await browser.get("/register", params={"next": trick}))
    answers.append(await browser.send_form("/login", form))
    answers.append(await browser.get("/login", params={"next": trick}))  # signed in already
    answers.append(await browser.get("/register", params={"next": trick}))
    if trick in TRICKS[:4]:
        newcomer = {**form, "email": email()}
        answers.append(await atelier.browser().send_form("/register", newcomer))
    for answer in answers:
        assert answer.status_code in (200, 303)
        assert "a=b" not in answer.headers.get("set-cookie", "")
        if answer.status_code == 303:
            where = answer.headers["location"]
            assert re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", where), where
            assert "evil.example" not in (urlsplit(str(answer.url.join(where))).netloc)
            # A browser drops tabs and newlines and reads a backslash as a slash.
            assert not re.sub(r"[\t\r\n]", "", where).replace("\\", "/").startswith("//")
        else:
            for link in read(answer.text).all("a"):
                assert link.get("href", "/").startswith(("/", "#", "?"))
                assert not link.get("href", "/").startswith(("//", "/\\"))


@pytest.mark.parametrize("path", ["/jobs", f"/jobs/{INVENTED}/card", "/generate/image/fields", "/library?cursor=x"])
async def test_signed_out_a_fragment_is_401_and_sends_the_whole_page_to_sign_in(atelier: Studio, path: str) -> None:
    headers = {**FRAGMENT, "HX-Current-URL": f"{atelier.url}/jobs"}
    answer = await atelier.browser().get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"].startswith("/login")
    assert "location" not in answer.headers


async def test_signed_out_a_boosted_page_is_redirected_like_any_page(atelier: Studio) -> None:
    headers = {"HX-Request": "true", "HX-Request-Type": "full", "HX-Boosted": "true"}
    assert (await atelier.browser().get("/jobs", headers=headers)).status_code == 303


async def test_the_start_page_is_the_dashboard_for_who_is_signed_in(atelier: Studio, looker: Visitor) -> None:
    page = await looker.page("/")
    assert page.all("form", action="/generate/image")
    outside = await atelier.browser().get("/")
    assert outside.status_code in (200, 303)
    if outside.status_code == 303:
        assert outside.headers["location"].startswith("/login")


async def test_the_keys_are_listed_one_way_to_go_in_each_line(looker: Visitor) -> None:
    keys = (await looker.page("/jobs")).one("dialog", id="keys")
    ways = [[key.text for key in line.all("kbd")] for line in keys.all("dd")]
    assert [way[1] for way in ways if way[0] == "g"] == ["t", "i", "v", "c", "l", "j", "s"]
    assert max(map(len, ways)) == 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing-here", 404),
        ("GET", "/media/x/y/z", 404),
        ("GET", f"/jobs/{INVENTED}", 404),
        ("DELETE", "/library", 405),
        ("GET", "/logout", 405),
    ],
)
async def test_where_nothing_is_who_is_signed_in_finds_the_way_on(
    atelier: Studio, looker: Visitor, method: str, path: str, status: int
) -> None:
    answer = await looker.browser.request(method, path)
    assert answer.status_code == status
    page = read(answer.text)
    assert [link["href"] for link in page.one("ul", **{"class": "places"}).all("a")][:2] == ["/generate", "/chat"]
    assert page.one(id="account").all("form", action="/logout")
    assert looker.address in page.one(id="account").text
    stranger = await atelier.browser().request(method, path)
    assert "places" not in stranger.text
    assert stranger.status_code in (status, 303)


async def test_a_lost_program_is_told_nothing_about_anybody(looker: Visitor) -> None:
    answer = await looker.browser.get("/api/v1/nothing-here")
    assert answer.json() == {
        "error": {"code": "RESOURCE_NOT_FOUND", "message": "There is nothing at this address.", "details": {}}
    }


async def test_generate_leads_to_one_of_its_tabs(looker: Visitor) -> None:
    answer = await looker.browser.get("/generate")
    assert answer.status_code in (301, 302, 303, 307, 308)
    assert answer.headers["location"] in ("/generate/text", "/generate/image", "/generate/video")


async def test_signing_out_ends_the_session_at_once(visitor: Visitor, atelier: Studio) -> None:
    thief = atelier.browser()
    thief.cookies = httpx.Cookies(visitor.browser.cookies)
    assert (await thief.get("/jobs")).status_code == 200
    answer = await visitor.browser.send_form("/logout")
    assert answer.status_code == 303
    assert (await visitor.browser.get("/jobs")).status_code == 303
    assert (await thief.get("/jobs")).status_code == 303


async def test_the_session_cookie_is_closed_to_scripts_and_other_sites(atelier: Studio) -> None:
    browser = atelier.browser()
    answer = await browser.send_form("/register", {"email": email(), "password": PASSWORD})
    [cookie] = [line for line in answer.headers.get_list("set-cookie") if line.startswith("session=")]
    lowered = cookie.lower()
    assert "httponly" in lowered
    assert "samesite=lax" in lowered or "samesite=strict" in lowered
    assert "path=/" in lowered
    age = re.search(r"max-age=(\d+)", lowered)
    assert age
    assert int(age[1]) == 30 * 24 * 3600
    assert "secure" not in lowered  # the address is http


async def test_signing_in_gives_a_new_session_and_garbled_ones_open_nothing(atelier: Studio) -> None:
    browser = atelier.browser()
    for value in ("x", "", "' or 1=1", "0" * 64, "a" * 5000):
        assert (await browser.get("/jobs", headers={"Cookie": f"session={value}"})).status_code == 303


@pytest.mark.parametrize("wrong", ["password", "email"])
async def test_a_refused_sign_in_keeps_the_address_and_never_the_password(
    atelier: Studio, looker: Visitor, wrong: str
) -> None:
    browser = atelier.browser()
    address = looker.address if wrong == "password" else email("unknown")
    form = {"email": address, "password": "not the password", "next": "/jobs"}
    answer = await browser.send_form("/login", form)
    assert answer.status_code in (400, 401)
    page = read(answer.text)
    assert page.one("input", name="email")["value"] == address
    assert page.one("input", name="next")["value"] == "/jobs"
    assert "value" not in page.one("input", name="password").attributes
    assert "not the password" not in answer.text
    assert page.all(role="alert")
    assert "session" not in browser.cookies


EVIL = "\"><script>alert(1)</script>'&lt;{{7*7}}"


def told(page: Element, field: Element) -> str:
    """The sentence beside a field that is wrong."""
    assert field["aria-invalid"] == "true"
    [said] = [page.one(id=place).text for place in field["aria-describedby"].split() if place.endswith("-error")]
    return said


@pytest.mark.parametrize(
    ("field", "form"),
    [
        ("email", {"email": EVIL, "name": EVIL, "password": PASSWORD}),
        ("password", {"email": "x@studio.example", "name": EVIL, "password": "tiny"}),
        ("name", {"email": "x@studio.example", "name": EVIL * 100, "password": PASSWORD}),
    ],
)
async def test_a_refused_registration_keeps_what_was_typed_and_names_the_field(
    atelier: Studio, field: str, form: dict[str, str]
) -> None:
    answer = await atelier.browser().send_form("/register", form)
    assert answer.status_code == 400
    assert "<script>alert" not in answer.text
    page = read(answer.text)
    assert page.one("input", name="email")["value"] == form["email"]
    assert page.one("input", name="name")["value"] == form["name"]
    assert form["password"] not in answer.text
    sentence = told(page, page.one("input", name=field))
    assert sentence[0].isupper(), sentence


async def test_an_address_that_is_taken_is_told_beside_its_field(atelier: Studio, looker: Visitor) -> None:
    form = {"email": looker.address.upper(), "name": "", "password": PASSWORD}
    answer = await atelier.browser().send_form("/register", form)
    assert answer.status_code == 409
    page = read(answer.text)
    assert page.one("input", name="email")["value"] == form["email"]
    assert page.all(class_="error") or page.all(role="alert")


# Forms and CSRF


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("token", [None, "0" * 64, "anothers"])
async def test_a_form_without_its_token_is_403_and_does_nothing(
    atelier: Studio, looker: Visitor, path: str, token: str | None
) -> None:
    job = (await looker.jobs())[0]
    asset = (await looker.client.get("/api/v1/assets")).json()["items"][0]
    before = (await looker.jobs(), (await looker.client.get("/api/v1/assets")).json())
    address = path.format(job=job["id"], asset=asset["id"])
    form = {"email": email(), "password": PASSWORD, "model": TEXT, "prompt": "x", "mode": "words", "theme": "dark"}
    if token == "anothers":  # right for another browser
        token = await atelier.browser().form_token("/login")
    if token is not None:
        form["_csrf_token"] = token
    for browser in (looker.browser, atelier.browser()):
        answer = await browser.post(address, data=form)
        assert answer.status_code == 403, path
        assert answer.headers["content-type"].startswith("text/html")
        fragment = await browser.post(address, data=form, headers=FRAGMENT)
        assert fragment.status_code == 403
    assert before == (await looker.jobs(), (await looker.client.get("/api/v1/assets")).json())
    assert (await looker.browser.get("/jobs")).status_code == 200


async def test_every_form_of_every_page_carries_the_token(atelier: Studio, looker: Visitor) -> None:
    job = (await looker.jobs())[0]
    paths = ["/", "/generate/text", "/generate/image", "/generate/video", "/library", "/jobs", f"/jobs/{job['id']}"]
    pages = [await looker.page(path) for path in paths]
    pages += [read((await atelier.browser().get(path)).text) for path in ("/login", "/register")]
    for page in pages:
        forms = [form for form in page.all("form") if form.get("method").lower() == "post"]
        assert forms
        for form in forms:
            token = [field for field in form.all() if field.get("name") == "_csrf_token" and field.get("value")]
            assert token, form["action"]


async def test_a_token_in_the_header_is_as_good(visitor: Visitor) -> None:
    token = await visitor.browser.form_token("/jobs")
    answer = await visitor.browser.post(
        "/theme", data={"theme": "dark", "next": "/jobs"}, headers={"X-CSRFToken": token}
    )
    assert answer.status_code in (200, 204, 303)


@pytest.mark.parametrize("door", ["json body", "other form of body"])
async def test_a_form_that_is_no_form_is_no_bug(visitor: Visitor, door: str) -> None:
    token = await visitor.browser.form_token("/jobs")
    headers = {"X-CSRFToken": token, "Content-Type": "application/json" if door == "json body" else "text/plain"}
    answer = await visitor.browser.post("/generate/text", content=b'{"model": "x"}', headers=headers)
    assert answer.status_code in (400, 415)


# The create page


def offered(form: Element, name: str) -> list[str]:
    return [
        option.get("value", option.text)
        for option in form.one("select", name=name).all("option")
        if option.get("value", option.text)
    ]


@pytest.mark.parametrize("kind", ["text", "image", "video"])
async def test_only_models_that_make_it_are_offered(looker: Visitor, kind: str) -> None:
    form = (await looker.page(f"/generate/{kind}")).one("form", id="create")
    able = (await looker.client.get("/api/v1/ai/models", params={"output": kind, "limit": 100})).json()["items"]
    offered_models = offered(form, "model")
    assert offered_models
    assert set(offered_models) <= {model["id"] for model in able}
    # A model that makes pictures and words may be left out of the page for words, but not the other way round.
    assert {
        model["id"] for model in able if model["output_modalities"] == [kind] and "text" in model["input_modalities"]
    } <= set(offered_models)


@pytest.mark.parametrize(
    ("kind", "model", "mode"),
    [
        ("image", PICTURE, "words"),
        ("image", COUNTED, "words"),
        ("image", "openai/gpt-image-2", "words"),
        ("video", CLIP, "words"),
        ("video", FRAMED, "words"),
        ("video", FRAMED, "picture"),
        ("video", "google/veo-3.1", "words"),
        ("text", TEXT, "words"),
    ],
)
async def test_a_form_offers_exactly_what_the_model_accepts(looker: Visitor, kind: str, model: str, mode: str) -> None:
    page = await looker.page(f"/generate/{kind}?mode={mode}&model={quote(model, safe='')}")
    form = page.one("form", id="create")
    assert form.values()["model"] == model
    found = (await looker.client.get("/api/v1/ai/models", params={"q": model, "limit": 100})).json()["items"]
    [schema] = [one["parameters"] for one in found if one["id"] == model]
    own = {
        "_csrf_token",
        "mode",
        "model",
        "prompt",
        "system_prompt",
        "source",
        "picture",
        "image_url",
        "image_asset_id",
        "idempotency_key",
    }
    named = {field["name"] for field in form.all() if field.get("name")} - own
    assert named <= set(schema["properties"])
    for name in ("aspect_ratio", "resolution", "duration", "size", "n", "image_size"):
        assert (name in named) == (name in schema["properties"]), name
    for name in named:
        rule = schema["properties"][name]
        if "enum" in rule:
            assert offered(form, name) == [str(value) for value in rule["enum"]]
        elif rule["type"] == "integer":
            field = form.one("input", name=name)
            assert field["type"] == "number"
            assert float(field["min"]) == rule["minimum"]
            assert float(field["max"]) == rule["maximum"]


async def test_changing_the_model_changes_the_fields(looker: Visitor) -> None:
    for model, duration in ((FRAMED, ["2", "3", "5", "10"]), ("google/veo-3.1", ["4", "6", "8"])):
        answer = await looker.browser.get("/generate/video/fields", params={"model": model}, headers=FRAGMENT)
        assert answer.status_code == 200
        assert "<html" not in answer.text
        fields = read(answer.text).one(id="fields")
        assert offered(fields, "duration") == duration


async def test_picture_to_video_offers_only_models_that_take_a_picture_and_three_ways_to_give_one(
    looker: Visitor,
) -> None:
    form = (await looker.page("/generate/video?mode=picture")).one("form", id="create")
    assert CLIP not in offered(form, "model")
    assert FRAMED in offered(form, "model")
    assert form["enctype"] == "multipart/form-data"
    assert form.one("input", name="picture")["type"] == "file"
    assert form.all("input", name="image_asset_id")  # the pictures in the library
    assert form.one("input", name="image_url")
    words = (await looker.page("/generate/video")).one("form", id="create")
    assert not words.all("input", name="picture")


@pytest.mark.parametrize(
    "query",
    [
        "model=no/such-model",
        "mode=nonsense",
        "from=x",
        f"from={INVENTED}",
        "asset=x",
        "prompt=%00",
        "prompt=%ff",
        "model=%F0%9F",
        "mode=picture&asset=%27",
    ],
)
@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_strange_address_of_the_create_page_is_no_bug(looker: Visitor, kind: str, query: str) -> None:
    answer = await looker.browser.get(f"/generate/{kind}?{query}")
    assert answer.status_code in (200, 303, 400, 404), answer.status_code


async def test_a_prompt_in_the_address_is_filled_in_as_text(looker: Visitor) -> None:
    page = await looker.browser.get("/generate/image", params={"prompt": EVIL + "</textarea>"})
    assert "<script>alert" not in page.text
    assert read(page.text).one("form", id="create").values()["prompt"] == EVIL + "</textarea>"


# From form to card


def card(text: str) -> Element:
    """The one root element of the fragment, which is a job card."""
    roots = read(text).children
    articles = [root for root in roots if root.tag == "article"]
    assert len(articles) == 1, [root.tag for root in roots]
    assert articles[0]["id"].startswith("job-")
    return articles[0]


async def test_with_htmx_the_answer_is_the_card_which_polls_until_the_job_ends(visitor: Visitor) -> None:
    answer = await visitor.send(
        "video", htmx=True, model=CLIP, prompt="a lighthouse", **{key: str(it) for key, it in SHORT.items()}
    )
    assert answer.status_code == 200, answer.text[:500]
    assert "<html" not in answer.text
    fresh = card(answer.text)
    [job] = await visitor.jobs()
    assert fresh["id"] == f"job-{job['id']}"
    assert fresh["hx-get"] == f"/jobs/{job['id']}/card"
    assert "every 5s" in fresh["hx-trigger"]
    assert "a lighthouse" in fresh.text

    await visitor.ended(job["id"])
    done = await visitor.browser.get(f"/jobs/{job['id']}/card", headers=FRAGMENT)
    assert done.status_code == 200
    last = card(done.text)
    assert last["id"] == fresh["id"]
    assert "hx-get" not in last.attributes
    assert "hx-trigger" not in last.attributes
    assert "every" not in done.text
    clip = last.one("video")
    assert "controls" in clip.attributes
    media = await visitor.browser.get(clip["src"])
    assert media.status_code == 200
    assert watched(media.content)[0] == "h264"


@pytest.mark.parametrize("kind", ["text", "image", "video"])
async def test_without_htmx_the_answer_leads_to_the_job_page(visitor: Visitor, kind: str) -> None:
    model = {"text": TEXT, "image": PICTURE, "video": CLIP}[kind]
    answer = await visitor.send(kind, model=model, prompt=f"a {kind} of a lighthouse")
    [job] = await visitor.jobs()
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job['id']}")
    assert (job["kind"], job["prompt"]) == (kind, f"a {kind} of a lighthouse")
    page = await visitor.page(f"/jobs/{job['id']}")
    assert f"a {kind} of a lighthouse" in page.one(id=f"job-{job['id']}").text


async def test_the_job_page_refreshes_itself_without_scripts_only_while_the_job_goes_on(visitor: Visitor) -> None:
    job = await asked_clip(visitor.client, "[stuck] a lighthouse")
    unfinished = await visitor.page(f"/jobs/{job['id']}")
    [refresh] = [
        meta
        for noscript in unfinished.all("noscript")
        for meta in noscript.all("meta")
        if meta.get("http-equiv") == "refresh"
    ]
    assert refresh["content"].split(";")[0].isdigit()
    assert "every 5s" in unfinished.one(id=f"job-{job['id']}")["hx-trigger"]
    await visitor.client.post(f"/api/v1/jobs/{job['id']}/cancel")
    finished = await visitor.page(f"/jobs/{job['id']}")
    assert not [meta for meta in finished.all("meta") if meta.get("http-equiv") == "refresh"]
    assert "hx-trigger" not in finished.one(id=f"job-{job['id']}").attributes


async def test_what_is_typed_is_never_lost_to_a_refresh(looker: Visitor) -> None:
    for path in ("/generate/text", "/generate/image", "/generate/video", "/", "/library", "/jobs"):
        page = await looker.page(path)
        assert not [meta for meta in page.all("meta") if meta.get("http-equiv") == "refresh"], path


async def test_a_failed_card_says_in_a_sentence_what_happened_and_offers_a_retry(visitor: Visitor) -> None:
    job = await visitor.ended((await asked_clip(visitor.client, "[refuse] a lighthouse"))["id"])
    failed = card((await visitor.browser.get(f"/jobs/{job['id']}/card", headers=FRAGMENT)).text)
    assert job["error"]["message"] in failed.text
    assert failed.all("form", action=f"/jobs/{job['id']}/retry")
    assert "hx-trigger" not in failed.attributes
    answer = await visitor.browser.send_form(f"/jobs/{job['id']}/retry")
    assert answer.status_code == 303
    assert len(await visitor.jobs()) == 2
    again = await visitor.browser.send_form(f"/jobs/{job['id']}/retry", headers=FRAGMENT)
    assert again.status_code == 200
    assert card(again.text)["id"] != f"job-{job['id']}"


async def test_a_job_is_cancelled_on_its_card(visitor: Visitor) -> None:
    job = await asked_clip(visitor.client, "[stuck] a lighthouse")
    shown = card((await visitor.browser.get(f"/jobs/{job['id']}/card", headers=FRAGMENT)).text)
    assert shown.all("form", action=f"/jobs/{job['id']}/cancel")
    answer = await visitor.browser.send_form(f"/jobs/{job['id']}/cancel", headers=FRAGMENT)
    assert answer.status_code == 200
    cancelled = card(answer.text)
    assert "Cancelled" in cancelled.text
    assert "hx-trigger" not in cancelled.attributes
    again = await visitor.browser.send_form(f"/jobs/{job['id']}/cancel")
    assert again.status_code == 409
    assert "<html" in again.text


async def test_a_strangers_job_is_exactly_as_absent_as_an_invented_one(visitor: Visitor, looker: Visitor) -> None:
    job = (await looker.jobs())[0]
    asset = (await looker.client.get("/api/v1/assets")).json()["items"][0]
    number = re.compile(r"[0-9a-f]{32,64}")
    for template, owned in [
        ("/jobs/{}", job),
        ("/jobs/{}/card", job),
        ("/library/{}", asset),
    ]:
        for headers in ({}, FRAGMENT):
            stranger = await visitor.browser.get(template.format(owned["id"]), headers=headers)
            nobody = await visitor.browser.get(template.format(INVENTED), headers=headers)
            assert stranger.status_code == nobody.status_code == 404
            assert number.sub("", stranger.text) == number.sub("", nobody.text)
            assert ("<html" in stranger.text) == (headers != FRAGMENT)
    for template, owned in [
        ("/jobs/{}/cancel", job),
        ("/jobs/{}/retry", job),
        ("/jobs/{}/delete", job),
        ("/jobs/{}/restore", job),
        ("/library/{}/delete", asset),
        ("/library/{}/restore", asset),
    ]:
        answers = [await visitor.browser.send_form(template.format(it)) for it in (owned["id"], INVENTED)]
        assert [answer.status_code for answer in answers] == [404, 404], template
        assert len({number.sub("", answer.text) for answer in answers}) == 1
    assert (await looker.client.get(asset["url"])).status_code == 200
    for template, owned in [("/generate/image?from={}", job), ("/generate/video?mode=picture&asset={}", asset)]:
        pages = [await visitor.browser.get(template.format(it)) for it in (owned["id"], INVENTED)]
        assert pages[0].status_code == pages[1].status_code
        assert len({number.sub("", page.text) for page in pages}) == 1
        assert job["prompt"] not in pages[0].text


REFUSED = [
    ({"prompt": ""}, "prompt"),
    ({"prompt": "   "}, "prompt"),
    ({"prompt": "x" * 100_000}, "prompt"),
    ({"prompt": "a\x00b"}, "prompt"),
    ({"model": "no/such-model"}, "model"),
    ({"aspect_ratio": "7:5"}, "aspect_ratio"),
    ({"duration": "999"}, "duration"),
    ({"duration": "x"}, "duration"),
    ({"resolution": "<script>alert(1)</script>"}, "resolution"),
]


@pytest.mark.parametrize(("form", "field"), REFUSED, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("htmx", [True, False])
async def test_a_refused_form_keeps_what_was_typed_and_names_the_field(
    visitor: Visitor, form: dict[str, str], field: str, htmx: bool
) -> None:
    prompt = form.get("prompt", EVIL)
    page = await visitor.page(f"/generate/video?model={quote(CLIP, safe='')}")
    filled = {**page.one("form", id="create").values(), "prompt": EVIL, "aspect_ratio": "9:16", **form}
    answer = await visitor.browser.send_form("/generate/video", filled, headers=FRAGMENT if htmx else {})
    assert answer.status_code == 400
    assert ("<html" in answer.text) != htmx
    assert "<script>alert" not in answer.text
    shown = read(answer.text).one("form", id="create")
    named = [it for it in shown.all() if it.get("name") == field]
    assert len(named) == 1
    sentence = told(shown, named[0])
    assert sentence[0].isupper(), sentence
    typed = shown.values()
    if prompt.strip("\x00 ") and len(prompt) < 1000 and "\x00" not in prompt:
        assert typed["prompt"] == prompt
    if len(prompt) == 100_000:
        assert typed["prompt"] == prompt  # nothing typed is ever lost
    if field not in ("aspect_ratio", "model"):
        assert typed["aspect_ratio"] == "9:16"
    assert await visitor.jobs() == []


# A picture to start from


async def from_picture(visitor: Visitor, files: Json | None = None, **form: str) -> httpx.Response:
    page = await visitor.page(f"/generate/video?mode=picture&model={quote(FRAMED, safe='')}")
    filled = {
        **page.one("form", id="create").values(),
        "prompt": "it wakes",
        "duration": "2",
        "resolution": "480p",
        **form,
    }
    filled.setdefault("image_asset_id", "")
    if not filled["image_asset_id"]:
        del filled["image_asset_id"]
    # Without a file a browser still sends the empty part.
    parts = files or {"picture": ("", b"", "application/octet-stream")}
    return await visitor.browser.send_form("/generate/video", filled, files=parts, headers=FRAGMENT)


async def test_a_clip_starts_from_an_uploaded_picture(visitor: Visitor, atelier: Studio) -> None:
    prompt = f"it wakes from an upload {visitor.address}"
    answer = await from_picture(
        visitor, {"picture": ("me.png", png(300, 300, "red"), "image/png")}, source="upload", prompt=prompt
    )
    assert answer.status_code == 200, answer.text[:800]
    [job] = await visitor.jobs()
    assert job["generation_type"] == "image_to_video"
    assert (await visitor.ended(job["id"]))["status"] == "completed"
    [sent] = [one for one in submits(atelier) if one["request"].get("prompt") == prompt]
    assert "first_frame" in str(sent["request"])
    assert (await visitor.client.get("/api/v1/assets")).json()["total"] == 2  # the picture stays, and the clip


async def test_a_clip_starts_from_a_picture_in_the_library(visitor: Visitor) -> None:
    asset = await uploaded(visitor.client)
    answer = await from_picture(visitor, source="library", image_asset_id=asset["id"])
    assert answer.status_code == 200, answer.text[:800]
    [job] = await visitor.jobs()
    assert (await visitor.ended(job["id"]))["status"] == "completed"


@pytest.mark.parametrize(
    ("files", "form"),
    [
        ({"picture": ("x.png", b"<svg onload=alert(1)>", "image/png")}, {"source": "upload"}),
        ({"picture": ("x.png", b"", "image/png")}, {"source": "upload"}),
        (None, {"source": "upload"}),
        (None, {"source": "url", "image_url": "http://127.0.0.1/x.png"}),
        (None, {"source": "url", "image_url": "http://169.254.169.254/latest"}),
        (None, {"source": "url", "image_url": "file:///etc/passwd"}),
        (None, {"source": "url", "image_url": '"><script>alert(1)</script>'}),
        (None, {"source": "url", "image_url": ""}),
        (None, {"source": "library", "image_asset_id": INVENTED}),
        (None, {"source": "library"}),
        (None, {"source": "nonsense"}),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_a_picture_that_cannot_be_is_told_beside_its_field(
    visitor: Visitor, files: Json | None, form: dict[str, str]
) -> None:
    answer = await from_picture(visitor, files, **form)
    assert answer.status_code in (400, 404, 413, 415)
    assert "<script>alert" not in answer.text
    shown = read(answer.text)
    assert shown.one("form", id="create").values()["prompt"] == "it wakes"
    assert shown.one(id="frame-error").text
    assert await visitor.jobs() == []


async def test_an_upload_on_the_library_page_lands_in_the_library(visitor: Visitor) -> None:
    answer = await visitor.browser.send_form("/library", {}, files={"file": ("me.png", png(), "image/png")})
    assert answer.status_code == 303
    [asset] = (await visitor.client.get("/api/v1/assets")).json()["items"]
    page = await visitor.page("/library")
    assert page.one(id=f"asset-{asset['id']}")
    for data in (b"", b"<svg/>", b"hello"):
        refused = await visitor.browser.send_form("/library", {}, files={"file": ("x.png", data, "image/png")})
        assert refused.status_code in (400, 415)
        assert "<html" in refused.text
    assert (await visitor.client.get("/api/v1/assets")).json()["total"] == 1


# Lists


async def test_the_library_shows_unfinished_jobs_first_and_players_for_clips(visitor: Visitor) -> None:
    done = await visitor.ended((await asked_clip(visitor.client))["id"])
    going = await asked_clip(visitor.client, "[stuck] still going")
    page = await visitor.page("/library")
    text = (await visitor.browser.get("/library")).text
    assert text.index(f'id="job-{going["id"]}"') < text.index(f'id="asset-{done["assets"][0]["id"]}"')
    clip = page.one(id=f"asset-{done['assets'][0]['id']}").one("video")
    assert "controls" in clip.attributes
    await visitor.client.post(f"/api/v1/jobs/{going['id']}/cancel")


async def test_the_library_is_searched_by_words_and_kind(visitor: Visitor) -> None:
    red = (await pictured(visitor.client, "a red 100% barn"))["assets"][0]
    blue = (await pictured(visitor.client, "a blue harbour"))["assets"][0]
    for query, found in [
        ({"q": "RED"}, [red]),
        ({"q": "100%"}, [red]),
        ({"q": "%"}, [red]),
        ({"q": "_"}, []),
        ({"q": "zebra"}, []),
        ({"kind": "video"}, []),
        ({"kind": "image"}, [blue, red]),
    ]:
        page = read((await visitor.browser.get("/library", params=query)).text)
        shown = [tile["id"] for tile in page.all("article") if tile.get("id").startswith("asset-")]
        assert shown == [f"asset-{asset['id']}" for asset in found], query
    evil = await visitor.browser.get("/library", params={"q": EVIL})
    assert "<script>alert" not in evil.text


@pytest.mark.parametrize(
    "path",
    [
        "/library?cursor=x",
        "/library?kind=nonsense",
        "/jobs?cursor=x",
        "/library?q=%00",
        "/jobs?limit=x",
        "/library?cursor=%ff",
    ],
)
async def test_a_strange_query_is_no_bug(looker: Visitor, path: str) -> None:
    for headers in ({}, FRAGMENT):
        assert (await looker.browser.get(path, headers=headers)).status_code in (200, 400, 404)


async def test_a_deleted_picture_comes_back_by_undo(visitor: Visitor) -> None:
    asset = await uploaded(visitor.client)
    answer = await visitor.browser.send_form(f"/library/{asset['id']}/delete", headers=FRAGMENT)
    assert answer.status_code == 200
    assert (await visitor.client.get("/api/v1/assets")).json()["total"] == 0
    assert read(answer.text).all("form", action=f"/library/{asset['id']}/restore")
    await visitor.browser.send_form(f"/library/{asset['id']}/restore", headers=FRAGMENT)
    assert (await visitor.client.get("/api/v1/assets")).json()["items"] == [asset]
    assert (await visitor.client.get(asset["url"])).status_code == 200


async def test_after_a_change_a_page_says_once_what_was_done(visitor: Visitor) -> None:
    asset = await uploaded(visitor.client)
    answer = await visitor.browser.send_form(f"/library/{asset['id']}/delete")
    assert answer.status_code == 303
    first = read((await visitor.browser.get(answer.headers["location"])).text)
    assert first.one(id="notice").text
    second = read((await visitor.browser.get(answer.headers["location"])).text)
    assert not second.one(id="notice").text


# Every page


async def every_page(atelier: Studio, looker: Visitor) -> list[tuple[str, httpx.Response]]:
    job = (await looker.jobs())[0]
    asset = (await looker.client.get("/api/v1/assets")).json()["items"][0]
    inside = [
        "/",
        "/generate/text",
        "/generate/image",
        "/generate/video",
        "/generate/video?mode=picture",
        "/library",
        f"/library/{asset['id']}",
        "/jobs",
        f"/jobs/{job['id']}",
        "/no/such/page",
    ]
    pages = [(path, await looker.browser.get(path)) for path in inside]
    return pages + [
        (path, await atelier.browser().get(path)) for path in ("/login", "/register", "/api/docs", "/nowhere")
    ]


async def test_no_page_has_inline_code_or_another_origin(atelier: Studio, looker: Visitor) -> None:
    for path, answer in await every_page(atelier, looker):
        page = read(answer.text)
        for element in page.all():
            assert "style" not in element.attributes, path
            assert element.tag != "style", path
            assert not [name for name in element.attributes if name.startswith(("on", "hx-on"))], path
            assert element.tag != "script" or (element.get("src").startswith("/static/") and not element.text), path
            for name in ("src", "href", "action", "formaction", "poster", "srcset", "hx-get", "hx-post"):
                assert not re.match(r"(?i)\s*(https?:)?//|javascript:|data:", element.get(name)), (
                    f"{path} {element.get(name)}"
                )


async def test_every_page_has_a_language_a_title_and_one_heading_and_no_id_twice(
    atelier: Studio, looker: Visitor
) -> None:
    for path, answer in await every_page(atelier, looker):
        page = read(answer.text)
        assert page.one("html").get("lang") == "en", path
        assert page.one("title").text, path
        assert len(page.all("h1")) == 1, path
        assert page.all("meta", name="viewport"), path
        ids = [element["id"] for element in page.all() if "id" in element.attributes]
        assert len(ids) == len(set(ids)), f"{path}: {[one for one in ids if ids.count(one) > 1]}"
        for label in page.all("label"):
            assert not label.get("for") or label["for"] in ids, f"{path} {label['for']}"


async def test_every_link_of_every_page_leads_somewhere(atelier: Studio, looker: Visitor) -> None:
    seen: dict[str, int] = {}
    for path, answer in await every_page(atelier, looker):
        for link in read(answer.text).all():
            for name in ("href", "src", "poster", "hx-get"):
                target = link.get(name).split("#")[0]
                if not target.startswith("/") or target in seen:
                    continue
                status = (await looker.browser.get(target)).status_code
                seen[target] = status
                assert status in (200, 303, 301, 302, 307), f"{path} links to {target}: {status}"
    assert len(seen) > 20


async def test_every_page_says_that_results_are_simulated(atelier: Studio, looker: Visitor) -> None:
    silent = [
        path
        for path, answer in await every_page(atelier, looker)
        if answer.status_code == 200 and "No provider is configured: results are simulated" not in answer.text
    ]
    assert silent == []


async def test_the_failures_that_a_prompt_can_ask_for_are_on_the_page(looker: Visitor) -> None:
    for kind in ("text", "image", "video"):
        text = (await looker.page(f"/generate/{kind}")).text
        for directive in ("[fail]", "[refuse]", "[ambiguous]"):
            assert directive in text


@pytest.mark.parametrize(
    "path", ["/no/such/page", "/generate/nothing", "/jobs/a/b/c", "/%00", "/%ff", "/é", "/index.php", "/.env"]
)
async def test_an_unknown_page_is_a_page_of_its_own(atelier: Studio, looker: Visitor, path: str) -> None:
    for browser in (looker.browser, atelier.browser()):
        answer = await browser.get(path)
        if browser is not looker.browser and answer.status_code == 303:
            assert answer.headers["location"].startswith("/login")
            continue
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        page = read(answer.text)
        assert "404" in page.text
        assert answer.headers["x-request-id"]
        assert [link for link in page.all("a") if link.get("href") == "/"]


async def test_a_wrong_method_on_a_page_is_405_with_allow(looker: Visitor) -> None:
    answer = await looker.browser.get("/logout")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    assert answer.headers["content-type"].startswith("text/html")


async def test_pages_answer_head(looker: Visitor, atelier: Studio) -> None:
    for browser, path in ((atelier.browser(), "/login"), (looker.browser, "/jobs"), (atelier.browser(), "/health")):
        answer = await browser.head(path)
        assert answer.status_code in (200, 405), path
        assert answer.content == b""


async def test_pages_and_static_files_are_compressed(atelier: Studio, looker: Visitor) -> None:
    statics = ["/static/htmx.min.js", "/static/css/base.css", "/static/icons.svg"]
    for browser, path in [
        (looker.browser, "/generate/image"),
        (looker.browser, "/library"),
        *[(atelier.browser(), path) for path in statics],
    ]:
        answer = await browser.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200, path
        assert answer.headers["content-encoding"] == "gzip", path
        assert "accept-encoding" in answer.headers["vary"].lower(), path
        plain = await browser.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers, path
        if path.startswith("/static"):
            assert plain.content == answer.content


async def test_static_files_of_a_page_are_cached_and_change_their_address_with_their_content(looker: Visitor) -> None:
    page = await looker.page("/generate/image")
    files = {
        it.get("src") or it.get("href") for it in page.all() if (it.get("src") or it.get("href")).startswith("/static/")
    }
    files = {name.split("#")[0] for name in files}
    assert len(files) > 5
    for name in files:
        assert name.endswith(".woff2") or re.search(r"\?v=\w{8,}$", name), name
        answer = await looker.browser.get(name)
        assert answer.status_code == 200
        assert re.search(r"max-age=(\d+)", answer.headers["cache-control"])
        assert answer.headers.get("etag") or "immutable" in answer.headers["cache-control"]
        assert "session" not in answer.headers.get("set-cookie", "")


async def test_the_first_page_is_light(looker: Visitor) -> None:
    """Below 100 kB compressed, before pictures (`look.md`)."""
    page = await looker.browser.get("/generate/image")
    names = {it.get("src") or it.get("href") for it in read(page.text).all() if it.tag in ("script", "link")}
    total = int(page.headers["content-length"])
    for name in names:
        if name.startswith("/static/"):
            async with looker.browser.stream("GET", name) as answer:
                total += len(b"".join([part async for part in answer.aiter_raw()]))
    assert total < 100_000


async def test_a_person_sees_nothing_of_another(atelier: Studio, visitor: Visitor) -> None:
    other = await person(atelier)
    job = await pictured(other, "a secret garden of somebody else")
    for path in ("/", "/library", "/jobs", "/generate/image", "/generate/video?mode=picture"):
        text = (await visitor.browser.get(path)).text
        assert "secret garden" not in text
        assert job["id"] not in text
        assert job["assets"][0]["id"] not in text
