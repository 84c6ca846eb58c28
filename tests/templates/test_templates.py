"""Every template in each of its states: complete, well formed, without inline code, and with attributes that htmx 4 knows."""

import functools
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from app.providers.contract import ErrorCode
from app.web.render import ROOT, TEMPLATES
from tests.kit import Cases
from tests.templates.states import HOSTILE, STATES, environment

STATIC = ROOT / "static"
NAMES = sorted(path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.html"))
ALL_STATES = [(template, state) for template, states in STATES.items() for state in states]
FRAGMENTS = [name for name in NAMES if Path(name).name.startswith("_")]
CORE_CSS = {"tokens.css", "base.css", "layout.css", "card.css"}  # on every page
MAX_CORE_CSS, MAX_CSS = 40_000, 110_000
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

# The attributes of htmx 4.0.1 (its guide `htmx-guidance.md`) without `hx-on`, which needs eval.
HTMX = re.compile(
    r"hx-(get|post|put|patch|delete|query|action|method|trigger|target|swap|swap-oob|select|select-oob|include|vals"
    r"|headers|indicator|confirm|sync|boost|config|preserve|ignore|disable|push-url|replace-url|encoding|validate"
    r"|history-elt|morph-skip|morph-skip-children)"
)
SWAPS = {
    "innerHTML",
    "outerHTML",
    "innerMorph",
    "outerMorph",
    "beforebegin",
    "afterbegin",
    "beforeend",
    "afterend",
    "none",
}


class Node:
    """An element: its tag, attributes, children, and the text inside."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Node] = []
        self.text = ""

    def walk(self) -> Iterator["Node"]:
        yield self
        for child in self.children:
            yield from child.walk()


class Tree(HTMLParser):
    """A strict reader: fails on elements that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]
        self.feed(html)
        self.close()
        assert len(self.open) == 1, f"left open: {[node.tag for node in self.open[1:]]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice on <{tag}>: {names}"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].text += data


@functools.cache
def rendered(template: str, state: str) -> str:
    return environment().get_template(template).render(**STATES[template][state])


@functools.cache
def tree(template: str, state: str) -> Node:
    return Tree(rendered(template, state)).root


def test_every_template_has_states() -> None:
    assert sorted(STATES) == NAMES


def test_the_first_line_of_a_template_names_what_it_needs() -> None:
    with Cases() as cases:
        for name in NAMES:
            with cases.case(name):
                first = (TEMPLATES / name).read_text().partition("\n")[0]
                assert re.fullmatch(r"\{# Needs: .{3,} #\}", first)


def test_every_state_is_well_formed_and_has_no_inline_code() -> None:
    with Cases() as cases:
        for template, state in ALL_STATES:
            with cases.case(template, state):
                html = rendered(template, state)
                root = tree(template, state)
                ids = [node.attributes["id"] for node in root.walk() if "id" in node.attributes]
                assert len(ids) == len(set(ids)), "an id twice"
                for node in root.walk():
                    assert node.tag != "style"
                    assert node.tag != "script" or (
                        node.attributes["src"].startswith("/static/") and not node.text.strip()
                    )
                    for name, value in node.attributes.items():
                        assert name != "style", f"<{node.tag} style>"
                        assert not name.startswith("on"), f"<{node.tag} {name}>"
                        assert "javascript:" not in value
                        if name in ("src", "href", "action", "formaction", "poster", "srcset"):
                            assert re.match(r"(/(?!/)|#)", value), f'<{node.tag} {name}="{value}"> leaves this origin'
                assert HOSTILE not in html, "something is not escaped"


def test_a_fragment_is_one_element_with_a_stable_id() -> None:
    with Cases() as cases:
        for template, state in ALL_STATES:
            if template in FRAGMENTS:
                with cases.case(template, state):
                    top = tree(template, state)
                    assert not top.text.strip(), "text outside its root"
                    assert len(top.children) == 1
                    assert top.children[0].attributes.get("id")


def test_every_htmx_attribute_exists_in_htmx_4_and_needs_no_eval() -> None:
    with Cases() as cases:
        for template, state in ALL_STATES:
            with cases.case(template, state):
                for node in tree(template, state).walk():
                    for name, value in node.attributes.items():
                        if name.startswith("hx-"):
                            check_htmx_attribute(name, value)


