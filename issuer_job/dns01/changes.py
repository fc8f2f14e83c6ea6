"""Changes at DNS providers: one login for all names of a zone, locked where needed, bounded, tried again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec

from issuer_job import log
from issuer_job.attempt.attempt import Attempt
from issuer_job.background import Background
from issuer_job.dns01.lock import MARGIN, LockBusy, LockLost, Locks
from issuer_job.dns01.providers.errors import ProviderError
from issuer_job.dns01.providers.provider import OpenZone, Scope
from issuer_job.dns01.providers.registry import find_provider, open_zone
from issuer_job.dns01.trace import TxtRecord
from issuer_job.issuers.schema import Dns01, Issuer

CALL_SECONDS = 60
"""For logging in to a provider, and for each change there."""
LEAST_SECONDS = 5
"""With less time left none is begun: one that had to be given up may happen all the same, and its locks stay."""
PAUSES = (1.0, 3.0)
"""Seconds before a change that failed is tried again."""
_VALUE = re.compile(r"[-_A-Za-z0-9]{43}")

T = TypeVar("T")
_Change = Callable[[OpenZone, TxtRecord], None]


class ChangeFailed(Exception):
    """A provider did not make a change; says why, for people. `under_way`: it may still make it, at any time."""

    def __init__(self, detail: str, *, under_way: bool = False) -> None:
        super().__init__(detail)
        self.under_way = under_way


class _OutOfTime(Exception):
    """Nothing was begun any more."""


@dataclass(frozen=True)
class Changes:
    """Adds and removes TXT records with the credentials that the attempt's pod has mounted, and locks in its name."""

    attempt: Attempt

    def add(self, dns01: Dns01, group: list[TxtRecord], deadline: datetime) -> None:
        """All of the group are in one zone. Raises ChangeFailed, KubeError."""
        self._make(dns01, list(group), lambda zone, txt: zone.add(txt.name, txt.value), deadline)

    def remove(self, issuer: Issuer, txt_records: Iterable[TxtRecord], deadline: datetime) -> list[TxtRecord]:
        """Those that are gone from DNS now, or that the issuer has no solver for any more. Raises KubeError."""
        removed: list[TxtRecord] = []
        solved: list[tuple[TxtRecord, Dns01]] = []
        for txt in txt_records:
            dns01 = _solver_of(issuer, txt)
            if dns01 is None or not _VALUE.fullmatch(txt.value):
                log.warning("txt-record-unknown", name=txt.name, provider=txt.provider)
                removed.append(txt)
            else:
                solved.append((txt, dns01))
        for dns01, group in grouped(solved):
            todo = list(group)
            try:
                self._make(dns01, todo, lambda zone, txt: zone.remove(txt.name, txt.value), deadline)
            except ChangeFailed as problem:
                log.warning("txt-records-not-removed", names=sorted({txt.name for txt in todo}), problem=str(problem))
            removed += [txt for txt in group if txt not in todo]
        return removed

    def _make(self, dns01: Dns01, todo: list[TxtRecord], change: _Change, deadline: datetime) -> None:
        """Make the change for each; those that are done are taken off the list. Raises ChangeFailed, KubeError."""
        pauses = iter(PAUSES)
        while todo:
            before = len(todo)
            try:
                self._make_logged_in(dns01, todo, change, deadline)
            except LockLost:
                continue
            except (LockBusy, _OutOfTime) as problem:
                raise ChangeFailed(f"{dns01.provider}: {problem}") from None
            except TimeoutError as problem:
                raise ChangeFailed(f"{dns01.provider}: {problem}", under_way=True) from None
            except ProviderError as problem:
                if len(todo) < before:
                    pauses = iter(PAUSES)
                pause = next(pauses, None)
                if not problem.passes or pause is None or self.attempt.clock() + timedelta(seconds=pause) >= deadline:
                    raise ChangeFailed(str(problem)) from None
                self.attempt.sleep(pause)

    def _make_logged_in(self, dns01: Dns01, todo: list[TxtRecord], change: _Change, deadline: datetime) -> None:
        """With one login. A call that hangs goes on in its thread: the locks are left to it.

        Raises LockLost, LockBusy, TimeoutError, _OutOfTime, ProviderError, KubeError.
        """
        attempt, mounted = self.attempt, partial(self.attempt.mounted, "credentials")
        locks = Locks(attempt.cluster, attempt.pod.uid, CALL_SECONDS + MARGIN, attempt.clock, attempt.sleep)
        scope, names, zones = find_provider(dns01.provider).scope, {txt.name for txt in todo}, {todo[0].zone}
        wanted = {Scope.VALUE: set(), Scope.NAME: names, Scope.ZONE: zones}[scope]
        with locks.held(wanted, deadline=deadline):
            try:
                login = partial(open_zone, dns01, zone=todo[0].zone, mounted=mounted)
                zone = self._bounded(login, deadline)
                while todo:
                    locks.renew()
                    self._bounded(partial(change, zone, todo[0]), deadline)
                    todo.pop(0)
            except TimeoutError:
                locks.leave()
                raise

    def _bounded(self, call: Callable[[], T], deadline: datetime) -> T:
        left = (deadline - self.attempt.clock()).total_seconds()
        if left < LEAST_SECONDS:
            raise _OutOfTime("there was no time left")
        return Background(call).result(min(CALL_SECONDS, left))


def grouped(solved: Iterable[tuple[TxtRecord, Dns01]]) -> Iterator[tuple[Dns01, list[TxtRecord]]]:
    """TXT records of one zone and one solver together."""
    groups: dict[tuple[bytes, str], tuple[Dns01, list[TxtRecord]]] = {}
    for txt, dns01 in solved:
        groups.setdefault((msgspec.json.encode(dns01), txt.zone), (dns01, []))[1].append(txt)
    yield from groups.values()


def _solver_of(issuer: Issuer, txt: TxtRecord) -> Dns01 | None:
    """The issuer may have been edited since: any solver with the same provider will do."""
    best = issuer.solver(txt.host, txt.ingress_class or None)
    for solver in (best, *issuer.solvers):
        if solver is not None and solver.dns01 is not None and solver.dns01.provider == txt.provider:
            return solver.dns01
    return None
