"""The start page and what every page has in common of the home feature: the dashboard and the list of shortcuts."""

from tests.pages import PageUser
from tests.studio import Studio


async def test_the_start_page_of_a_signed_in_user_is_the_dashboard(atelier: Studio, viewer: PageUser) -> None:
    page = await viewer.page("/")
    assert page.all("form", action="/generate/image")
    signed_out = await atelier.direct_browser().get("/")
    assert signed_out.status_code in (200, 303)
    if signed_out.status_code == 303:
        assert signed_out.headers["location"].startswith("/login")


async def test_each_line_of_the_shortcuts_has_one_key_sequence(viewer: PageUser) -> None:
    shortcuts = (await viewer.page("/jobs")).one("dialog", id="shortcuts")
    sequences = [[key.text for key in line.all("kbd")] for line in shortcuts.all("dd")]
    assert [keys[1] for keys in sequences if keys[0] == "g"] == ["t", "i", "v", "c", "l", "j", "s"]
    assert max(map(len, sequences)) == 2
