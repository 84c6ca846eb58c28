"""Builds the configured providers, and lists the base URLs that the outbound client may reach."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from app.base.config import FAL_QUEUE_URL, SettingError, Settings
from app.providers.client import Client
from app.providers.contract import Provider
from app.providers.fal import Fal, FalWebhooks
from app.providers.openai import OpenAI
from app.providers.openrouter import OpenRouter, Webhooks
from app.providers.webhooks import Key

Callback = Callable[[str, str], str]

FAL_SITE = "https://fal.ai"  # publishes the schemas of its models; not asked when another server stands for fal's queue
TITLE = "Atelier"  # how this app is named in the provider's statistics; its address is not sent


def base_urls(settings: Settings, simulator_url: str | None) -> tuple[str, ...]:
    """The base URLs of the configured providers. `Client` must be built with these before the providers are."""
    if settings.simulated:
        return (simulator_url,) if simulator_url else ()
    openrouter = (settings.openrouter_base_url,) if settings.openrouter_api_key else ()
    openai = (settings.openai_base_url,) if settings.uses_openai else ()
    fal = (settings.fal_queue_url, settings.fal_rest_url, *_fal_site(settings)) if settings.fal_key else ()
    return openrouter + openai + fal


def webhooks(settings: Settings, client: Client) -> dict[str, Key]:
    """For each provider that sends webhooks: a function that verifies a webhook and returns its deduplication key. It
    raises Denied when the webhook is not genuine."""
    keys: dict[str, Key] = {OpenRouter.name: Webhooks(settings.openrouter_webhook_secret).key}
    if settings.fal_key and not settings.simulated:
        keys[Fal.name] = FalWebhooks(client, settings.fal_rest_url).key
    return keys


def providers(
    settings: Settings,
    client: Client,
    simulator_url: str | None = None,
    simulator_key: str | None = None,
    callback: Callback | None = None,
) -> dict[str, Provider]:
    """Providers by name. `simulator_url` is the base URL of the simulator's OpenRouter API; a real key is never sent to it.
    `callback` returns the webhook URL for a provider name and a job id."""
    if settings.simulated:
        found = [_openrouter(settings, client, simulator_url, simulator_key, callback)] if simulator_url else []
    else:
        found = _configured(settings, client, callback)
    return {provider.name: provider for provider in found}


def _configured(settings: Settings, client: Client, callback: Callback | None) -> list[Provider]:
    found: list[Provider] = []
    if key := settings.openrouter_api_key:
        found.append(_openrouter(settings, client, settings.openrouter_base_url, key, callback))
    if settings.uses_openai:
        found.append(_openai(settings, client))
    if settings.fal_key:
        found.append(_fal(settings, client, callback))
    return found


def _openrouter(
    settings: Settings, client: Client, base_url: str, key: str | None, callback: Callback | None
) -> Provider:
    with _valid_key("OPENROUTER_API_KEY"):
        return OpenRouter(
            client,
            base_url,
            key,
            max_image_bytes=settings.max_image_bytes,
            max_video_bytes=settings.max_video_bytes,
            title=TITLE,
            is_openrouter=True if settings.simulated else None,
            callback=partial(callback, OpenRouter.name) if callback else None,
        )


def _openai(settings: Settings, client: Client) -> Provider:
    with _valid_key("OPENAI_API_KEY"):
        return OpenAI(
            client,
            settings.openai_base_url,
            settings.openai_api_key,
            max_image_bytes=settings.max_image_bytes,
            max_video_bytes=settings.max_video_bytes,
        )


def _fal(settings: Settings, client: Client, callback: Callback | None) -> Provider:
    with _valid_key("FAL_KEY"):
        return Fal(
            client,
            settings.fal_queue_url,
            settings.fal_rest_url,
            settings.fal_key,
            max_image_bytes=settings.max_image_bytes,
            max_video_bytes=settings.max_video_bytes,
            site_url=next(iter(_fal_site(settings)), None),
            callback=partial(callback, Fal.name) if callback else None,
        )


def _fal_site(settings: Settings) -> tuple[str, ...]:
    return (FAL_SITE,) if settings.fal_queue_url == FAL_QUEUE_URL else ()


@contextmanager
def _valid_key(setting: str) -> Iterator[None]:
    try:
        yield
    except ValueError:
        raise SettingError(f"{setting} must be one line of plain ASCII") from None
