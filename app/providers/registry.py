"""The providers in use, how one is built from its configuration, and which of them the environment configures."""

import contextlib
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from app.base.config import FAL_QUEUE_URL, FAL_REST_URL, OPENAI_URL, OPENROUTER_URL, SettingError, Settings
from app.base.errors import Invalid
from app.providers.client import Client
from app.providers.contract import Provider
from app.providers.errors import AddressNotAllowed
from app.providers.fal import Fal, FalWebhooks
from app.providers.openai import OpenAI
from app.providers.openrouter import OpenRouter, Webhooks
from app.providers.webhooks import Key

FAL_SITE: Final = (
    "https://fal.ai"  # publishes the schemas of its models; not asked when another server stands for its queue
)
FAL_PLATFORM: Final = (
    "https://api.fal.ai"  # lists prices; another server that stands for the queue lists them with its files
)
TITLE: Final = "Atelier"  # how this app is named in the provider's statistics; its address is not sent


class ProviderKind(enum.StrEnum):
    """The API that a provider has."""

    OPENROUTER = "openrouter"
    OPENAI = "openai"
    FAL = "fal"


# The base URL of each kind that has one of its own.
DEFAULT_URLS: Final[Mapping[ProviderKind, str]] = {
    ProviderKind.OPENROUTER: OPENROUTER_URL,
    ProviderKind.OPENAI: OPENAI_URL,
    ProviderKind.FAL: FAL_QUEUE_URL,
}


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is built from. `simulated`: the built-in simulator stands at `base_url`. `rest_url` is that of fal's second
    service, None for the one that belongs to `base_url`."""

    name: str
    kind: ProviderKind
    base_url: str
    key: str | None = None
    rest_url: str | None = None
    simulated: bool = False

    @property
    def fal_rest_url(self) -> str:
        return self.rest_url or (FAL_REST_URL if self.base_url == FAL_QUEUE_URL else self.base_url)

    @property
    def fal_site(self) -> str | None:
        return FAL_SITE if self.base_url == FAL_QUEUE_URL else None

    @property
    def fal_platform(self) -> str:
        return FAL_PLATFORM if self.base_url == FAL_QUEUE_URL else self.fal_rest_url

    @property
    def base_urls(self) -> tuple[str, ...]:
        """All that the provider asks."""
        if self.kind is not ProviderKind.FAL:
            return (self.base_url,)
        return tuple(dict.fromkeys(filter(None, (self.base_url, self.fal_rest_url, self.fal_platform, self.fal_site))))

    def __repr__(self) -> str:
        return f"ProviderConfig({self.name!r}, {self.base_url!r})"


def configs_of(settings: Settings) -> list[ProviderConfig]:
    """The providers that the environment configures. Raises SettingError for a key that cannot be sent."""
    found: list[ProviderConfig] = []
    if key := _checked("OPENROUTER_API_KEY", settings.openrouter_api_key):
        kind, url = ProviderKind.OPENROUTER, settings.openrouter_base_url
        found.append(ProviderConfig(name=kind.value, kind=kind, base_url=url, key=key))
    key = _checked("OPENAI_API_KEY", settings.openai_api_key)
    if settings.uses_openai:
        kind, url = ProviderKind.OPENAI, settings.openai_base_url
        found.append(ProviderConfig(name=kind.value, kind=kind, base_url=url, key=key))
    if key := _checked("FAL_KEY", settings.fal_key):
        kind, url, rest = ProviderKind.FAL, settings.fal_queue_url, settings.fal_rest_url
        found.append(ProviderConfig(name=kind.value, kind=kind, base_url=url, rest_url=rest, key=key))
    return found


def _checked(setting: str, key: str | None) -> str | None:
    if key is not None and not (key.isascii() and key.isprintable()):
        raise SettingError(f"{setting} must be one line of plain ASCII")
    return key


class ProviderRegistry(Mapping[str, Provider]):
    """The providers in use, by name, in the order in which they are asked. It changes while the program runs."""

    def __init__(
        self,
        client: Client,
        *,
        max_image_bytes: int,
        max_video_bytes: int,
        webhook_secret: str | None = None,
        callback: Callable[[str, str], str] | None = None,
        instrument: Callable[[Provider], Provider] = lambda provider: provider,
    ) -> None:
        """`webhook_secret` is that of OpenRouter's webhooks. `callback` returns the webhook URL for a provider name and a job id;
        `instrument` wraps each provider."""
        self._client = client
        self._max_image_bytes = max_image_bytes
        self._max_video_bytes = max_video_bytes
        self._webhook_secret = webhook_secret
        self._callback = callback
        self._instrument = instrument
        # By provider, for those that send webhooks: verifies a webhook and returns its deduplication key.
        self.webhook_keys: dict[str, Key] = {}
        self._configs: tuple[ProviderConfig, ...] = ()
        self._tested: list[ProviderConfig] = []  # now, several at a time
        self._providers: dict[str, Provider] = {}

    def __getitem__(self, name: str) -> Provider:
        return self._providers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._providers)

    def __len__(self) -> int:
        return len(self._providers)

    def replace(self, configs: Sequence[ProviderConfig]) -> None:
        """Use exactly these providers from now on. Those whose configuration is the same stay the same objects."""
        known = {config: self._providers[config.name] for config in self._configs}
        self._providers = {config.name: known.get(config) or self._instrument(self.build(config)) for config in configs}
        keys = {config.name: self._webhook_key(config) for config in configs if config not in known}
        kept = {config.name for config in configs if config in known}
        for name in self.webhook_keys.keys() - kept:
            del self.webhook_keys[name]
        self.webhook_keys.update({name: key for name, key in keys.items() if key is not None})
        self._configs = tuple(configs)
        self._permit()

    @contextlib.contextmanager
    def reachable(self, config: ProviderConfig) -> Iterator[None]:
        """In the block, a provider that is not in use yet can be reached, to test it."""
        self._tested.append(config)
        self._permit()
        try:
            yield
        finally:
            self._tested.remove(config)
            self._permit()

    def _permit(self) -> None:
        self._client.set_base_urls(url for config in (*self._configs, *self._tested) for url in config.base_urls)

    def _webhook_key(self, config: ProviderConfig) -> Key | None:
        match config.kind:
            case ProviderKind.FAL:
                return FalWebhooks(self._client, config.fal_rest_url).key
            case ProviderKind.OPENROUTER:
                return Webhooks(self._webhook_secret).key
            case ProviderKind.OPENAI:
                return None

    def build(self, config: ProviderConfig) -> Provider:
        """Raises Invalid when no provider can be built."""
        try:
            return self._build(config)
        except AddressNotAllowed as exc:
            raise Invalid(f"The base URL cannot be used: {exc}.", fields={"base_url": str(exc)}) from None
        except ValueError:
            message = "The key must be one line of plain ASCII."
            raise Invalid(message, fields={"api_key": message}) from None

    def _build(self, config: ProviderConfig) -> Provider:
        callback = partial(self._callback, config.name) if self._callback else None
        match config.kind:
            case ProviderKind.OPENAI:
                return OpenAI(
                    self._client,
                    config.base_url,
                    config.key,
                    max_image_bytes=self._max_image_bytes,
                    max_video_bytes=self._max_video_bytes,
                    name=config.name,
                )
            case ProviderKind.FAL:
                return Fal(
                    self._client,
                    config.base_url,
                    config.fal_rest_url,
                    config.key,
                    max_image_bytes=self._max_image_bytes,
                    max_video_bytes=self._max_video_bytes,
                    name=config.name,
                    site_url=config.fal_site,
                    platform_url=config.fal_platform,
                    callback=callback,
                )
            case ProviderKind.OPENROUTER:
                return OpenRouter(
                    self._client,
                    config.base_url,
                    config.key,
                    max_image_bytes=self._max_image_bytes,
                    max_video_bytes=self._max_video_bytes,
                    name=config.name,
                    title=TITLE,
                    is_openrouter=True if config.simulated else None,
                    callback=callback,
                )
