"""Log lines: secrets are masked, lines of libraries have the same form, and a closed stream causes no error."""

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TextIO

import pytest
import structlog
from structlog.testing import capture_logs

from app.base import logging as app_logging
from tests.kit import logged


def test_secrets_are_masked_in_every_form() -> None:
    texts = {
        "Authorization: Bearer eyJhbGciOi.payload.mark": "eyJhbGciOi.payload.mark",
        "the key sk-or-v1-0123456789abcdef was refused": "0123456789abcdef",
        "atl_0123456789abcdef0123": "0123456789abcdef0123",
        "https://host/clip?token=abcdef&expires=1": "abcdef",
        "signature=deadbeef;": "deadbeef",
        "Authorization: Key fal-id:secretpart": "secretpart",
    }
    failures = [text for text, secret in texts.items() if secret in app_logging.masked(text)]
    assert not failures
    assert app_logging.masked("a lighthouse keeper at a window") == "a lighthouse keeper at a window"


def test_a_line_is_json_with_its_context(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    app_logging.start(human=False)
    try:
        with structlog.contextvars.bound_contextvars(request="r1"):
            app_logging.get("test").info("hello", url="https://x.example/?key=secretpart")
    finally:
        app_logging.start(human=True)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["request"], line["part"], line["level"]) == ("hello", "r1", "test", "info")
    assert "secretpart" not in stream.getvalue()


def test_what_libraries_log_becomes_a_line_like_ours() -> None:
    with capture_logs() as lines:
        logging.getLogger("uvicorn.error").error("Cancel %s running task(s)", 3)
        logging.getLogger("some.library").info("this is below the level")
    assert logged(lines, "some.library") == []
    assert logged(lines, "uvicorn.error") == [
        {"part": "uvicorn.error", "event": "Cancel 3 running task(s)", "exc_info": None, "log_level": "error"}
    ]


def closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


def without_a_reader() -> TextIO:
    """The end of a pipe whose other end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", buffering=1)


@pytest.mark.parametrize("stream", [closed, without_a_reader, lambda: None], ids=["closed", "a broken pipe", "none"])
def test_a_line_for_a_stream_that_is_gone_is_dropped(
    stream: Callable[[], TextIO | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[BaseException] = []

    def write() -> None:
        try:
            app_logging.get("test").error("nothing reads this")
            logging.getLogger("some.library").error("nor this")
        except BaseException as exc:
            raised.append(exc)

    gone = stream()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", gone)
        write()
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    if gone is not None and not gone.closed:
        with pytest.raises(BrokenPipeError):
            gone.close()
    assert raised == []


def test_lines_go_to_the_standard_error_stream_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = app_logging.get("test")
    for _ in range(2):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        logger.error("it is written here")
        assert "it is written here" in stream.getvalue()
