"""Carries a plan out: each step's writes in their order, and what has to be so before the next step.

Interrupted anywhere, or stopped by something that is not so, it is made anew: a new plan has what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from issuer_job import names
from issuer_job.cluster.api import AlreadyExists, Cluster, Conflict, KubeError, NotFound, Resource
from issuer_job.demand.common import is_being_deleted
from issuer_job.migrate.others.cert_manager import CERTIFICATES, read_certificate
from issuer_job.migrate.plans.steps import DEPLOYMENTS, MovePlan, MoveStep, Until, Verb, Write
from issuer_job.record.phases import Phase
from issuer_job.record.record import Record, RecordError
from issuer_job.record.store import live_record

PAUSE = 1.0
"""Seconds between two looks."""
MANAGER = "kubectl-certjob"
Key = tuple[str, str]


class Stopped(Exception):
    """The move cannot go on now: the message is for people, a line each."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("; ".join(self.lines))


@dataclass(frozen=True)
class Hands:
    """By what a plan is carried out. `test` has an issuer tested, and says what is wrong with it; `expected` are the
    Secrets whose certificates are to be taken over without an order. `patience` in seconds is for each wait.

    Without `writes` nothing is sent, without `waits` nothing waited for, as writes do not count; `suffix` says so.
    """

    cluster: Cluster
    test: Callable[[str], Sequence[str]]
    say: Callable[[str], None]
    patience: float
    expected: frozenset[Key] = frozenset()
    writes: bool = True
    waits: bool = True
    suffix: str = ""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def carry_out(self, plan: MovePlan) -> None:
        """All steps. Raises Stopped, KubeError."""
        for step in plan.steps:
            self._step(step)

    def _step(self, step: MoveStep) -> None:
        self.say(f"{step.title}:")
        for write in step.writes:
            if self.writes:
                self._write(write)
            self.say(f"  {write}{self.suffix}")
        if self.waits:
            going = [(each.resource, each.namespace, each.name) for each in step.writes if each.verb is Verb.DELETE]
            going += [(CERTIFICATES, *key) for key in step.about if step.until is Until.GONE]
            self._wait(lambda: self._being_deleted(going), _still_there)
            self._until(step)

    def _write(self, write: Write) -> None:
        """What somebody else has done meanwhile is fine. Raises Stopped, KubeError."""
        cluster = self.cluster
        where = (write.resource, write.namespace, write.name)
        try:
            if write.verb is Verb.CREATE:
                cluster.create(write.resource, write.namespace, write.body or {})
            elif write.verb is Verb.PATCH:
                cluster.patch(*where, write.body or {}, manager=MANAGER)
            else:
                cluster.delete(*where, orphan=True)
        except AlreadyExists:
            return
        except NotFound:
            if write.verb is Verb.PATCH:
                raise Stopped([f"{write}: it is gone by now; make the plan anew"]) from None
        except Conflict as problem:
            raise Stopped([f"{write}: it has changed since it was read ({problem.message}); run it again"]) from None
        except KubeError as problem:
            raise KubeError(f"{write}: {problem}") from problem

    def _until(self, step: MoveStep) -> None:
        if step.until is Until.READY:
            for _, name in step.about:
                if problems := self.test(name):
                    raise Stopped([f"issuer {name} is not ready", *problems])
                self.say(f"  issuer {name}: ready")
        elif step.until is Until.STOPPED:
            self._wait(lambda: [key for key in step.about if not self._is_stopped(key)], _still_running)
        elif step.until is Until.ADOPTED:
            self._adopted(step.about)
        elif step.until is Until.KEPT:
            self._kept_by_cert_manager(step.about)

    def _adopted(self, keys: Sequence[Key]) -> None:
        records: dict[Key, Record | None] = dict.fromkeys(keys)

        def left() -> list[Key]:
            for key in keys:
                if not _has(records[key]):
                    records[key] = self._record(key)
            return [key for key in keys if not _has(records[key])]

        self._wait(left, lambda late: [_late(key, records[key]) for key in late])
        ordered = [key for key in keys if key in self.expected and _was_ordered(records[key])]
        self.say(f"  certjob has {len(keys)}{_and_ordered(len(keys) - self._kept(records))}")
        if ordered:
            raise Stopped(
                [f"Secret {ns}/{name}: ordered, and not taken over as was planned" for ns, name in ordered]
                + ["nothing else was touched: see why (kubectl certjob describe), and run it again"]
            )

    def _kept_by_cert_manager(self, keys: Sequence[Key]) -> None:
        """Its Certificates have the Secrets' names. It says that it is ready if it has no reason to issue anew."""

        def left() -> list[Key]:
            found = {key: read_certificate(self.cluster.find(CERTIFICATES, *key) or {}) for key in keys}
            if issuing := [key for key, one in found.items() if one is not None and one.is_issuing]:
                raise Stopped(f"Certificate {ns}/{name}: cert-manager issues it anew" for ns, name in issuing)
            return [key for key, one in found.items() if one is None or not one.is_ready]

        self._wait(left, lambda late: [f"Certificate {ns}/{name} is not ready" for ns, name in late])
        self.say(f"  cert-manager has {len(keys)}, without an order")

    def _kept(self, records: Mapping[Key, Record | None]) -> int:
        return sum(not _was_ordered(record) for record in records.values())

    def _record(self, key: Key) -> Record | None:
        try:
            return live_record(self.cluster, names.record(*key))
        except RecordError:
            return None

    def _being_deleted(self, where: Sequence[tuple[Resource, str, str]]) -> list[Key]:
        """An object that leaves others behind stays until the API server's garbage collector has seen to that."""
        found = {each[1:]: self.cluster.find(*each) for each in where}
        return [key for key, now in found.items() if now is not None and is_being_deleted(now)]

    def _is_stopped(self, key: Key) -> bool:
        found = self.cluster.find(DEPLOYMENTS, *key) or {}
        status = found.get("status") or {}
        seen = status.get("observedGeneration", 0) >= found.get("metadata", {}).get("generation", 0) or not status
        return seen and not status.get("replicas")

    def _wait(self, left: Callable[[], list[Key]], told: Callable[[list[Key]], list[str]]) -> None:
        until = self.clock() + self.patience
        while late := left():
            if self.clock() >= until:
                raise Stopped([*told(late), f"waited {self.patience:.0f} s: run it again, it goes on"])
            self.sleep(PAUSE)


def _has(record: Record | None) -> bool:
    return record is not None and record.phase is Phase.ISSUED


def _was_ordered(record: Record | None) -> bool:
    """Whether it was ordered, or signed, since: what is taken over is vouched for."""
    issued = record.issued if record is not None else None
    return issued is not None and bool(issued.directory) and not issued.vouched


def _and_ordered(count: int) -> str:
    return f", {count} of them ordered" if count else ", without an order"


def _late(key: Key, record: Record | None) -> str:
    why = "nobody has asked for it yet"
    if record is not None:
        why = record.retry.problem.note if record.retry is not None else f"its attempt is {record.phase}"
    return f"Secret {key[0]}/{key[1]}: {why}"


def _still_there(keys: list[Key]) -> list[str]:
    return [f"{namespace}/{name} is still being deleted" for namespace, name in keys]


def _still_running(keys: list[Key]) -> list[str]:
    return [f"Deployment {namespace}/{name} still has pods" for namespace, name in keys]
