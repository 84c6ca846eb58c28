"""Labels of browsers and programs, from the `User-Agent` header."""

from app.accounts.user_agent import label
from tests.kit import Cases

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Mobile/15E Safari/604.1"
)
NAMES = {
    CHROME: "Chrome on Linux",
    CHROME + " Edg/148.0": "Edge on Linux",
    SAFARI: "Safari on iPhone",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:150.0) Gecko/20100101 Firefox/150.0": "Firefox on Windows",
    "Mozilla/5.0 (compatible; Something/1.0)": "Browser",
    "python-httpx/0.28.1": "python-httpx",
    "curl/8.14": "curl",
    "": "Unknown",
    "x" * 300: "x" * 40,
}


def test_a_browser_or_program_has_a_readable_name() -> None:
    with Cases() as cases:
        for agent, name in NAMES.items():
            with cases.case(agent):
                assert label(agent) == name
