"""A solver of challenges that puts nothing anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from issuer_job.attempt.solver import HostChallenge
from issuer_job.issuers.schema import Issuer


@dataclass
class FakeSolver:
    """Notes what is asked of it, and fails with `raises` at a step."""

    slow_release: bool = False
    asked: list[str] = field(default_factory=list)
    raises: dict[str, list[Exception]] = field(default_factory=dict)

    def present(self, challenges: Sequence[HostChallenge], issuer: Issuer) -> None:
        self._step("present")

    def wait(self, challenges: Sequence[HostChallenge]) -> None:
        self._step("wait")

    def release(self, issuer: Issuer | None) -> None:
        self._step("release")

    def leftovers(self, issuer: Issuer, name: str, *, deadline: datetime) -> int:
        return 0

    def _step(self, name: str) -> None:
        self.asked.append(name)
        if self.raises.get(name):
            raise self.raises[name].pop(0)
