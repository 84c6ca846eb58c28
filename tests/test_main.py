"""The whole program under settings that change what it serves: registration, no provider in reach."""

import socket
from pathlib import Path

import pytest

from tests.kit import UNKNOWN_ID, Cases, error_of
from tests.studio import PASSWORD, running

REGISTRATIONS = {
    "closed": {"bob@studio.example": 403},
    "domain:studio.example": {
        "bob@studio.example": 201,
        "joe@STUDIO.example": 201,
        "bob@other.example": 403,
        "bob@evil.studio.example": 403,
        "bob@evilstudio.example": 403,
        "bob@studio.example.evil.example": 403,
    },
    "open": {"bob@other.example": 201},
}


async def test_registration_is_open_closed_or_for_one_domain(tmp_path: Path) -> None:
    with Cases() as cases:
        for number, (registration, addresses) in enumerate(REGISTRATIONS.items()):
            async with running(tmp_path / str(number), ATELIER_REGISTRATION=registration) as studio:
                anonymous = studio.direct()
                body = {"email": "ann@studio.example", "password": PASSWORD}
                first = await anonymous.post("/api/v1/auth/register", json=body)
                with cases.case(registration, "the first user"):  # also when registration is closed
                    assert (first.status_code, first.json().get("role")) == (201, "admin")
                for address, status in addresses.items():
                    with cases.case(registration, address):
                        body = {"email": address, "password": PASSWORD}
                        answer = await anonymous.post("/api/v1/auth/register", json=body)
                        if status == 403:
                            error_of(answer, 403, "FORBIDDEN")
                            page = await studio.direct_browser().send_form("/register", body)
                            assert page.status_code == 403
                        else:
                            assert (answer.status_code, answer.json()["role"]) == (201, "user")


async def test_the_program_starts_without_reaching_its_provider_and_logs_no_key(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    key, url = "sk-or-very-secret-key", f"http://127.0.0.1:{port}/api/v1"
    async with running(tmp_path, OPENROUTER_API_KEY=key, OPENROUTER_BASE_URL=url) as studio:
        ann = await studio.user(direct=True)
        assert (await studio.direct().get("/health")).status_code == 200
        assert (await ann.get("/api/v1/ai/models")).json()["items"] == []
        error_of(await ann.get(f"/api/v1/jobs/{UNKNOWN_ID}"), 404)
    captured = capfd.readouterr()
    assert "/api/v1/jobs/" in captured.err + captured.out, "the log was not captured"
    assert key not in captured.err + captured.out
