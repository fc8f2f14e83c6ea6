"""Managed Secrets that were deleted or emptied are made again, if a live object still wants them.

That is how people ask for a new certificate. What is heard is on its way still: the API server has asked before it
deletes, others may refuse it, or finalizers keep the Secret for a while. What cannot be done within seconds is the
sweep's, which looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from issuer_job import log, names
from issuer_job.cluster.api import Cluster, KubeError
from issuer_job.demand.askers import wanting
from issuer_job.demand.common import Entry
from issuer_job.launch.outcome import LaunchOutcome, OutcomeReason, SecretLoss
from issuer_job.record.phases import GONE
from issuer_job.record.record import RecordError
from issuer_job.record.store import live_record
from webhook.bounded_calls import LAUNCH_SECONDS, CanLaunch, KnowsIssuers
from webhook.bounded_log import BoundedLog
from webhook.fair_pool import Busy, FairPool

PAUSES = (0.1, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before each look for what wants the Secret and for a Secret that is gone. The first one is for who deletes
what wants it, too, a moment later.
"""
MAX_OUTSTANDING = 2000
"""Secrets that are waited for; of one namespace a quarter."""


class Losses:
    """One per process; thread-safe. Nobody waits for what it does."""

    def __init__(
        self,
        cluster: Cluster,
        settings: KnowsIssuers,
        launcher: CanLaunch,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._launcher = launcher
        self._sleep = sleep
        self._pool = FairPool(max_outstanding=MAX_OUTSTANDING)
        self._log = BoundedLog()

    def heard(self, namespace: str, secret_name: str, loss: SecretLoss) -> None:
        """The Secret is about to be lost: see to it in a thread. Raises nothing."""
        try:
            self._pool.submit(namespace, partial(self.make_again, namespace, secret_name, loss))
        except Busy:
            self._say(namespace, secret_name, loss, "Busy")

    def make_again(self, namespace: str, secret_name: str, loss: SecretLoss) -> None:
        """Placeholder and launch for what still wants the Secret, as soon as it is gone. Raises nothing."""
        said = ""
        try:
            for pause in PAUSES:
                self._sleep(pause)
                outcome = self._made_again(namespace, secret_name, loss)
                said = "NotWanted" if outcome is None else str(outcome.reason)
                if outcome is None or outcome.reason is not OutcomeReason.STILL_THERE:
                    break
        except (KubeError, RecordError) as problem:
            said = str(problem)[:300]
        except Exception as problem:  # noqa: BLE001 - nobody asks for the result
            said = f"internal error: {type(problem).__name__}"
        self._say(namespace, secret_name, loss, said)

    def _made_again(self, namespace: str, secret_name: str, loss: SecretLoss) -> LaunchOutcome | None:
        """None if nothing wants it. Raises KubeError, RecordError."""
        end = time.monotonic() + LAUNCH_SECONDS
        entry = self._wanted(self._cluster.until(end), namespace, secret_name)
        if entry is None:
            return None
        return self._launcher.launch(entry, namespace=namespace, deadline=end, loss=loss)

    def _wanted(self, cluster: Cluster, namespace: str, secret_name: str) -> Entry | None:
        """What a live object that the record knows wants of it. A Secret that its owner makes is not made for him."""
        record = live_record(cluster, names.record(namespace, secret_name))
        if record is None or record.phase in GONE or record.secret_is_its_owners:
            return None
        aliases = self._settings.options().cert_manager_annotations
        return wanting(cluster, record, replace(self._settings.issuers(), aliases=aliases))

    def _say(self, namespace: str, secret_name: str, loss: SecretLoss, outcome: str) -> None:
        about = {"namespace": namespace, "secret": secret_name, "loss": str(loss), "outcome": outcome}
        self._log.say(log.info, "secret-lost", about=namespace, **about)
