"""gunicorn's own messages in the form of all the others, and no line with the token of a path."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

from gunicorn.glogging import Logger

from issuer_job.log import JsonFormatter, TextFormatter

_TOKEN = re.compile(r"(?<=/mutate/)([a-z]{1,20}/)[0-9A-Za-z%]+")


class Tokenless(logging.Formatter):
    """Another formatter's lines without what comes behind `/mutate/KIND/`, whoever wrote it there."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return _TOKEN.sub(r"\1...", self._inner.format(record))


class GunicornLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger with certjob's formatter: JSON, or text with CERTJOB_LOG=text."""

    def setup(self, cfg: Any) -> None:
        """Called at the start and when the configuration is read again."""
        super().setup(cfg)
        text = os.environ.get("CERTJOB_LOG") == "text"
        for handler in self.error_log.handlers:
            handler.setFormatter(Tokenless(TextFormatter() if text else JsonFormatter()))
