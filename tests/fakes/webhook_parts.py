"""What the webhook acts through, in memory: for its tests, also in a process of its own.

`gunicorn "tests.fakes.webhook_parts:create_app()"` serves the real application on these.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Unpack

from flask import Flask

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json, Unreachable
from issuer_job.demand.common import Entry
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options
from issuer_job.issuers.schema import Issuer
from issuer_job.launch.outcome import LaunchOutcome, Occasion, OutcomeReason, SecretLoss
from webhook.app import POLICIES, Parts
from webhook.app import create_app as create_real_app
from webhook.door import KnownPaths
from webhook.metrics import WebhookMetrics

ISSUERS = Issuers(
    valid={
        "staging": Issuer(server="https://acme.certjob.dev/directory"),
        "private": Issuer(server="https://ca.certjob.dev/directory", private_names=True),
        "picky": Issuer(server="https://acme.certjob.dev/directory", allowed_namespaces=("vip",)),
    },
    broken={"broken": "issuer broken: server must be an https URL of an ACME directory - at `$.server`"},
    default="staging",
)


TOKEN = "c0ffee" * 10 + "beef"
"""What only the API server knows."""
PATHS = ANNOTATED, NAMESPACE, REQUEST, LOST = tuple(f"{path}/{TOKEN}" for path in POLICIES)


def configuration(*paths: str, name: str = v.WEBHOOK_CONFIGURATION) -> Json:
    """As the cluster has it after install: `PATHS`, or those given."""
    entries = [
        {"name": f"{path.split('/')[2]}.certjob.io", "rules": [{}], "clientConfig": {"service": {"path": path}}}
        for path in paths or PATHS
    ]
    return {"metadata": {"name": name}, "webhooks": entries}


def known_paths() -> KnownPaths:
    """As if the configuration named `PATHS`."""
    paths = KnownPaths(lambda: frozenset(PATHS), sleep=lambda seconds: None)
    paths.look()
    return paths


@dataclass
class FakeLauncher:
    """Notes what it should launch. `outcomes` by Secret name; others are unchanged. An exception is raised."""

    outcomes: dict[str, LaunchOutcome | Exception] = field(default_factory=dict)
    seconds: float = 0.0
    gate: threading.Event | None = None
    """Launches wait for it, as for a hanging API server."""
    launched: list[tuple[str, str]] = field(default_factory=list)
    at_once: list[bool] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)

    def launch(self, entry: Entry, *, namespace: str, deadline: float, **occasion: Unpack[Occasion]) -> LaunchOutcome:
        """See Launcher."""
        self.launched.append((namespace, entry.secret_name))
        self.at_once.append(occasion.get("at_once", True))
        self.deadlines.append(deadline)
        time.sleep(self.seconds)
        if self.gate is not None:
            self.gate.wait()
        outcome = self.outcomes.get(entry.secret_name, LaunchOutcome(OutcomeReason.UNCHANGED, entry.secret_name))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@dataclass
class FakeForesight:
    """Notes what it should look at; `said` by Secret name."""

    said: dict[str, tuple[str, ...]] = field(default_factory=dict)
    gate: threading.Event | None = None
    looked: list[tuple[str, str]] = field(default_factory=list)

    def warnings(self, entry: Entry, *, namespace: str, deadline: float) -> tuple[str, ...]:
        """See Foresight."""
        self.looked.append((namespace, entry.secret_name))
        if self.gate is not None:
            self.gate.wait()
        return self.said.get(entry.secret_name, ())


@dataclass
class FakeLosses:
    """Notes what is lost."""

    lost: list[tuple[str, str, SecretLoss]] = field(default_factory=list)

    def heard(self, namespace: str, secret_name: str, loss: SecretLoss) -> None:
        """See Losses."""
        self.lost.append((namespace, secret_name, loss))


def fake_metrics() -> WebhookMetrics:
    """Of a webhook that has no certificate."""

    def nobody_knows() -> datetime:
        raise OSError("no certificate")

    return WebhookMetrics(nobody_knows)


@dataclass
class FakeSettings:
    """Issuers, or the error of an API server that cannot be reached."""

    known: Issuers | None = field(default_factory=lambda: ISSUERS)
    gate: threading.Event | None = None
    newest: Issuers | None = None
    """What a fresh answer says, if it is something else."""
    set_by_operator: Options = field(default_factory=Options)

    def options(self) -> Options:
        """See SettingsCache."""
        return self.set_by_operator

    def issuers(self, *, fresh: bool = False) -> Issuers:
        """See SettingsCache."""
        if fresh and self.newest is not None:
            return self.newest
        if self.gate is not None:
            self.gate.wait()
        if self.known is None:
            raise Unreachable("GET /api/v1/namespaces/certjob/configmaps: ConnectTimeoutError")
        return self.known


def parts(
    launcher: FakeLauncher | None = None,
    known: FakeSettings | None = None,
    losses: FakeLosses | None = None,
    foresight: FakeForesight | None = None,
) -> Parts:
    """All of them, and an API server that is there."""
    launcher, known, losses = launcher or FakeLauncher(), known or FakeSettings(), losses or FakeLosses()
    return Parts(launcher, foresight or FakeForesight(), known, losses, known_paths(), lambda: True)


def create_app() -> Flask:
    """The application on fakes; each launch takes LAUNCH_SECONDS."""
    launcher = FakeLauncher(seconds=float(os.environ.get("LAUNCH_SECONDS", "0")))
    return create_real_app(parts(launcher))
