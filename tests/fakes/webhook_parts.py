"""What the webhook acts through, in memory: for its tests, also in a process of its own.

`gunicorn "tests.fakes.webhook_parts:create_app()"` serves the real application on these.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field

from flask import Flask

from issuer_job.cluster.api import Unreachable
from issuer_job.demand.common import Entry
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.launch.launcher import LaunchOutcome, OutcomeReason
from webhook.app import Parts
from webhook.app import create_app as create_real_app

ISSUERS = Issuers(
    valid={
        "staging": Issuer(server="https://acme.certjob.dev/directory"),
        "private": Issuer(server="https://ca.certjob.dev/directory", private_names=True),
        "picky": Issuer(server="https://acme.certjob.dev/directory", allowed_namespaces=("vip",)),
    },
    broken={"broken": "issuer broken: server must be an https URL of an ACME directory - at `$.server`"},
    default="staging",
)


@dataclass
class FakeLauncher:
    """Notes what it should launch. `outcomes` by Secret name; others are unchanged. An exception is raised."""

    outcomes: dict[str, LaunchOutcome | Exception] = field(default_factory=dict)
    seconds: float = 0.0
    gate: threading.Event | None = None
    """Launches wait for it, as for a hanging API server."""
    launched: list[tuple[str, str]] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)

    def launch(self, entry: Entry, *, namespace: str, deadline: float, expect_new: bool = False) -> LaunchOutcome:
        """See Launcher."""
        self.launched.append((namespace, entry.secret_name))
        self.deadlines.append(deadline)
        time.sleep(self.seconds)
        if self.gate is not None:
            self.gate.wait()
        outcome = self.outcomes.get(entry.secret_name, LaunchOutcome(OutcomeReason.UNCHANGED, entry.secret_name))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@dataclass
class FakeSettings:
    """Issuers, or the error of an API server that cannot be reached."""

    known: Issuers | None = field(default_factory=lambda: ISSUERS)
    gate: threading.Event | None = None
    newest: Issuers | None = None
    """What a fresh answer says, if it is something else."""

    def issuers(self, *, fresh: bool = False) -> Issuers:
        """See SettingsCache."""
        if fresh and self.newest is not None:
            return self.newest
        if self.gate is not None:
            self.gate.wait()
        if self.known is None:
            raise Unreachable("GET /api/v1/namespaces/certjob/configmaps: ConnectTimeoutError")
        return self.known


def create_app() -> Flask:
    """The application on fakes; each launch takes LAUNCH_SECONDS."""
    launcher = FakeLauncher(seconds=float(os.environ.get("LAUNCH_SECONDS", "0")))
    return create_real_app(Parts(launcher, FakeSettings(), lambda: True))
