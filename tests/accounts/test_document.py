"""The API document describes the requests and responses of these routes."""

from typing import Any

import pytest

from .studio import Studio

ROUTES = {
    ("post", "/api/v1/auth/register"): {201, 400, 403, 409, 413},
    ("post", "/api/v1/auth/login"): {200, 400, 401, 403, 413},
    ("post", "/api/v1/auth/refresh"): {200, 400, 401, 413},
    ("post", "/api/v1/auth/logout"): {204, 400, 413},
    ("get", "/api/v1/users/me"): {200, 401},
    ("put", "/api/v1/users/me"): {200, 400, 401, 409, 413},
    ("get", "/api/v1/users/me/keys"): {200, 400, 401},
    ("post", "/api/v1/users/me/keys"): {201, 400, 401, 403, 413},
    ("delete", "/api/v1/users/me/keys/{key_id}"): {204, 400, 401, 404},
    ("get", "/api/v1/users/me/sessions"): {200, 400, 401},
    ("delete", "/api/v1/users/me/sessions"): {204, 401},
    ("delete", "/api/v1/users/me/sessions/{session_id}"): {204, 400, 401, 404},
    ("get", "/api/v1/users"): {200, 400, 401, 403},
    ("put", "/api/v1/users/{user_id}/role"): {200, 400, 401, 403, 404, 409, 413},
    ("put", "/api/v1/users/{user_id}/active"): {200, 400, 401, 403, 404, 409, 413},
}
ANY = {429, 503}


@pytest.fixture
async def document(studio: Studio) -> dict[str, Any]:
    found: dict[str, Any] = (await studio.client.get("/openapi/openapi.json")).json()
    return found


async def test_every_route_declares_every_status_that_it_can_return(document: dict[str, Any]) -> None:
    declared = {
        (method, path): {int(status) for status in operation["responses"]}
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert declared == {route: statuses | ANY for route, statuses in ROUTES.items()}


async def test_every_error_is_declared_with_the_error_envelope(document: dict[str, Any]) -> None:
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Envelope"}


async def test_every_route_has_a_summary_and_declares_whether_it_needs_a_bearer(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert " " in operation["summary"]
            assert ("security" in operation) == path.startswith("/api/v1/users")
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_the_schemas_have_plain_names_and_declare_their_constraints(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {"Users", "Keys", "Sessions", "UserOut", "Envelope"} <= set(schemas)
    assert all("." not in name for name in schemas)
    assert schemas["Users"]["properties"]["items"] == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/UserOut"},
    }
    password = schemas["Registration"]["properties"]["password"]
    assert (password["minLength"], password["maxLength"]) == (8, 128)
    assert password["examples"]
    assert set(schemas["UserOut"]["properties"]) == {
        "id",
        "email",
        "name",
        "role",
        "is_active",
        "created_at",
        "last_login_at",
    }
