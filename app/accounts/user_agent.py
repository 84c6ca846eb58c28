"""What a browser or program is called, out of what it says of itself: nearly all of them claim to be Mozilla."""

from typing import Final

# The first that is named counts, because each also names those that stand below it.
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
NAME_LONGEST: Final = 40


def label(agent: str) -> str:
    """`Firefox on Linux`, `curl`, or `Unknown`."""
    if agent.startswith("Mozilla/"):
        browser = next((name for mark, name in BROWSERS.items() if mark in agent), "Browser")
        system = next((name for mark, name in SYSTEMS.items() if mark in agent), "")
        return f"{browser} on {system}" if system else browser
    return agent.partition("/")[0].strip()[:NAME_LONGEST] or "Unknown"
