"""A status page over a fleet of certificates as a company has them, good and bad, without a cluster or threads.

page = PageWorld.of_fleet()
page.get("/certificates?state=Failed").text
"""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace
from werkzeug.test import TestResponse

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.issuers.state import (
    CHECK_FINDINGS,
    CHECK_RESULT,
    CHECKED_AT,
    NOT_READY,
    ORDERS,
    READY,
)
from issuer_job.record import transitions as t
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import HistoryEntry, IngressClass, Issued, Problem, Record, Settings, Source, SourceKind
from tests.worlds.view import ViewWorld, stored
from webhook.view.page.app import create_page
from webhook.view.page.from_snapshot import SnapshotSource
from webhook.view.sweeps import SweepSchedule

NOW = datetime(2026, 11, 27, 14, 27, 10, tzinfo=UTC)
DAY, HOUR, MINUTE, SECOND = (timedelta(**{unit: 1}) for unit in ("days", "hours", "minutes", "seconds"))
SERVERS = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "zerossl": "https://acme.zerossl.com/v2/DV90",
}
TIMEOUT = "203.0.113.9: Fetching http://{host}/.well-known/acme-challenge/wkYyKx3J: Timeout during connect"
NASTY = "</p><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x00\x1b[31m\u202egnp\ud7ff{{7*191}}"
"""What strangers might write."""
WORDS = """
shop blog api docs status login cdn media search billing crm wiki git grafana mail webdav
"""


def asked(
    namespace: str,
    name: str,
    *hosts: str,
    since: timedelta,
    issuer: str = "letsencrypt",
    kind: SourceKind = SourceKind.INGRESS,
) -> Record:
    """A certificate that is asked for since then."""
    source = Source(
        hosts=hosts,
        settings=Settings(issuer=issuer),
        kind=kind,
        name=name.removesuffix("-tls"),
        ingress_class=IngressClass(field="traefik" if kind is SourceKind.INGRESS else None),
        created=NOW - since,
    )
    made = t.wanted(namespace=namespace, secret_name=name, sources=(source,), now=NOW - since)
    return replace(made, uid=str(uuid.UUID(hashlib.md5(made.name.encode()).hexdigest())), resource_version="1")


def launched(record: Record, at: datetime, reason: LaunchReason = LaunchReason.NEW) -> Record:
    """Its Job runs and has ordered."""
    directory = SERVERS.get(record.issuer, "https://ca.example/dir")
    record = t.launched(record, at, reason=reason)
    record = t.claimed(record, at + 0.4 * SECOND, holder="pod-1")
    record = t.ordering(record, at + 0.7 * SECOND, directory=directory, account=f"{directory}/acct/1")
    url = f"{directory}/order/{record.epoch % 100_000}"
    return t.authorizing(record, at + 0.9 * SECOND, order_url=url, expires=None)


def issued(record: Record, at: datetime, *, days: int = 90, reason: LaunchReason = LaunchReason.NEW) -> Record:
    """An attempt that began then and succeeded."""
    record = launched(record, at, reason)
    done = at + random.Random(record.epoch).uniform(1.4, 6.0) * SECOND
    record = t.finalizing(record, done - 0.3 * SECOND, pending_key="")
    record = t.installing(record, done - 0.1 * SECOND, secret_uid="", secret_version="")
    serial = hashlib.sha256(f"{record.name} {record.epoch}".encode()).hexdigest()
    certificate = Issued(
        hosts=record.intent.hosts,
        intent_hash="",
        directory=SERVERS.get(record.issuer, "https://ca.example/dir"),
        account="",
        epoch=record.epoch,
        key_id=serial,
        serial=serial[:36],
        not_before=at - HOUR,
        not_after=at - HOUR + days * DAY,
        at=done,
    )
    return t.issued(record, done, issued=certificate)


def problem(kind: str, detail: str, host: str = "", step: str = "authorization") -> Problem:
    return Problem(type=kind, detail=detail, host=host, step=step)


def failing(record: Record, found: Problem, *ago: timedelta, wait: timedelta) -> Record:
    """Attempts that long ago, each of which ended so; `wait` from now on."""
    for since in ago:
        reason = LaunchReason.RETRY_DUE if record.retry else LaunchReason.NEW
        record = launched(record, NOW - since, reason)
        left = wait if since == ago[-1] else since / 2
        record = t.waiting(record, NOW - since + 13 * SECOND, problem=found, wait=since - 13 * SECOND + left)
    return record


