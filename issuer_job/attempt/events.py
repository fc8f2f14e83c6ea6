"""Events on the users' Ingresses and Secrets: what `kubectl describe` shows.

An Event is a courtesy: that it cannot be written is logged, and stops nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt
from issuer_job.cluster import changes
from issuer_job.cluster.api import EVENTS, Cluster, Json, KubeError
from issuer_job.demand.askers import with_uids
from issuer_job.record.record import Issued, Phase, Problem, Record, Retry, Source
from issuer_job.record.renewal import too_short
from issuer_job.record.transitions import HELD_BACK

ANEW = timedelta(minutes=50)
"""After this time an Event about what lasts is made again: Kubernetes keeps one for an hour."""
_OTHER_REASONS = {HELD_BACK: "CertificateHeldBack", "overwritten": "CertificateOverwritten"}
"""Of Events about what is no failed attempt, by the type of the problem."""


@dataclass(frozen=True)
class News:
    """What an Event says. `unique` names the occasion: of the same one nothing is written again (a 409).

    `problem` is the type of what went wrong, if it is about that, and `until` when it is tried again. `secret` is the
    name of the Secret that it is about.
    """

    reason: str
    note: str
    now: datetime
    unique: tuple[str, ...]
    warning: bool = True
    problem: str = ""
    until: datetime | None = None
    secret: str = ""

    @property
    def annotations(self) -> dict[str, str]:
        """The same for programs: see `vocabulary`."""
        until = f"{self.until:{v.NOTED_TIME}}" if self.until is not None else ""
        notes = {v.EVENT_SECRET: self.secret, v.EVENT_PROBLEM: self.problem[:100], v.EVENT_NEXT: until}
        return {name: text for name, text in notes.items() if text}


def tell(attempt: Attempt, reason: str, note: str, *, warning: bool = False) -> None:
    """Put one Event for this attempt and reason on everything that asks for the certificate."""
    tell_news(attempt, News(reason, note, attempt.clock(), _occasion(attempt), warning=warning))


def tell_failed(attempt: Attempt, problem: Problem, when: str) -> None:
    """The same of one that has failed; `when` it is tried again, in words: the record says it, too, if it could."""
    retry, now = attempt.record.retry, attempt.clock()
    until = retry.not_before if retry is not None else now
    note = f"{problem.note}; {when}"
    unique = _occasion(attempt)
    tell_news(attempt, News("CertificateFailed", note, now, unique, problem=problem.type, until=until))


def _occasion(attempt: Attempt) -> tuple[str, ...]:
    return attempt.record.uid, str(attempt.record.epoch)


def tell_news(attempt: Attempt, news: News) -> None:
    """Put an Event on everything that asks for the attempt's certificate."""
    record, cluster = attempt.record, attempt.cluster
    try:
        sources = attempt.confirmed or with_uids(cluster, record)
    except KubeError as problem:
        attempt.step("event-failed", problem=str(problem))
        return
    tell_sources(cluster, (record.namespace, record.secret_name), sources, news)


def held_back(record: Record, now: datetime) -> News:
    """What is said of a record that waits for a limit of its issuer: the same whoever says it."""
    retry = record.retry
    if retry is None or retry.not_before is None:
        raise ValueError(f"{record.name} does not wait")
    unique = (record.uid, "held", f"{retry.not_before:%Y-%m-%dT%H:%M:%S}")
    problem, until = retry.problem, retry.not_before
    return News("CertificateHeldBack", problem.detail, now, unique, problem=problem.type, until=until)


def when_again(retry: Retry | None) -> str:
    """When what failed is tried again, for people."""
    if retry is None or retry.not_before is None:
        return "it is tried again after a change, or once a day"
    return f"it is tried again after {retry.not_before:%Y-%m-%d %H:%M:%S} UTC"


def lasting(record: Record, now: datetime, *, interval: timedelta) -> News | None:
    """What has been told of the record's problem, made anew for who looks an hour later: each `ANEW` while it lasts,
    first up to half as long earlier, by the record's name, as thousands may have failed together.

    None unless it is just then, for who comes by every `interval`.
    """
    retry = record.retry
    if record.phase not in {Phase.WAITING, Phase.FAILED} or retry is None:
        return None
    ahead = ANEW / 2 * (int(names.digest(record.name), 16) / 16**10)
    turn, since = divmod(now - record.since + ahead, ANEW)
    if turn < 1 or since > interval * 1.5:
        return None
    problem = retry.problem
    reason = _OTHER_REASONS.get(problem.type)
    note = problem.detail if reason else f"{problem.note}; {when_again(retry)}"
    unique = (record.uid, "lasting", f"{record.since:%Y-%m-%dT%H:%M:%S}", str(turn))
    return News(reason or "CertificateFailed", note, now, unique, problem=problem.type, until=retry.not_before)


def about_lives(record: Record, issued: Issued, now: datetime, *, interval: timedelta) -> Iterator[News]:
    """What is said of a certificate that takes the place of what the record says: that it lives too short for sweeps
    every `interval`, and that the one before has ended, if that was to be renewed.
    """
    former, renews = record.issued, record.attempt is not None and record.attempt.renews
    if former is not None and renews and former.directory and former.not_after <= now:
        yield ended(record, former, now, "until this one was there no valid certificate was served")
    if wrong := too_short(issued.lifetime, interval, left=issued.left):
        what = f"{wrong}. Ask for certificates that live longer, or have sweeps come more often"
        unique = (record.uid, "life", str(issued.lifetime // timedelta(minutes=1)))
        yield News("CertificateShortLived", what, now, unique)


def ended(record: Record, issued: Issued, now: datetime, why: str) -> News:
    """That a certificate has ended before another was there: the same whoever says it."""
    note = f"the certificate ended at {issued.not_after:%Y-%m-%d %H:%M:%S} UTC: {why}"
    return News("CertificateExpired", note, now, (record.uid, issued.serial, "ended"))


def tell_sources(cluster: Cluster, secret: tuple[str, str], sources: Iterable[Source], news: News) -> None:
    """An Event on each object that asks for the Secret (namespace, name), if it is known which: at its CREATE an
    object has no uid.
    """
    namespace, secret_name = secret
    news = replace(news, note=f"Secret {secret_name}: {news.note}", secret=secret_name)
    for source in sources:
        if source.name and source.uid:
            tell_one(cluster, source.kind.reference(namespace=namespace, name=source.name, uid=source.uid), news)


def tell_one(cluster: Cluster, about: Json, news: News) -> bool:
    """One Event on the object of an ObjectReference; whether it was new."""
    name, namespace = names.event(about["name"], news.reason, *news.unique), about["namespace"]
    noted = {"annotations": news.annotations} if news.annotations else {}
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace, "labels": {v.MANAGED: "true"}} | noted,
        "eventTime": f"{news.now:%Y-%m-%dT%H:%M:%S.%fZ}",
        "reportingController": v.CONTROLLER,
        "reportingInstance": "certjob",
        "action": "Issue",
        "reason": news.reason,
        "type": "Warning" if news.warning else "Normal",
        "note": news.note[:1000],
        "regarding": about,
    }
    try:
        return changes.swap(cluster, EVENTS, namespace, None, event) is not None
    except KubeError as problem:
        log.warning("event-failed", problem=str(problem))
        return False
