"""The providers in use, how one is built from its configuration, and which of them the environment configures."""

import contextlib
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from app.base.config import SettingError, Settings
from app.base.errors import Invalid
from app.providers.client import Client
from app.providers.contract import Provider
from app.providers.errors import AddressNotAllowed
from app.providers.openrouter import OpenRouter, Webhooks

TITLE: Final = "Atelier"  # how this app is named in the provider's statistics; its address is not sent


class ProviderKind(enum.StrEnum):
    """The API that a provider has."""

    OPENROUTER = "openrouter"


# The base URL of each kind that has one of its own.
DEFAULT_URLS: Final[Mapping[ProviderKind, str]] = {ProviderKind.OPENROUTER: "https://openrouter.ai/api/v1"}


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is built from. `simulated`: the built-in simulator stands at `base_url`."""

    name: str
    kind: ProviderKind
    base_url: str
    key: str | None = None
    simulated: bool = False

    def __repr__(self) -> str:
        return f"ProviderConfig({self.name!r}, {self.base_url!r})"


def configs_of(settings: Settings) -> list[ProviderConfig]:
    """The providers that the environment configures. Raises SettingError for a key that cannot be sent."""
    if not settings.openrouter_api_key:
        return []
    if not (settings.openrouter_api_key.isascii() and settings.openrouter_api_key.isprintable()):
        raise SettingError("OPENROUTER_API_KEY must be one line of plain ASCII")
    return [
        ProviderConfig(
            name=OpenRouter.name,
            kind=ProviderKind.OPENROUTER,
            base_url=settings.openrouter_base_url,
            key=settings.openrouter_api_key,
        )
    ]


def webhooks(settings: Settings) -> dict[str, Callable[[Mapping[str, str], bytes], str]]:
    """For each provider that sends webhooks: a function that verifies a webhook and returns its deduplication key. It
    raises Denied when the webhook is not genuine."""
    return {OpenRouter.name: Webhooks(settings.openrouter_webhook_secret).key}


class ProviderRegistry(Mapping[str, Provider]):
    """The providers in use, by name, in the order in which they are asked. It changes while the program runs."""

    def __init__(
        self,
        client: Client,
        *,
        max_image_bytes: int,
        max_video_bytes: int,
        callback: Callable[[str, str], str] | None = None,
        instrument: Callable[[Provider], Provider] = lambda provider: provider,
    ) -> None:
        """`callback` returns the webhook URL for a provider name and a job id; `instrument` wraps each provider."""
        self._client = client
        self._max_image_bytes = max_image_bytes
        self._max_video_bytes = max_video_bytes
        self._callback = callback
        self._instrument = instrument
        self._configs: tuple[ProviderConfig, ...] = ()
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
        self._configs = tuple(configs)
        self._client.set_base_urls(config.base_url for config in configs)

    @contextlib.contextmanager
    def reachable(self, config: ProviderConfig) -> Iterator[None]:
        """In the block, a provider that is not in use yet can be reached, to test it."""
        self._client.set_base_urls(each.base_url for each in (*self._configs, config))
        try:
            yield
        finally:
            self._client.set_base_urls(each.base_url for each in self._configs)

    def build(self, config: ProviderConfig) -> Provider:
        """Raises Invalid when no provider can be built."""
        try:
            return OpenRouter(
                self._client,
                config.base_url,
                config.key,
                name=config.name,
                max_image_bytes=self._max_image_bytes,
                max_video_bytes=self._max_video_bytes,
                title=TITLE,
                is_openrouter=True if config.simulated else None,
                callback=partial(self._callback, config.name) if self._callback else None,
            )
        except AddressNotAllowed as exc:
            raise Invalid(f"The base URL cannot be used: {exc}.", fields={"base_url": str(exc)}) from None
        except ValueError:
            message = "The key must be one line of plain ASCII."
            raise Invalid(message, fields={"api_key": message}) from None