def check_htmx_attribute(name: str, value: str) -> None:
    base, _, modifier = name.partition(":")
    if name == "hx-sse:connect":  # of the extension hx-sse
        assert re.match(r"/(?!/)", value)
        return
    if base == "hx-status":
        assert re.fullmatch(r"[1-5][0-9x]{2}", modifier)
        return
    assert HTMX.fullmatch(base), f"{name} is no attribute of htmx 4"
    assert modifier in ("", "inherited", "append", "inherited:append")
    assert not value.startswith(("js:", "javascript:")), "needs eval"
    if base == "hx-trigger":
        assert "[" not in value, "a filter needs eval"
    if base == "hx-swap":
        assert value.split()[0] in SWAPS
    if base in ("hx-get", "hx-post"):
        assert re.match(r"/(?!/)", value)


def test_every_form_that_posts_has_the_csrf_token() -> None:
    with Cases() as cases:
        for template, state in ALL_STATES:
            with cases.case(template, state):
                for form in tree(template, state).walk():
                    if form.tag == "form" and form.attributes.get("method") == "post":
                        tokens = [node for node in form.walk() if node.attributes.get("name") == "_csrf_token"]
                        assert len(tokens) == 1
                        assert tokens[0].attributes["value"] == STATES[template][state]["csrf_token"]


def test_every_error_code_has_a_title() -> None:
    title = environment().get_template("shared/macros.html").module.error_title  # type: ignore[attr-defined]
    titles = {code: title(code.value) for code in ErrorCode}
    assert len(set(titles.values())) == len(ErrorCode), titles
    assert title("A_CODE_FROM_THE_FUTURE") == "Failed"


def test_every_control_has_a_label() -> None:
    with Cases() as cases:
        for template, state in ALL_STATES:
            with cases.case(template, state):
                check_labels(tree(template, state), whole="/_" not in template)


def check_labels(root: Node, *, whole: bool) -> None:
    """The label of a fragment may belong to a control elsewhere on its page, which is checked as a whole, too."""
    labelled = {node.attributes["for"] for node in root.walk() if "for" in node.attributes}
    inside = {id(node) for label in root.walk() if label.tag == "label" for node in label.walk()}
    ids = {node.attributes["id"] for node in root.walk() if "id" in node.attributes}
    for node in root.walk():
        if node.tag in ("select", "textarea") or (node.tag == "input" and node.attributes.get("type") != "hidden"):
            assert node.attributes.get("id") in labelled or id(node) in inside, f"<{node.tag}> without a label"
        for name in ("aria-describedby", "aria-labelledby", "for", "popovertarget"):
            for target in node.attributes.get(name, "").split():
                elsewhere = node.tag == "output" or (node.tag == "label" and not whole)
                assert target in ids or elsewhere, f"{name} names {target}, which does not exist"
        if node.tag == "img":
            assert "alt" in node.attributes
            assert node.attributes["width"].isdigit()
            assert node.attributes["height"].isdigit()


def test_every_icon_is_in_the_sprite_and_every_symbol_is_used() -> None:
    symbols = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "icons.svg").read_text()))
    used = {
        node.attributes["href"].partition("#")[2]
        for template, state in ALL_STATES
        for node in tree(template, state).walk()
        if node.tag == "use"
    }
    assert used == symbols


def test_every_static_file_that_is_used_exists_and_every_file_is_used() -> None:
    used = {
        value
        for template, state in ALL_STATES
        for node in tree(template, state).walk()
        for name, value in node.attributes.items()
        if name in ("src", "href") and value.startswith("/static/")
    }
    files = {f"/static/{path.relative_to(STATIC).as_posix()}" for path in STATIC.rglob("*") if path.is_file()}
    documents = {name for name in files if name.endswith((".md", ".txt"))}
    assert {re.split("[?#]", name)[0] for name in used} == files - documents


def test_the_css_is_small_and_layered_and_has_its_values_in_one_file() -> None:
    sheets = {path.name: path.read_text() for path in (STATIC / "css").glob("*.css")}
    assert sum(len(sheets[name].encode()) for name in CORE_CSS) < MAX_CORE_CSS
    assert sum(len(text.encode()) for text in sheets.values()) < MAX_CSS
    known = set(re.findall(r"(--[a-z0-9-]+):", "".join(sheets.values())))
    for name, text in sheets.items():
        assert "@layer" in text
        assert not re.search(r"url\((?!\"\.\./)", text), "loads from elsewhere"
        assert set(re.findall(r"var\((--[a-z0-9-]+)", text)) <= known
        if name != "tokens.css":
            bare = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
            assert set(re.findall(r"#[0-9a-f]{3,8}\b(?=[;, )])", bare)) <= {"#000"}, (
                f"a colour outside tokens in {name}"
            )


