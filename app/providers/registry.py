"""Builds the configured providers, and lists the base URLs that the outbound client may reach."""

from collections.abc import Callable, Mapping
from functools import partial

from app.base.config import SettingError, Settings
from app.providers.client import Client
from app.providers.contract import Provider
from app.providers.openrouter import OpenRouter, Webhooks

TITLE = "Atelier"  # how this app is named in the provider's statistics; its address is not sent


def base_urls(settings: Settings, simulator_url: str | None) -> tuple[str, ...]:
    """The base URLs of the configured providers. `Client` must be built with these before the providers are."""
    if settings.simulated:
        return (simulator_url,) if simulator_url else ()
    return (settings.openrouter_base_url,) if settings.openrouter_api_key else ()


def webhooks(settings: Settings) -> dict[str, Callable[[Mapping[str, str], bytes], str]]:
    """For each provider that sends webhooks: a function that verifies a webhook and returns its deduplication key. It
    raises Denied when the webhook is not genuine."""
    return {OpenRouter.name: Webhooks(settings.openrouter_webhook_secret).key}


def providers(
    settings: Settings,
    client: Client,
    simulator_url: str | None = None,
    simulator_key: str | None = None,
    callback: Callable[[str, str], str] | None = None,
) -> dict[str, Provider]:
    """Providers by name. `simulator_url` is the base URL of the simulator's OpenRouter API; a real key is never sent to it.
    `callback` returns the webhook URL for a provider name and a job id."""
    key = simulator_key if settings.simulated else settings.openrouter_api_key
    configured: dict[str, Provider] = {}
    for base_url in base_urls(settings, simulator_url):
        try:
            provider = OpenRouter(
                client,
                base_url,
                key,
                max_image_bytes=settings.max_image_bytes,
                max_video_bytes=settings.max_video_bytes,
                title=TITLE,
                is_openrouter=True if settings.simulated else None,
                callback=partial(callback, OpenRouter.name) if callback else None,
            )
        except ValueError:
            raise SettingError("OPENROUTER_API_KEY must be one line of plain ASCII") from None
        configured[provider.name] = provider
    return configured
