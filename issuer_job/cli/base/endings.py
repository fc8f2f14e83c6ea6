"""How a command ends: exit codes, and the one exception that carries a sentence and a code."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TypeVar

from issuer_job.cluster.api import ApiError, KubeError, Unreachable

T = TypeVar("T")


class Exit(IntEnum):
    """The exit codes of `kubectl certjob`."""

    DONE = 0
    """Done, or: the answer is yes."""
    NO = 1
    """The answer is no."""
    USAGE = 2
    UNKNOWN = 3
    """It could not be found out: the API server, or a right, which is named."""
    TIMEOUT = 4
    """`wait` did not see it in time."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    """Nobody reads any more: as a shell has it of a process that SIGPIPE has ended."""


class CommandError(Exception):
    """Ends the command with a sentence on stderr and an exit code."""

    def __init__(self, message: str, code: Exit = Exit.UNKNOWN) -> None:
        super().__init__(message)
        self.code = code


def is_forbidden(problem: KubeError) -> bool:
    """Whether a right is missing."""
    return isinstance(problem, ApiError) and problem.status == 403


def if_allowed(read: Callable[[], T]) -> T | None:
    """What `read` reads; None if a right is missing. Raises KubeError for anything else."""
    try:
        return read()
    except KubeError as problem:
        if not is_forbidden(problem):
            raise
        return None


def told(problem: KubeError) -> str:
    """The sentence for an API server that could not be asked, or said no."""
    if isinstance(problem, Unreachable):
        return f"the API server cannot be reached: {problem}"
    if isinstance(problem, ApiError) and problem.status == 401:
        return f"the API server does not know you (log in anew): {problem.message}"
    if is_forbidden(problem) and isinstance(problem, ApiError):
        return f"not allowed: {problem.message}"
    return f"the API server says: {problem}"
