"""A short label for a browser or program, from its `User-Agent` header."""

from typing import Final

# The first match counts: each browser also names the ones below it.
BROWSERS: Final = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
SYSTEMS: Final = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS": "Mac",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}
MAX_NAME: Final = 40


def label(agent: str) -> str:
    """`Firefox on Linux`, `curl`, or `Unknown`."""
    if agent.startswith("Mozilla/"):
        browser = next((name for token, name in BROWSERS.items() if token in agent), "Browser")
        system = next((name for token, name in SYSTEMS.items() if token in agent), "")
        return f"{browser} on {system}" if system else browser
    return agent.partition("/")[0].strip()[:MAX_NAME] or "Unknown"
