"""Structured logs: one line per event, with its request and job. Secrets are masked before a line is written."""

import contextlib
import json
import logging
import re
import sys
from typing import Any, TextIO, cast

import msgspec
import structlog

# What a key, token or password looks like in a URL, a header or a message.
_SECRET = re.compile(
    r"(?i)(bearer\s+|key\s+(?=[\w:-]{12})|sk-or-|atl_|(?:token|key|password|secret|signature)=)[^\s\"'&,;]+"
)


def masked(text: str) -> str:
    return _SECRET.sub(lambda match: match[1] + "…", text)


def _mask(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: masked(value) if isinstance(value, str) else value for key, value in event.items()}


def _json(event: structlog.typing.EventDict, **_: Any) -> str:
    try:
        return _encoder.encode(event).decode()
    except (
        UnicodeEncodeError,
        OverflowError,
    ):  # a lone surrogate or an infinite number: slower, but the event is logged
        return json.dumps(event, default=repr)


_encoder = msgspec.json.Encoder(enc_hook=repr)


class _Stderr:
    """The current standard error stream. A line for a closed stream is dropped: a caller that logs cannot handle the error."""

    def write(self, text: str) -> None:
        with contextlib.suppress(ValueError, OSError, AttributeError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(ValueError, OSError, AttributeError):
            sys.stderr.flush()


def start(*, human: bool) -> None:
    """Write coloured lines for a terminal (`human`), else JSON; both to stderr."""
    final: list[structlog.typing.Processor] = (
        [_mask, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if human
        else [structlog.processors.format_exc_info, _mask, structlog.processors.JSONRenderer(serializer=_json)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *final,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_StandardLogHandler(logging.WARNING)], level=logging.WARNING, force=True)
    logging.captureWarnings(not human)


class _StandardLogHandler(logging.Handler):
    """Turns records of the standard `logging` module (libraries, server, warnings) into structured lines."""

    def emit(self, record: logging.LogRecord) -> None:
        get(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)


def bind(**values: str) -> None:
    """Add these values to every later line of this task and of the tasks that it starts."""
    structlog.contextvars.bind_contextvars(**values)


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=name)
    return logger
