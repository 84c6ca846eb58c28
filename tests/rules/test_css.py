"""Every class of a page is styled or selected by a script, and every class, id and variable of the CSS is used: a name that is
left over after a change would look like a part of the design."""

import re
from collections.abc import Iterator
from functools import cache

from tests.html import parse_html
from tests.rules.source import ROOT
from tests.templates.states import STATES, environment

CSS, JS = ROOT / "static" / "css", ROOT / "static" / "js"
# Classes that htmx sets.
HTMX = {"htmx-added", "htmx-request"}
CLASS = re.compile(r"\.([a-z][a-z0-9-]*)")


@cache
def _stylesheets() -> str:
    """All CSS without comments, strings and URLs."""
    text = "".join(path.read_text("utf-8") for path in sorted(CSS.glob("*.css")))
    return re.sub(r'/\*.*?\*/|"[^"]*"|url\([^)]*\)', "", text, flags=re.DOTALL)


@cache
def _scripts() -> str:
    return "".join(path.read_text("utf-8") for path in sorted(JS.glob("*.js")))


@cache
def _attributes() -> dict[str, set[str]]:
    """The words in the `class`, `id` and `hx-…` attributes of every template in every state."""
    found: dict[str, set[str]] = {"class": set(), "id": set(), "hx": set()}
    for template, states in STATES.items():
        for values in states.values():
            for element in parse_html(environment().get_template(template).render(**values)).all():
                for name, value in element.attributes.items():
                    kind = "hx" if name.startswith("hx-") else name
                    if kind in found:
                        found[kind].update(value.split())
    return found


def _class_selectors(text: str) -> Iterator[str]:
    """The classes in the selectors of a script, which are strings."""
    for string in re.findall(r"\"[^\"\n]*\"|'[^'\n]*'|`[^`]*`", text):
        yield from CLASS.findall(string)


def test_every_class_of_a_page_is_styled_or_selected() -> None:
    selected = set(_class_selectors(_scripts())) | set(CLASS.findall(" ".join(_attributes()["hx"])))
    assert _attributes()["class"] - set(CLASS.findall(_stylesheets())) - selected == set()


def test_every_class_of_the_css_is_on_a_page_or_set_by_a_script() -> None:
    set_by_scripts = set(re.findall(r'classList\.add\("([^"]+)"\)|className = "([^"]+)"', _scripts()))
    used = _attributes()["class"] | {name for names in set_by_scripts for name in names} | HTMX
    assert set(CLASS.findall(_stylesheets())) - used == set()


def test_every_id_of_the_css_is_on_a_page() -> None:
    ids = {name for name in re.findall(r"#([a-z][\w-]*)", _stylesheets()) if not re.fullmatch(r"[0-9a-f]{3,8}", name)}
    assert ids  # colours aside
    assert ids - _attributes()["id"] == set()


def test_every_variable_of_the_css_is_used() -> None:
    defined = set(re.findall(r"(--[a-z0-9-]+):", _stylesheets()))
    assert defined - set(re.findall(r"var\((--[a-z0-9-]+)", _stylesheets())) == set()
