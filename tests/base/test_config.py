"""A wrong setting stops the start with one clear line that names the variable."""

import pytest

from app.base import config
from app.base.config import SettingError
from tests.kit import Cases


def test_without_any_variable_the_defaults_of_the_contract_apply() -> None:
    settings = config.load({})
    assert (settings.host, settings.port, str(settings.data_dir)) == ("127.0.0.1", 8000, "data")
    assert settings.public_url == "http://127.0.0.1:8000"
    assert (settings.worker_seconds, settings.catalog_seconds, settings.job_timeout_seconds) == (15, 3600, 1800)
    assert (settings.max_image_bytes, settings.max_video_bytes) == (10 * 1024**2, 200 * 1024**2)
    assert settings.registration == "open"
    assert settings.rate_limits
    assert settings.simulated
    assert not settings.https


WRONG = [
    ("ATELIER_PORT", "eighty"),
    ("ATELIER_PORT", "70000"),
    ("ATELIER_PUBLIC_URL", "studio.example.org"),
    ("ATELIER_PUBLIC_URL", "https://studio.example.org/path"),
    ("ATELIER_PUBLIC_URL", "https://user@studio.example.org"),
    ("ATELIER_PUBLIC_URL", "https://studio.example.org:99999"),
    ("ATELIER_TRUSTED_PROXIES", "10.0.0.1, nonsense"),
    ("ATELIER_REGISTRATION", "sometimes"),
    ("ATELIER_REGISTRATION", "domain:"),
    ("ATELIER_SIMULATOR", "yes"),
    ("ATELIER_SIMULATOR_SPEED", "-1"),
    ("ATELIER_SIMULATOR_SPEED", "nan"),
    ("ATELIER_WORKER_SECONDS", "0"),
    ("ATELIER_CATALOG_SECONDS", "soon"),
    ("ATELIER_RATE_LIMITS", "1"),
    ("ATELIER_MAX_IMAGE_MB", "0"),
    ("ATELIER_SECRET_KEY", "short"),
    ("OPENROUTER_BASE_URL", "ftp://example.org"),
]


def test_a_wrong_value_is_refused_with_the_name_of_its_variable() -> None:
    with Cases() as cases:
        for name, value in WRONG:
            message = ""
            try:
                config.load({name: value})
            except SettingError as exc:
                message = str(exc)
            with cases.case(name, value):
                assert message.startswith(f"{name} must be ")
                assert "\n" not in message


def test_an_empty_variable_counts_as_not_set() -> None:
    assert config.load({"ATELIER_JOB_TIMEOUT_SECONDS": ""}) == config.load({})


def test_a_wrong_secret_is_not_repeated() -> None:
    with pytest.raises(SettingError) as refused:
        config.load({"ATELIER_SECRET_KEY": "hunter2"})
    assert "hunter2" not in str(refused.value)


def test_the_representation_of_the_settings_shows_no_secret() -> None:
    secrets = {"OPENROUTER_API_KEY": "sk-or-v1-secret", "OPENAI_API_KEY": "sk-proj-secret", "FAL_KEY": "id:fal-secret"}
    settings = config.load({**secrets, "ATELIER_SECRET_KEY": "s" * 40})
    assert not any(secret in repr(settings) for secret in secrets.values())
    assert "ssss" not in repr(settings)


def test_the_simulator_runs_while_no_provider_is_configured_or_when_it_is_switched_on() -> None:
    simulated = [
        config.load(environ).simulated
        for environ in (
            {},
            {"OPENROUTER_API_KEY": "k"},
            {"FAL_KEY": "k"},
            {"OPENROUTER_API_KEY": "k", "ATELIER_SIMULATOR": "on"},
            {"ATELIER_SIMULATOR": "off"},
            {"OPENAI_API_KEY": "k"},
            {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"},
            {"OPENAI_BASE_URL": "https://api.openai.com/v1"},
        )
    ]
    assert simulated == [True, False, False, True, False, False, False, True]


def test_https_is_derived_from_the_public_address() -> None:
    assert config.load({"ATELIER_PUBLIC_URL": "https://studio.example.org/"}).https


def test_an_ipv6_host_makes_a_valid_address() -> None:
    assert config.load({"ATELIER_HOST": "::1"}).public_url == "http://[::1]:8000"
