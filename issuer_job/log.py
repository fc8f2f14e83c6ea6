"""Structured logs: one JSON object a line, or plain text with CERTJOB_LOG=text."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `event`, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        } | _fields(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """For people: time, event, `key=value` pairs, as in JSON where a value could look like a pair or a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; those of a traceback are indented."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        pairs = " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record).items())
        text = f"{time} {record.levelname.lower()} {_printable(record.getMessage())} {pairs}".rstrip()
        traceback = self.formatException(record.exc_info).split("\n") if record.exc_info else []
        return "\n".join([text, *(f"  {_printable(line)}" for line in traceback)])


_PLAIN = re.compile(r'[^\s"=]+')


def _quoted(value: object) -> str:
    is_plain = isinstance(value, str) and value.isprintable() and _PLAIN.fullmatch(value)
    return str(value) if is_plain else json.dumps(value, default=str)


def _printable(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]


_logger = logging.getLogger("issuer_job")


def info(event: str, /, **fields: object) -> None:
    """One line: what happened, and what there is to know of it."""
    _logger.info(event, extra={"fields": fields})


def warning(event: str, /, **fields: object) -> None:
    """One line about something that went wrong and is made good later."""
    _logger.warning(event, extra={"fields": fields})


def error(event: str, /, **fields: object) -> None:
    """One line about something that somebody has to look at."""
    _logger.error(event, extra={"fields": fields})


def exception(event: str, /, **fields: object) -> None:
    """The same about an exception that was not foreseen, with its traceback."""
    _logger.exception(event, extra={"fields": fields})


def configure(style: str) -> None:
    """Log to standard output: `json`, or `text`."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(TextFormatter() if style == "text" else JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}