def good() -> Iterator[Record]:
    """What needs nobody's attention."""
    for number, word in enumerate(WORDS.split()):
        for team in ("shop", "platform", "team-a")[: 1 + number % 3]:
            host = f"{word}.{team}.example.com"
            hosts = (host, f"www.{host}") if number % 4 == 0 else (host,)
            record = asked(team, f"{word}-tls", *hosts, since=(100 + number) * DAY)
            record = issued(record, NOW - (90 + number) * DAY)
            yield issued(record, NOW - (30 + number % 29) * DAY, reason=LaunchReason.RENEWAL_DUE)
    yield issued(asked("edge", "wildcard-tls", "*.example.com", "example.com", since=9 * DAY), NOW - 9 * DAY)
    many = tuple(f"tenant-{n}.saas.example.com" for n in range(1, 61))
    yield issued(asked("saas", "tenants-tls", *many, since=4 * DAY), NOW - 4 * DAY)
    short = asked("edge", "short-lived-tls", "edge.example.net", since=6 * DAY)
    yield issued(short, NOW - 3 * DAY, days=6)
    internal = asked("mail", "imap-tls", "imap.example.com", since=50 * DAY, kind=SourceKind.SECRET, issuer="zerossl")
    yield issued(internal, NOW - 20 * DAY)


def bad() -> Iterator[Record]:
    """What fails, each in its own way; and what is under way."""
    pay, app = "pay.example.com", "app.example.org"
    yield failing(
        asked("shop", "pay-tls", pay, since=25 * MINUTE),
        problem("connection", TIMEOUT.format(host=pay), pay),
        *(m * MINUTE for m in (25, 20, 4)),
        wait=4 * MINUTE,
    )
    renewing = issued(asked("team-b", "app-tls", app, since=70 * DAY), NOW - 69 * DAY)
    yield failing(
        renewing,
        problem("connection", TIMEOUT.format(host=app), app),
        *(h * HOUR for h in (50, 40, 20)),
        wait=5 * HOUR,
    )
    late = issued(asked("team-b", "late-tls", "late.example.org", since=100 * DAY), NOW - 89 * DAY)
    found = problem("dns", "DNS problem: NXDOMAIN looking up A for late.example.org", "late.example.org")
    yield failing(late, found, 30 * HOUR, 3 * HOUR, wait=21 * HOUR)
    claimed = launched(asked("team-b", "www-tls", "www.example.com", since=3 * DAY), NOW - 3 * DAY)
    owner = "www.example.com belongs to namespace shop, which had it first"
    yield t.failed(claimed, NOW - 3 * DAY + 2 * SECOND, problem=problem("hostClaimed", owner, "www.example.com", ""))
    foreign = launched(asked("legacy", "old-tls", "old.example.com", since=8 * HOUR), NOW - 8 * HOUR)
    words = "Secret legacy/old-tls exists and was not made by certjob"
    yield t.failed(foreign, NOW - 8 * HOUR + SECOND, problem=problem("foreignSecret", words, step="look"))
    held = asked("saas", "burst-tls", "burst.saas.example.com", since=HOUR)
    until, why = NOW + 5 * HOUR, "50 certificates for example.com in 7 days; the next one may be ordered at 19:27 UTC"
    yield t.held_back(held, NOW - HOUR, problem=problem(t.HELD_BACK, why, step=""), until=until)
    yield launched(
        asked("team-a", "new-tls", "new.example.com", "www.new.example.com", since=6 * SECOND), NOW - 6 * SECOND
    )
    mail = issued(asked("mail", "mail-tls", "mail.example.com", "smtp.example.com", since=80 * DAY), NOW - 61 * DAY)
    yield launched(mail, NOW - 3 * SECOND, LaunchReason.RENEWAL_DUE)
    yield asked("team-a", "lost-tls", "lost.example.com", since=2 * MINUTE, issuer="vault")
    yield t.orphaned(
        issued(asked("team-a", "gone-tls", "gone.example.com", since=40 * DAY), NOW - 30 * DAY), NOW - 4 * MINUTE
    )


def hostile() -> Iterator[Json]:
    """Records whose every text is somebody else's."""
    one = asked("shop", "evil-tls", f"{NASTY}.example.com", since=HOUR, issuer=NASTY)
    source = Source(hosts=(NASTY,), settings=one.sources[0].settings, name=NASTY)
    failed = failing(replace(one, sources=(source,)), problem(NASTY, NASTY, NASTY), HOUR, wait=HOUR)
    yield stored(replace(failed, history=(HistoryEntry(at=NOW, epoch=1, event=NASTY, detail=NASTY, type=NASTY),)))
    good = issued(asked("shop", "odd-tls", "odd.example.com", since=DAY), NOW - DAY)
    assert good.issued is not None
    yield stored(replace(good, issued=replace(good.issued, serial=NASTY)))
    yield {"metadata": {"name": "shop.no", "uid": "u"}, "data": {v.RECORD_KEY: json.dumps({"version": NASTY})}}
    yield {"metadata": {"name": "shop", "uid": "u"}, "data": {}}


def fleet(number: int) -> Iterator[Json]:
    """So many as the API server has them; one in a hundred fails."""
    return map(member, range(number))


