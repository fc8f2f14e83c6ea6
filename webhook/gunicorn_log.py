"""gunicorn's own messages in the form of all the others."""

from __future__ import annotations

import os
from typing import Any

from gunicorn.glogging import Logger

from issuer_job.log import JsonFormatter, TextFormatter


class GunicornLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger with certjob's formatter: JSON, or text with CERTJOB_LOG=text."""

    def setup(self, cfg: Any) -> None:
        """Called at the start and when the configuration is read again."""
        super().setup(cfg)
        text = os.environ.get("CERTJOB_LOG") == "text"
        for handler in self.error_log.handlers:
            handler.setFormatter(TextFormatter() if text else JsonFormatter())
