"""What an error response means, before any provider adds what it knows."""

from typing import Any

from app.providers.contract import ErrorCode, Failed, Kind, Retryable
from app.providers.openai_format.error_responses import error_of, failed
from app.providers.responses import JsonResponse
from tests.kit import Cases


def response(status: int, error: Any = None, **headers: str) -> JsonResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JsonResponse(status=status, headers=named, body={"error": error})


def test_a_spent_budget_is_final_although_its_status_says_wait() -> None:
    codes = (
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    )
    with Cases() as cases:
        for code in codes:
            for error in ({"code": code}, {"type": code, "code": None}):
                with cases.case(error):
                    outcome = failed(response(429, error, retry_after="2"), Kind.TEXT, "")
                    assert isinstance(outcome, Failed)
                    assert "credit" in outcome.message


def test_a_rate_limit_says_how_long_to_wait() -> None:
    outcome = failed(response(429, {"code": "rate_limit_exceeded"}, retry_after="7"), Kind.IMAGE, "")
    assert isinstance(outcome, Retryable)
    assert outcome.wait == 7


def test_a_server_error_is_retryable_only_where_the_provider_says_that_it_is_not_billed() -> None:
    with Cases() as cases:
        for status in (500, 502, 504, 520, 524):
            with cases.case(status):
                unknown = failed(response(status), Kind.IMAGE, "")
                assert isinstance(unknown, Failed)
                assert unknown.code is ErrorCode.OUTCOME_UNKNOWN
                assert isinstance(failed(response(status), Kind.IMAGE, "", unbilled=(status,)), Retryable)


def test_an_error_of_another_type_is_read_as_none() -> None:
    values: tuple[Any, ...] = (None, [], 7, True, {"error": []}, {"error": None})
    with Cases() as cases:
        for value in values:
            with cases.case(value):
                assert error_of(value) == {}
    assert error_of({"error": "plain text"}) == {"message": "plain text"}
