"""What commands see of certificates, whoever asks: operators by the records, tenants by their own objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Protocol

from issuer_job import vocabulary as v
from issuer_job.cli.base.endings import CommandError, Exit, is_forbidden
from issuer_job.cli.base.session import Session
from issuer_job.cli.sight.names import Name, read_name
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, KubeError, Resource
from issuer_job.status.shown import CertificateStatus, Evidence, State


class Sight(Protocol):
    """One way to see certificates. Every method may raise KubeError."""

    evidence: Evidence

    def every(self) -> Iterator[CertificateStatus]:
        """All certificates in the session's namespace, or of all namespaces."""

    def one(self, secret_name: str) -> CertificateStatus | None:
        """That of a Secret of the session's namespace, with its story."""

    def host(self, host: str) -> CertificateStatus | None:
        """What is known of a host that no certificate in sight is for; None if nothing is."""

    def changes(self, *, seconds: int) -> Iterator[CertificateStatus | None]:
        """What changes from the last `every` on, for about so many seconds; None where it is to be read anew.

        Raises Gone.
        """


def sight_of(session: Session) -> Sight:
    """By the records where they can be read, else by what the user's own rights tell, which is said once."""
    from issuer_job.cli.sight.records import RecordSight

    try:
        for _ in session.cluster.pages(CONFIGMAPS, session.certjob_namespace, labels=f"{v.ISSUER}=true", limit=1):
            break
    except KubeError as problem:
        if not is_forbidden(problem):
            raise
        from issuer_job.cli.sight.objects import ObjectSight

        session.terminal.note_once(
            f"(told from your own Ingresses, Secrets' metadata and Events, as you may not read the records in "
            f"namespace {session.certjob_namespace}; ? is what these do not say)"
        )
        return ObjectSight(session)
    return RecordSight(session)


class Choice:
    """The certificates that the names and flags of a command mean."""

    def __init__(self, session: Session, names: Iterable[str], *, gone: bool = True) -> None:
        self._session = session
        self.names: Sequence[Name] = [read_name(name) for name in names]
        self._gone = gone or bool(self.names)

    @cached_property
    def sight(self) -> Sight:
        """How they are seen."""
        return sight_of(self._session)

    def found(self) -> list[CertificateStatus]:
        """They, in the order of the names. Raises CommandError if a name means none."""
        if not self.names:
            return list(self.all())
        chosen: dict[tuple[str, str], CertificateStatus] = {}
        for name, shown in self.by_name():
            if not shown:
                raise CommandError(self.missing(name), Exit.NO)
            chosen |= {(one.namespace, one.name): one for one in shown}
        return list(chosen.values())

    def all(self) -> Iterator[CertificateStatus]:
        """All that the flags mean."""
        return filter(self.is_meant, self.sight.every())

    def is_meant(self, shown: CertificateStatus) -> bool:
        """Whether the flags mean it."""
        known = self._gone or shown.state is not State.GONE
        return known and (self._labelled is None or _is_in(shown, self._labelled))

    def by_name(self) -> Iterator[tuple[Name, list[CertificateStatus]]]:
        """For each name what it means; the others are listed only if one is no Secret's."""
        every: list[CertificateStatus] | None = None
        refused: KubeError | None = None
        for name in self.names:
            found = None
            if name.kind != "Ingress" and self._session.namespace is not None and self._labelled is None:
                found = self.sight.one(name.name)
            if found is not None:
                yield name, [found]
                continue
            if every is None:
                every, refused = self._listed()
            chosen = name.chosen(every)
            if not chosen and name.may_be_host and (served := self.sight.host(name.name)) is not None:
                chosen = [served]
            if not chosen and refused is not None:
                raise refused
            yield name, chosen

    def _listed(self) -> tuple[list[CertificateStatus], KubeError | None]:
        """All, or nothing and why: a host can be asked by whoever may list nothing."""
        try:
            return list(self.all()), None
        except KubeError as problem:
            if not is_forbidden(problem):
                raise
            return [], problem

    def meant(self, every: Iterable[CertificateStatus]) -> list[CertificateStatus]:
        """Those that the names mean, of what the flags mean."""
        every = list(every)
        if not self.names:
            return every
        found = {(one.namespace, one.name): one for name in self.names for one in name.chosen(every)}
        return list(found.values())

    def missing(self, name: Name) -> str:
        """What is said of a name that means none."""
        namespace = self._session.namespace
        where = "in any namespace" if namespace is None else f"in namespace {namespace}"
        return f"there is no certificate for {name.given} {where}"

    @cached_property
    def _labelled(self) -> frozenset[tuple[str, str, str]] | None:
        """Kind, namespace and name of the Ingresses and Secrets with the labels that were asked for; None: any."""
        selector = self._session.flags.selector
        if not selector:
            return None
        return frozenset(self._with_labels(selector, {"Ingress": INGRESSES, "Secret": SECRETS}))

    def _with_labels(self, selector: str, kinds: dict[str, Resource]) -> Iterator[tuple[str, str, str]]:
        """Of the kinds that may be listed. Raises KubeError if that is none."""
        refused = []
        for kind, resource in kinds.items():
            try:
                for item in self._session.cluster.items(resource, self._session.namespace, labels=selector):
                    yield kind, item["metadata"]["namespace"], item["metadata"]["name"]
            except KubeError as problem:
                if not is_forbidden(problem):
                    raise
                refused.append(problem)
        if len(refused) == len(kinds):
            raise refused[0]


def _is_in(shown: CertificateStatus, labelled: frozenset[tuple[str, str, str]]) -> bool:
    askers = {(asker.kind, shown.namespace, asker.name) for asker in shown.asked_by}
    return not labelled.isdisjoint(askers | {("Secret", shown.namespace, shown.name)})