def member(number: int) -> Json:
    """One of a fleet, with as long a story as records keep."""
    host = f"host-{number}.example.com"
    record = asked(f"team-{number % 300}", f"site-{number}-tls", host, f"www.{host}", since=400 * DAY)
    for renewed in range(6):
        since = (390 - 60 * renewed + number % 29) * DAY
        record = issued(record, NOW - since, reason=LaunchReason.RENEWAL_DUE)
    if number % 100 == 7:
        found = problem("connection", TIMEOUT.format(host=host), host)
        record = failing(record, found, 30 * HOUR, 3 * HOUR, wait=21 * HOUR)
    leaf = "".join(hashlib.sha256(f"{number} {line}".encode()).hexdigest() + "\n" for line in range(24))
    return stored(replace(record, issued=record.issued and replace(record.issued, leaf=leaf)))


def issuer_objects() -> list[Json]:
    """Three issuers, one of which is not ready, and a broken one."""

    def issuer(name: str, text: str, **annotations: str) -> Json:
        metadata = {"name": name, "namespace": v.NAMESPACE, "labels": {v.ISSUER: "true"}, "annotations": annotations}
        return {"metadata": metadata, "data": {v.ISSUER_KEY: text}}

    def of(name: str, **annotations: str) -> Json:
        text = f"server: {SERVERS[name]}\nemail: ops@example.com\nsolvers: [{{http01: {{}}}}]\n"
        eab = "externalAccount: {keyId: kid}\n" if name == "zerossl" else ""
        return issuer(name, text + eab, **annotations)

    return [
        of("letsencrypt", **{v.DEFAULT_ISSUER: "true"}),
        of("letsencrypt-staging"),
        of("zerossl"),
        issuer("typo", "servre: x\n"),
    ]


def issuer_states() -> list[Json]:
    """What is known of them: orders near a limit, a test that found something."""
    at = int(NOW.timestamp())
    book = {
        "times": {
            "orders": [at + 3600] * 13,
            "domain example.com": [at + 5 * 3600] * 46,
            "failures pay.example.com": [at + 600] * 3,
        }
    }
    finding = {
        "reason": "ExternalAccountKey",
        "path": "$.externalAccount",
        "message": "Secret credentials-zerossl lacks eab-hmac-key",
    }
    ready = {CHECK_RESULT: READY, CHECKED_AT: (NOW - 3 * MINUTE).isoformat(), ORDERS: json.dumps(book)}
    unready = {CHECK_RESULT: NOT_READY, CHECKED_AT: (NOW - MINUTE).isoformat(), CHECK_FINDINGS: json.dumps([finding])}
    states = {"letsencrypt": ready, "zerossl": unready}
    return [
        {
            "metadata": {"name": names.issuer_state(name, SERVERS[name]), "labels": {v.ISSUER_STATE: "true"}},
            "data": data,
        }
        for name, data in states.items()
    ]


def sweep_pod() -> Json:
    """The last sweep's, with its last word."""
    word = {
        "work": "sweep",
        "exitCode": 0,
        "trouble": 1,
        "seconds": 2.41,
        "counts": {"records": 48, "ingresses": 47, "looks": 4},
    }
    ended = {"finishedAt": (NOW - 2 * MINUTE).isoformat(), "message": json.dumps(word)}
    return {
        "metadata": {"uid": "pod-1", "name": "certjob-sweep-1", "labels": {v.APP_COMPONENT: "sweep"}},
        "status": {"containerStatuses": [{"state": {"terminated": ended}}]},
    }


class StillSource(SnapshotSource):
    """Complete, and heard just now, unless a test says otherwise."""

    complete, heard = True, NOW

    def is_complete(self) -> bool:
        """See Source."""
        return self.complete

    def heard_at(self) -> datetime:
        """See Source."""
        return self.heard


class PageWorld:
    """What a browser sees of these objects."""

    def __init__(self, config_maps: Sequence[Json] = (), *, hosts: Sequence[str] = ()) -> None:
        self.now = NOW
        self.view = ViewWorld()
        snapshot = self.view.snapshot
        snapshot.issuers.replace(issuer_objects())
        snapshot.states.replace(issuer_states())
        snapshot.pods.replace([sweep_pod()])
        snapshot.certificates.replace(config_maps)
        snapshot.schedule = SweepSchedule(NOW - 2 * MINUTE, 5 * MINUTE)
        self.source = StillSource(snapshot)
        self.app = create_page(self.source, hosts=hosts, clock=lambda: self.now)

    @classmethod
    def of_fleet(cls) -> PageWorld:
        """The fleet, and a record that cannot be read."""
        broken = {"metadata": {"name": "team-a.broken-tls", "uid": "u"}, "data": {v.RECORD_KEY: '{"version": 9}'}}
        return cls([*map(stored, good()), *map(stored, bad()), broken])

    def get(self, address: str, *, method: str = "GET", host: str = "localhost:8080", **headers: str) -> TestResponse:
        """One request, as a browser sends it."""
        return self.app.test_client().open(address, method=method, headers={"Host": host, **headers})
