"""Settings: read from the environment once, validated and passed on. Nothing else reads the environment."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

MB = 1024 * 1024
OPENROUTER_URL = "https://openrouter.ai/api/v1"
OPENAI_URL = "https://api.openai.com/v1"
FAL_QUEUE_URL = "https://queue.fal.run"
FAL_REST_URL = "https://rest.fal.ai"
# Host names that are not reachable from the internet (RFC 6761, 6762, 8375, 9476).
_LOCAL_SUFFIXES = (
    ".localhost",
    ".local",
    ".internal",
    ".lan",
    ".home.arpa",
    ".test",
    ".example",
    ".invalid",
    ".alt",
    ".onion",
)


class SettingError(Exception):
    """An invalid variable, in one line that names it and says what it must be."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings; the repr contains no secrets."""

    host: str
    port: int
    data_dir: Path
    secret_key: str | None
    public_url: str
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    registration: str
    simulator: str
    simulator_speed: float
    worker_seconds: float
    catalog_seconds: float
    job_timeout_seconds: float
    rate_limits: bool
    enhancer_model: str | None
    max_image_bytes: int
    max_video_bytes: int
    openrouter_api_key: str | None
    openrouter_base_url: str
    openrouter_webhook_secret: str | None
    openai_api_key: str | None
    openai_base_url: str
    fal_key: str | None
    fal_queue_url: str
    fal_rest_url: str
    password_memory_kib: int = (
        19456  # argon2id as recommended by OWASP; not configurable, so that it cannot be weakened
    )
    password_passes: int = 2

    def __repr__(self) -> str:
        return f"Settings(data_dir={str(self.data_dir)!r}, public_url={self.public_url!r})"

    @property
    def https(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def public(self) -> bool:
        """Whether `public_url` is an https URL that appears to be reachable from the internet, judging by its host name."""
        host = (urlsplit(self.public_url).hostname or "").rstrip(".")
        try:
            return self.https and ipaddress.ip_address(host).is_global
        except ValueError:
            return self.https and "." in host and not host.endswith(_LOCAL_SUFFIXES)

    @property
    def uses_openai(self) -> bool:
        """Whether OpenAI or a compatible server is configured; many of the latter need no key."""
        return self.openai_api_key is not None or self.openai_base_url != OPENAI_URL


class Setting(msgspec.Struct, frozen=True):
    """One row of the README's table. `parse` turns the variable's text into its value; its ValueError says what is expected."""

    name: str
    field: str
    default: str | None
    parse: Callable[[str], Any]
    description: str


def _number(low: float, high: float = float("inf")) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError(f"a number from {low:g}" + (f" to {high:g}" if high != float("inf") else " on"))
        return value

    return parse


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError("a port from 0 to 65535")
    return port


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(" or ".join(allowed))
        return text

    return parse


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("an http or https URL")
    _ = parts.port  # a port out of range raises here
    return text.rstrip("/")


def _public_origin(text: str) -> str:
    if urlsplit(text).path not in ("", "/"):
        raise ValueError("a URL without a path, as in https://studio.example.org")
    return _origin(text)


def _proxies(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def _registration(text: str) -> str:
    if text in ("open", "closed") or re.fullmatch(r"domain:[a-z0-9-]+(\.[a-z0-9-]+)+", text):
        return text
    raise ValueError("open, closed, or domain:example.org")


def _secret(text: str) -> str:
    if len(text) < 32:
        raise ValueError("at least 32 characters")
    return text


def _megabytes(text: str) -> int:
    return int(_number(0.01, 10_000)(text) * MB)


def _switch(text: str) -> bool:
    return _choice("on", "off")(text) == "on"


SETTINGS: tuple[Setting, ...] = (
    Setting("ATELIER_HOST", "host", "127.0.0.1", str, "address to listen on"),
    Setting("ATELIER_PORT", "port", "8000", _port, "port to listen on; 0 chooses a free one"),
    Setting(
        "ATELIER_DATA_DIR", "data_dir", "./data", Path, "database, media, secret key; nothing is written elsewhere"
    ),
    Setting(
        "ATELIER_SECRET_KEY",
        "secret_key",
        None,
        _secret,
        "signs tokens and cookies; generated at the first start and stored in the data folder",
    ),
    Setting(
        "ATELIER_PUBLIC_URL",
        "public_url",
        None,
        _public_origin,
        "URL that users open, for links and webhooks; https enables Secure and `__Host-` cookies and HSTS;"
        " default `http://HOST:PORT`",
    ),
    Setting(
        "ATELIER_TRUSTED_PROXIES",
        "trusted_proxies",
        "",
        _proxies,
        "comma-separated addresses or networks whose forwarded headers are trusted",
    ),
    Setting(
        "ATELIER_REGISTRATION",
        "registration",
        "open",
        _registration,
        "`open`, `closed`, or `domain:example.org` (email addresses are not verified)",
    ),
    Setting(
        "ATELIER_SIMULATOR",
        "simulator",
        "auto",
        _choice("auto", "on", "off"),
        "`auto` (on while no provider is configured), `on`, `off`",
    ),
    Setting(
        "ATELIER_SIMULATOR_SPEED",
        "simulator_speed",
        "1.0",
        _number(0, 1000),
        "factor on simulated delays; 0 is as fast as possible",
    ),
    Setting(
        "ATELIER_WORKER_SECONDS",
        "worker_seconds",
        "15",
        _number(0.05, 3600),
        "how often a processing video is polled; queued jobs start at once",
    ),
    Setting(
        "ATELIER_CATALOG_SECONDS",
        "catalog_seconds",
        "3600",
        _number(1, 1_000_000),
        "how often the list of models is refreshed",
    ),
    Setting(
        "ATELIER_JOB_TIMEOUT_SECONDS",
        "job_timeout_seconds",
        "1800",
        _number(1, 1_000_000),
        "deadline of a processing job",
    ),
    Setting("ATELIER_RATE_LIMITS", "rate_limits", "on", _switch, "`off` disables every rate limit (tests, benchmarks)"),
    Setting(
        "ATELIER_ENHANCER_MODEL",
        "enhancer_model",
        None,
        str,
        "id of the text model that enhances prompts; by default the one with the lowest known price above zero",
    ),
    Setting(
        "ATELIER_MAX_IMAGE_MB",
        "max_image_bytes",
        "10",
        _megabytes,
        "maximum size of an image, uploaded or downloaded, in MB",
    ),
    Setting(
        "ATELIER_MAX_VIDEO_MB",
        "max_video_bytes",
        "200",
        _megabytes,
        "maximum size of a video, uploaded or downloaded, in MB",
    ),
    Setting("OPENROUTER_API_KEY", "openrouter_api_key", None, str, "OpenRouter's API key"),
    Setting(
        "OPENROUTER_BASE_URL",
        "openrouter_base_url",
        OPENROUTER_URL,
        _origin,
        "any OpenRouter-compatible server, also on loopback",
    ),
    Setting(
        "OPENROUTER_WEBHOOK_SECRET",
        "openrouter_webhook_secret",
        None,
        str,
        "signing secret of the OpenRouter workspace: webhooks without its signature are refused; they arrive"
        " only when `ATELIER_PUBLIC_URL` is a public https URL",
    ),
    Setting("OPENAI_API_KEY", "openai_api_key", None, str, "API key of OpenAI, or of the server at `OPENAI_BASE_URL`"),
    Setting(
        "OPENAI_BASE_URL",
        "openai_base_url",
        OPENAI_URL,
        _origin,
        "any OpenAI-compatible server, also on loopback; another server than OpenAI's needs no key",
    ),
    Setting("FAL_KEY", "fal_key", None, str, "fal's API key, for its image and video models"),
    Setting("FAL_QUEUE_URL", "fal_queue_url", FAL_QUEUE_URL, _origin, "fal's queue, also on loopback"),
    Setting(
        "FAL_REST_URL",
        "fal_rest_url",
        FAL_REST_URL,
        _origin,
        "fal's REST service, for input files and the keys of webhooks, also on loopback",
    ),
)


def load(environ: Mapping[str, str]) -> Settings:
    """The settings from `environ`; SettingError names the first invalid variable."""
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        text = environ.get(setting.name, "").strip() or setting.default
        try:
            values[setting.field] = None if text is None else setting.parse(text)
        except ValueError as exc:
            secret = setting.field in (
                "secret_key",
                "openrouter_api_key",
                "openrouter_webhook_secret",
                "openai_api_key",
                "fal_key",
            )
            current = "" if secret else f" (it is {text!r})"
            raise SettingError(f"{setting.name} must be {_expected(exc)}{current}") from None
    if values["public_url"] is None:
        host = values["host"]
        values["public_url"] = f"http://{f'[{host}]' if ':' in host else host}:{values['port']}"
    return Settings(**values)


def _expected(exc: ValueError) -> str:
    text = str(exc)
    if "could not convert" in text or "invalid literal" in text:
        return "a number"
    if "does not appear to be" in text or "has host bits set" in text:
        return "comma-separated addresses or networks"
    if "Port" in text:
        return "a URL with a port from 0 to 65535"
    return text
