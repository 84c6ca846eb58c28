"""Reading a page as a browser would: elements, their attributes and their text."""

from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Element:
    """One element, what is in it, and the text of all of it."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element] = []
        self.texts: list[str] = []

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    def get(self, name: str, default: str = "") -> str:
        return self.attributes.get(name, default)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def all(self, tag: str | None = None, **attributes: str) -> "list[Element]":
        found: list[Element] = []
        for child in self.children:
            if (tag is None or child.tag == tag) and all(
                child.attributes.get(name.rstrip("_").replace("_", "-")) == value for name, value in attributes.items()
            ):
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str | None = None, **attributes: str) -> "Element":
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} of {tag} {attributes}"
        return found[0]

    def values(self) -> dict[str, str]:
        """What a browser would send of this form, files aside."""
        sent: dict[str, str] = {}
        for field in self.all():
            name = field.get("name")
            if not name or "disabled" in field.attributes:
                continue
            kind = field.get("type")
            if field.tag == "textarea":
                sent[name] = "".join(field.texts).removeprefix("\n")
            elif field.tag == "select":
                options = field.all("option")
                chosen = [option for option in options if "selected" in option.attributes] or options[:1]
                sent[name] = chosen[0].get("value", chosen[0].text) if chosen else ""
            elif field.tag == "button" or kind == "file":
                continue
            elif field.tag == "input" and (kind not in ("checkbox", "radio") or "checked" in field.attributes):
                sent[name] = field.get("value", "on" if kind in ("checkbox", "radio") else "")
        return sent


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("document", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if any(element.tag == tag for element in self.open[1:]):
            while self.open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.texts.append(data)


def parse_html(text: str) -> Element:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.root