def test_the_color_scheme_changes_colors_only() -> None:
    """The journeys rely on it: in the light scheme they check nothing but contrast."""
    for path in (STATIC / "css").glob("*.css"):
        css = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        assert "prefers-color-scheme" not in css, path.name
        if path.name == "tokens.css":
            variables = re.findall(r"(?<=[;{])\s*(--[a-z0-9-]+):([^;]*)", css)
            assert css.count("light-dark(") == sum(value.count("light-dark(") for _, value in variables)
            themed = re.findall(r"\[data-theme[^{]*\{([^}]*)\}", css)
        else:
            assert "light-dark(" not in css, path.name
            themed = re.findall(r"\[data-theme[^{]*\{([^}]*)\}", css)
            assert not themed, path.name
        for rule in themed:
            assert re.fullmatch(r"\s*color-scheme: \w+;\s*", rule), rule


def test_the_scripts_need_no_eval_and_no_other_origin() -> None:
    for path in (STATIC / "js").glob("*.js"):
        text = path.read_text()
        assert not re.search(r"\beval\(|new Function|innerHTML|\.style\b|https?://", text), path.name
        assert text.startswith("// "), f"{path.name} does not say why it exists"


def test_vendored_files_are_what_the_list_says() -> None:
    listed = dict(re.findall(r"`([^`]+)` \| .* \| `([0-9a-f]{64})`", (STATIC / "vendor.md").read_text()))
    assert set(listed) == {"htmx.min.js", "hx-sse.min.js", "fonts/inter-latin-wght.woff2"}
    for name, digest in listed.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest


def test_the_configuration_of_htmx_keeps_error_pages_out_of_the_page() -> None:
    (meta,) = (node for node in tree("base.html", "admin").walk() if node.attributes.get("name") == "htmx-config")
    assert {"4xx", "5xx"} <= set(json.loads(meta.attributes["content"])["noSwap"])


def test_the_token_of_htmx_requests_survives_its_attribute() -> None:
    (body,) = (node for node in tree("base.html", "admin").walk() if node.tag == "body")
    headers = json.loads(body.attributes["hx-headers:inherited"])
    assert headers == {"X-CSRFToken": STATES["base.html"]["admin"]["csrf_token"]}


def test_a_card_polls_until_its_job_ends() -> None:
    with Cases() as cases:
        for state, values in STATES["jobs/_card.html"].items():
            with cases.case(state):
                (card,) = tree("jobs/_card.html", state).children
                assert ("hx-trigger" in card.attributes) is not values["job"].final
                assert ("hx-get" in card.attributes) is not values["job"].final


def test_a_page_contains_the_same_card_as_is_fetched() -> None:
    with Cases() as cases:
        for state, values in STATES["jobs/_card.html"].items():
            with cases.case(state):
                card = rendered("jobs/_card.html", state)
                page = {
                    **STATES["jobs/jobs.html"]["all"],
                    "jobs": [values["job"]],
                    "csrf_token": values["csrf_token"],
                }
                assert card.strip() in environment().get_template("jobs/jobs.html").render(**page)


def test_a_card_stays_small_with_an_endless_prompt() -> None:
    assert len(rendered("jobs/_card.html", "endless")) < 6000


def test_without_javascript_only_an_unfinished_job_refreshes_its_page() -> None:
    for state in STATES["jobs/job.html"]:
        job = STATES["jobs/job.html"][state]["job"]
        assert ('http-equiv="refresh"' in rendered("jobs/job.html", state)) is not job.final


def test_every_page_has_a_title_of_its_own() -> None:
    layouts = {"base.html", "base_plain.html", "admin/section.html"}
    titles: dict[str, set[str]] = {}
    with Cases() as cases:
        for template, state in ALL_STATES:
            found = [node for node in tree(template, state).walk() if node.tag == "title"]
            if found and template not in layouts:
                with cases.case(template, state):
                    (title,) = found
                    what = title.text.removesuffix(" · Atelier")
                    assert what.strip()
                    assert what != title.text
                    assert what not in ("Studio", "Welcome"), "the layout's"
                    titles.setdefault(what.removesuffix(" · Admin"), set()).add(template)
    assert {"Home", "Prompts", "Jobs", "Library", "Overview"} <= set(titles)


def test_costs_of_the_simulator_are_described_as_simulated() -> None:
    for template, state in (("home/spending.html", "some months"), ("home/dashboard.html", "busy")):
        values = STATES[template][state]
        texts = [
            environment().get_template(template).render(**{**values, "simulated": simulated}).lower()
            for simulated in (True, False)
        ]
        assert [text.count("simulated") > 1 for text in texts] == [True, False], template
    (body,) = (node for node in tree("base.html", "admin").walk() if node.tag == "body")
    assert "simulated" in body.attributes["class"].split()  # then CSS says so beside the cost of every card
