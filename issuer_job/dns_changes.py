"""Changes at DNS providers: one login for all names of a zone, locked where needed, bounded, tried again."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import msgspec

from issuer_job import dns_provider
from issuer_job.background import Background
from issuer_job.dns_errors import ProviderError
from issuer_job.dns_leftovers import TxtRecord
from issuer_job.dns_lock import LockBusy, Locks
from issuer_job.dns_provider import Provider, ReadSecret, Scope
from issuer_job.issuer_schema import Dns01, Issuer
from issuer_job.kube import Cluster

logger = logging.getLogger(__name__)

CALL_SECONDS = 60
"""For one change at a provider, logging in included."""
PAUSES = (1.0, 3.0)
"""Seconds before a change that failed is tried again."""
_VALUE = re.compile(r"[-_A-Za-z0-9]{43}")


class ChangeFailed(Exception):
    """A provider did not make a change; says why, for people."""


@dataclass(frozen=True)
class Changes:
    """Adds and removes TXT records. `holder` is for locks, `mounted` reads a key of the issuer's credentials."""

    cluster: Cluster
    mounted: ReadSecret
    holder: str
    clock: Callable[[], datetime]
    sleep: Callable[[float], None]

    def add(self, dns01: Dns01, group: list[TxtRecord], deadline: datetime) -> None:
        """All of the group are in one zone. Raises ChangeFailed, KubeError."""

        def change(provider: Provider) -> None:
            for txt in group:
                provider.add(txt.name, txt.value)

        self._make(dns01, group, change, deadline)

    def remove(self, issuer: Issuer, txt_records: Iterable[TxtRecord], deadline: datetime) -> list[TxtRecord]:
        """Those that are gone from DNS now, or that the issuer has no solver for any more. Raises KubeError."""
        removed: list[TxtRecord] = []
        solvers: dict[str, Dns01] = {}
        known = []
        for txt in txt_records:
            dns01 = _solver_of(issuer, txt)
            if dns01 is None or not _VALUE.fullmatch(txt.value):
                logger.warning("txt-record-unknown", extra={"fields": {"name": txt.name, "provider": txt.provider}})
                removed.append(txt)
            else:
                solvers[txt.host] = dns01
                known.append(txt)
        for dns01, group in grouped(known, solvers):
            try:
                self._make(dns01, group, partial(_remove_all, group), deadline)
                removed += group
            except ChangeFailed as problem:
                fields = {"names": sorted({txt.name for txt in group}), "problem": str(problem)}
                logger.warning("txt-records-not-removed", extra={"fields": fields})
        return removed

    def _make(
        self, dns01: Dns01, group: list[TxtRecord], change: Callable[[Provider], None], deadline: datetime
    ) -> None:
        pauses = iter(PAUSES)
        while True:
            try:
                with self._locked(dns01, group, deadline):
                    self._bounded(lambda: change(self._login(dns01, group[0].zone)), deadline)
                return
            except (LockBusy, TimeoutError) as problem:
                raise ChangeFailed(f"{dns01.provider}: {problem}") from None
            except ProviderError as problem:
                pause = next(pauses, None)
                if not problem.passes or pause is None or self.clock() + timedelta(seconds=pause) >= deadline:
                    raise ChangeFailed(str(problem)) from None
                self.sleep(pause)

    def _login(self, dns01: Dns01, zone: str) -> Provider:
        return dns_provider.open_provider(dns01, zone=zone, mounted=self.mounted)

    def _bounded(self, call: Callable[[], None], deadline: datetime) -> None:
        left = (deadline - self.clock()).total_seconds()
        Background(call).result(min(CALL_SECONDS, max(left, 1.0)))

    def _locked(self, dns01: Dns01, group: list[TxtRecord], deadline: datetime) -> AbstractContextManager[None]:
        scope = dns_provider.scope(dns01.provider)
        if scope is Scope.VALUE:
            return nullcontext()
        locks = Locks(self.cluster, self.holder, CALL_SECONDS + 10, self.clock, self.sleep)
        return locks.held([txt.zone if scope is Scope.ZONE else txt.name for txt in group], deadline=deadline)


def grouped(
    txt_records: Iterable[TxtRecord], solvers: Mapping[str, Dns01]
) -> Iterator[tuple[Dns01, list[TxtRecord]]]:
    """TXT records of one zone and one solver together."""
    groups: dict[tuple[bytes, str], list[TxtRecord]] = defaultdict(list)
    for txt in txt_records:
        groups[msgspec.json.encode(solvers[txt.host]), txt.zone].append(txt)
    for group in groups.values():
        yield solvers[group[0].host], group


def _solver_of(issuer: Issuer, txt: TxtRecord) -> Dns01 | None:
    """The issuer may have been edited since: any solver with the same provider will do."""
    best = issuer.solver(txt.host, txt.ingress_class or None)
    for solver in (best, *issuer.solvers):
        if solver is not None and solver.dns01 is not None and solver.dns01.provider == txt.provider:
            return solver.dns01
    return None


def _remove_all(group: list[TxtRecord], provider: Provider) -> None:
    for txt in group:
        provider.remove(txt.name, txt.value)
