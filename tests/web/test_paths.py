"""The table of path rules covers every route of the program, and agrees with what the routes themselves say."""

from collections.abc import Iterator

from app.web.paths import PAGES, RULES, Credentials, ErrorFormat, rule_for
from tests.security.routes import Route, routes


def _disagreements(route: Route, handle_head: set[str]) -> Iterator[str]:
    rule = rule_for(route.path)
    if route.guarded and rule.is_api != (rule.credentials is Credentials.BEARER):
        yield f"{route} takes the wrong credentials for its kind of errors"
    if (route.path in handle_head) != rule.handles_head:
        yield f"{route} and its rule disagree on who handles HEAD"
    if route.method == "POST" and (route.handler.opt.get("limit") in ("sign-in", "registration")) != (
        rule.limits_concurrency
    ):
        yield f"{route} and its rule disagree on whether it checks a password"
    if ("{token}" in route.path) != rule.secret:
        yield f"{route} and its rule disagree on whether the path contains a secret"
    if route.path.startswith("/v1/") != (rule.errors is ErrorFormat.OPENAI):
        yield f"{route} shows errors in the wrong format"


def test_the_rules_agree_with_every_route() -> None:
    handle_head = {route.path for route in routes() if route.method == "HEAD"}
    assert [found for route in routes() for found in _disagreements(route, handle_head)] == []


def test_every_rule_has_a_route() -> None:
    assert {rule_for(route.path).path for route in routes()} == {rule.path for rule in RULES}


def test_a_rule_covers_its_path_and_everything_below_it() -> None:
    for path in ("/v1", "/v1/", "/v1/models"):
        assert rule_for(path).path == "/v1"
    for path in ("/v10", "/v1x/models", "/jobs/v1", "/", "", "*", "//v1"):
        assert rule_for(path) is PAGES
    assert rule_for("/api/docs").path == "/api"
    assert rule_for("/api/v1/auth/logout").path == "/api/v1"
