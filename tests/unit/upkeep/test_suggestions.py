"""When a record's renewal is due, and what CAs are asked about it and suggest (RFC 9773)."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from certs.renewal import renewal_time
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import Issued, Phase, Record, Renewal
from issuer_job.record.renewal import due_at
from issuer_job.upkeep.suggestions import Suggestions, check_is_due
from tests.fakes.acme import FakeAcme, Reply, fake_acme, problem
from tests.fakes.odd import ANSWERS
from tests.worlds.samples import NOW, issued, record, source

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
FIVE = timedelta(minutes=5)
WINDOW = (NOW + 60 * DAY, NOW + 62 * DAY)


def certified(name: str = "web-tls", *, issuer: str = "le", **fields: Any) -> Record:
    """A record with a certificate of 90 days whose CertID is the Secret's name."""
    made = record(Phase.ISSUED, secret_name=name)
    intent = replace(made.intent, settings=replace(made.intent.settings, issuer=issuer))
    defaults = {"not_after": NOW + 90 * DAY, "cert_id": name}
    return replace(made, intent=intent, issued=issued(**(defaults | fields)))


def issued_of(record: Record) -> Issued:
    assert record.issued is not None
    return record.issued


# When it is due


def test_due_when_the_ca_suggested_it() -> None:
    suggested = Renewal(check_after=NOW, at=NOW + 20 * DAY)
    assert due_at(certified(renewal=suggested), interval=FIVE) == NOW + 20 * DAY


def test_due_by_age_without_a_suggestion_and_earlier_if_the_user_wants() -> None:
    one = certified(renewal=Renewal(check_after=NOW))
    by_age = renewal_time(not_before=NOW, not_after=NOW + 90 * DAY, renew_before=None, spread_key=one.name)
    assert due_at(one, interval=FIVE) == by_age
    sources = (source(settings=replace(one.intent.settings, renew_before=int((50 * DAY).total_seconds()))),)
    intent = replace(one.intent, settings=sources[0].settings)
    assert NOW + 36 * DAY < due_at(replace(one, sources=sources, intent=intent), interval=FIVE) < NOW + 40 * DAY


def test_the_interval_between_sweeps_counts() -> None:
    last = certified(renewal=Renewal(check_after=NOW, at=NOW + 90 * DAY))
    assert due_at(last, interval=HOUR) == NOW + 90 * DAY - 3 * HOUR


def test_a_certificate_that_is_recalled_is_due_at_once_however_young() -> None:
    recalled = Renewal(check_after=NOW, at=NOW + 20 * HOUR, start=NOW + 20 * HOUR, end=NOW + 21 * HOUR)
    assert due_at(certified(renewal=recalled), interval=FIVE) == NOW + 20 * HOUR


@pytest.mark.parametrize("age", [timedelta(minutes=1), DAY])
def test_a_certificate_that_is_revoked_is_due_although_its_window_begins_an_hour_ago(age: timedelta) -> None:
    at_once = Renewal(check_after=NOW, at=NOW + age - HOUR / 2, start=NOW + age - HOUR, end=NOW + age)
    assert due_at(certified(renewal=at_once), interval=FIVE) == NOW + age - HOUR / 2


@pytest.mark.parametrize("ago", [HOUR, 365 * DAY])
def test_a_window_that_began_before_the_certificate_waits_for_a_tenth_of_its_life(ago: timedelta) -> None:
    always = Renewal(check_after=NOW, at=NOW - ago, start=NOW - ago, end=NOW + DAY)
    assert due_at(certified(renewal=always), interval=FIVE) == NOW + 9 * DAY


def test_what_took_the_place_of_one_as_young_is_not_recalled_again() -> None:
    recalled = Renewal(check_after=NOW, at=NOW + HOUR, start=NOW + HOUR, end=NOW + 2 * HOUR)
    again = certified(renewal=recalled)
    young, old = (replace(issued_of(again), at=NOW - age) for age in (HOUR, 30 * DAY))
    assert due_at(replace(again, former=(young,)), interval=FIVE) == NOW + 9 * DAY
    assert due_at(replace(again, former=(young, old)), interval=FIVE) == NOW + HOUR


def test_dates_that_make_it_old_at_once_do_not_count_at_once() -> None:
    """As of a CA that lets it begin months ago: or each sweep would order."""
    assert due_at(certified(not_before=NOW - 200 * DAY, not_after=NOW + 10 * DAY), interval=FIVE) == NOW + DAY


def test_nothing_is_due_without_a_certificate() -> None:
    with pytest.raises(ValueError, match="has no certificate"):
        due_at(record(Phase.LAUNCHED), interval=FIVE)


# When the CA is asked


@pytest.mark.parametrize(
    ("asked", "due"),
    [
        (None, True),
        (Renewal(check_after=NOW), True),
        (Renewal(check_after=NOW + timedelta(seconds=1)), False),
        (Renewal(check_after=NOW + 400 * DAY), True),
    ],
    ids=["never asked", "time has come", "not yet", "written with a wrong clock"],
)
def test_a_check_is_due(asked: Renewal | None, due: bool) -> None:
    assert check_is_due(certified(renewal=asked), NOW) is due


@pytest.mark.parametrize(
    "unasked",
    [
        replace(certified(), phase=Phase.LAUNCHED),
        replace(certified(), phase=Phase.WAITING),
        replace(certified(), issued=None),
        certified(cert_id=""),
        certified(directory=""),
        certified(not_after=NOW),
    ],
    ids=["being renewed", "waiting", "nothing issued", "no CertID", "put there by its owner", "expired"],
)
def test_no_check_is_due(unasked: Record) -> None:
    assert not check_is_due(unasked, NOW)


# What the CA is asked, and says


@dataclass
class Cas:
    """CAs behind one address, told apart by nothing but their issuers."""

    fake: FakeAcme
    ca_pem: bytes
    issuers: dict[str, Issuer] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add("le")

    @property
    def directory(self) -> str:
        return f"{self.fake.base}/dir"

    def add(self, name: str, **fields: Any) -> None:
        self.issuers[name] = Issuer(**({"server": self.directory, "ca_bundle": self.ca_pem.decode()} | fields))

    def certified(self, name: str = "web-tls", **fields: Any) -> Record:
        return certified(name, **({"directory": self.directory} | fields))

    def says(self, name: str, start: datetime = WINDOW[0], end: datetime = WINDOW[1], **more: Any) -> None:
        """The CA's next answer for a certificate."""
        headers = more.pop("headers", {"Retry-After": "7200"})
        window = {"start": start.isoformat(), "end": end.isoformat()}
        self.fake.script(f"/ari/{name}", Reply(200, {"suggestedWindow": window, **more}, headers))

    def suggestions(self, **options: Any) -> Suggestions:
        return Suggestions(Issuers(self.issuers, self.broken), now=NOW, **options)

    def ask(self, *records: Record, **options: Any) -> dict[str, Renewal]:
        """One pass; what is to be remembered, by Secret."""
        return {one.secret_name: found for one, found in self.suggestions(**options).ask(records)}

    def asked(self) -> list[str]:
        return [request.path.removeprefix("/ari/") for request in self.fake.requests if "/ari/" in request.path]


@pytest.fixture
def cas() -> Iterator[Cas]:
    with fake_acme() as (fake, ca_pem):
        yield Cas(fake, ca_pem)


def test_a_moment_of_the_window_is_chosen_and_the_ca_says_when_to_ask_again(cas: Cas) -> None:
    cas.says("web-tls")
    found = cas.ask(cas.certified())["web-tls"]
    assert (found.start, found.end, found.check_after) == (*WINDOW, NOW + 2 * HOUR)
    assert found.at is not None
    assert WINDOW[0] <= found.at < WINDOW[1]


def test_certificates_of_one_window_are_spread(cas: Cas) -> None:
    names = [f"s{number}-tls" for number in range(20)]
    for name in names:
        cas.says(name)
    found = cas.ask(*(cas.certified(name) for name in names))
    assert len({renewal.at for renewal in found.values()}) == 20


def test_an_unchanged_window_keeps_its_moment(cas: Cas) -> None:
    kept = NOW + 61 * DAY
    former = Renewal(check_after=NOW, at=kept, start=WINDOW[0], end=WINDOW[1])
    cas.says("web-tls")
    assert cas.ask(cas.certified(renewal=former))["web-tls"].at == kept


def test_a_changed_window_chooses_anew(cas: Cas) -> None:
    former = Renewal(check_after=NOW, at=NOW + 61 * DAY, start=WINDOW[0], end=WINDOW[1])
    cas.says("web-tls", NOW - 2 * HOUR, NOW - HOUR)
    found = cas.ask(cas.certified(renewal=former))["web-tls"]
    assert found.at is not None
    assert NOW - 2 * HOUR <= found.at < NOW - HOUR


def test_no_account_and_no_more_requests_than_needed(cas: Cas) -> None:
    for name in ("a-tls", "b-tls", "c-tls"):
        cas.says(name)
    cas.ask(*(cas.certified(name) for name in ("a-tls", "b-tls", "c-tls")))
    assert cas.fake.paths() == ["GET /dir", "GET /ari/a-tls", "GET /ari/b-tls", "GET /ari/c-tls"]
    assert len({request.client for request in cas.fake.requests}) == 1


@pytest.mark.parametrize(
    ("header", "wait"), [("5", timedelta(minutes=1)), ("9999999", DAY)], ids=["too soon", "too late"]
)
def test_what_the_ca_asks_for_is_bounded(cas: Cas, header: str, wait: timedelta) -> None:
    cas.says("web-tls", headers={"Retry-After": header})
    assert cas.ask(cas.certified())["web-tls"].check_after == NOW + wait


def test_a_ca_without_renewal_information_is_asked_once_a_day(cas: Cas) -> None:
    del cas.fake.directory["renewalInfo"]
    assert cas.ask(cas.certified()) == {"web-tls": Renewal(check_after=NOW + DAY)}


def test_a_certificate_that_the_ca_does_not_know_is_asked_for_once_a_day(cas: Cas) -> None:
    former = Renewal(check_after=NOW, at=NOW + 61 * DAY, start=WINDOW[0], end=WINDOW[1])
    cas.fake.script("/ari/a-tls", problem("malformed", "no such certificate", status=404))
    cas.fake.script("/ari/b-tls", Reply(404, raw=b"<html>not found</html>"))
    found = cas.ask(cas.certified("a-tls", renewal=former), cas.certified("b-tls"))
    assert found == dict.fromkeys(("a-tls", "b-tls"), Renewal(check_after=NOW + DAY))


# Bounds


def test_the_one_that_has_waited_longest_is_asked_first(cas: Cas) -> None:
    records = [
        cas.certified("new-tls", renewal=Renewal(check_after=NOW - HOUR)),
        cas.certified("old-tls", renewal=Renewal(check_after=NOW - DAY)),
        cas.certified("never-tls"),
        cas.certified("later-tls", renewal=Renewal(check_after=NOW + HOUR)),
    ]
    cas.ask(*records)
    assert cas.asked() == ["never-tls", "old-tls", "new-tls"]


def test_checks_in_one_pass_are_bounded(cas: Cas) -> None:
    assert len(cas.ask(*(cas.certified(f"s{number}-tls") for number in range(9)), most=4)) == 4
    assert len(cas.asked()) == 4


def test_without_time_nothing_is_asked(cas: Cas) -> None:
    assert cas.ask(cas.certified(), budget=timedelta(0)) == {}
    assert cas.fake.requests == []


def test_a_ca_that_fails_twice_in_a_row_is_left_alone_with_one_log_line(
    cas: Cas, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        cas.fake.script(f"/ari/s{number}-tls", Reply(500, raw=b"oops"))
    found = cas.ask(*(cas.certified(f"s{number}-tls") for number in range(5)))
    assert cas.asked() == ["s0-tls", "s1-tls"]
    assert found == dict.fromkeys(("s0-tls", "s1-tls"), Renewal(check_after=NOW + HOUR))
    lines = [entry for entry in caplog.records if entry.message == "renewal-info"]
    assert len(lines) == 1
    assert "HTTP 500" in lines[0].__dict__["fields"]["problem"]


def test_a_refusal_of_one_certificate_is_no_failure_of_the_ca(cas: Cas) -> None:
    former = Renewal(check_after=NOW - DAY, at=NOW + 61 * DAY)
    for number in range(3):
        cas.fake.script(f"/ari/s{number}-tls", problem("malformed", "not from this CA"))
    cas.says("web-tls")
    refused = [cas.certified(f"s{number}-tls", renewal=former) for number in range(3)]
    found = cas.ask(*refused, cas.certified(renewal=replace(former, check_after=NOW)))
    assert found["web-tls"].start == WINDOW[0]
    assert found["s2-tls"] == replace(former, check_after=NOW + HOUR)


def test_failures_that_are_not_in_a_row_stop_nothing(cas: Cas) -> None:
    for number in range(6):
        if number % 2:
            cas.says(f"s{number}-tls")
        else:
            cas.fake.script(f"/ari/s{number}-tls", Reply(200, raw=b"["))
    assert len(cas.ask(*(cas.certified(f"s{number}-tls") for number in range(6)))) == 6


def test_a_certificate_that_the_ca_does_not_know_ends_the_row(cas: Cas) -> None:
    for name in ("s0-tls", "s2-tls"):
        cas.fake.script(f"/ari/{name}", Reply(500, raw=b"oops"))
    cas.says("s3-tls")
    assert len(cas.ask(*(cas.certified(f"s{number}-tls") for number in range(4)))) == 4


def test_a_failing_ca_harms_no_other_and_takes_none_of_its_places(cas: Cas) -> None:
    cas.add("dead", server="https://127.0.0.1:1/dir")
    dead = [
        cas.certified(f"dead{number}-tls", issuer="dead", directory="https://127.0.0.1:1/dir") for number in range(5)
    ]
    cas.says("web-tls")
    alive = cas.certified(renewal=Renewal(check_after=NOW - HOUR))
    found = cas.ask(*dead, alive, most=3)
    assert found["web-tls"].start == WINDOW[0]


def test_a_failure_keeps_what_was_known_and_waits_as_the_ca_asks(cas: Cas) -> None:
    former = Renewal(check_after=NOW, at=NOW + 61 * DAY, start=WINDOW[0], end=WINDOW[1], explanation="https://ca/why")
    limited = problem("rateLimited", status=429, headers={"Retry-After": "10800"})
    cas.fake.script("/ari/web-tls", limited)
    assert cas.ask(cas.certified(renewal=former)) == {"web-tls": replace(former, check_after=NOW + 3 * HOUR)}


@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_else_a_ca_answers_what_was_known_stays_and_it_is_asked_again(cas: Cas, answer: str) -> None:
    former = Renewal(check_after=NOW, at=NOW + 61 * DAY, start=WINDOW[0], end=WINDOW[1])
    start, end = (moment.isoformat() for moment in WINDOW)
    good = Reply(200, {"suggestedWindow": {"start": start, "end": end}})
    cas.fake.script("/ari/web-tls", *[ANSWERS[answer](good)] * 2)
    found = cas.ask(cas.certified(renewal=former))["web-tls"]
    assert (found.at, found.start, found.end) == (former.at, former.start, former.end)
    assert NOW + HOUR <= found.check_after <= NOW + DAY


@pytest.mark.parametrize(
    "window",
    [
        {"start": "2026-05-05T10:00:00Z", "end": "2026-05-05T10:00:00Z"},
        {"start": "9999-12-31T23:00:00Z", "end": "9999-12-31T23:59:00-12:00"},
        {"start": "0001-01-01T00:00:00+14:00", "end": "2026-05-05T10:00:00Z"},
        {"start": "yesterday", "end": "tomorrow"},
        {},
    ],
    ids=["empty", "after all time", "before all time", "no times", "nothing"],
)
def test_a_window_that_makes_no_sense_is_a_failure(cas: Cas, window: dict[str, str]) -> None:
    cas.fake.script("/ari/web-tls", Reply(200, {"suggestedWindow": window}))
    assert cas.ask(cas.certified()) == {"web-tls": Renewal(check_after=NOW + HOUR)}


def test_the_issuers_bundle_is_the_only_trust(cas: Cas) -> None:
    cas.add("le", ca_bundle="")
    assert cas.ask(cas.certified()) == {"web-tls": Renewal(check_after=NOW + HOUR)}
    cas.add("le", ca_bundle="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----")
    assert cas.ask(cas.certified()) == {"web-tls": Renewal(check_after=NOW + HOUR)}
    assert cas.fake.requests == []


@pytest.mark.parametrize("gone", ["issuer", "directory"])
def test_without_the_issuer_or_its_directory_nothing_is_asked_for_a_day(cas: Cas, gone: str) -> None:
    former = Renewal(check_after=NOW, at=NOW + 61 * DAY)
    changes: dict[str, str] = {"issuer": "gone"} if gone == "issuer" else {"directory": "https://other/dir"}
    found = cas.ask(cas.certified(renewal=former, **changes))
    assert found == {"web-tls": replace(former, check_after=NOW + DAY)}
    assert cas.fake.requests == []


def test_an_issuer_whose_type_suggests_nothing_is_not_asked(cas: Cas) -> None:
    cas.add("le", type="ca", server="", ca_bundle="")
    assert cas.ask(cas.certified(directory="ca")) == {"web-tls": Renewal(check_after=NOW + DAY)}


def test_a_broken_issuer_is_asked_when_it_is_repaired(cas: Cas) -> None:
    cas.broken["le"] = "a typo"
    del cas.issuers["le"]
    assert cas.ask(cas.certified()) == {"web-tls": Renewal(check_after=NOW + HOUR)}


# Why


def explained(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.__dict__["fields"]["see"] for entry in caplog.records if entry.message == "renewal-explained"]


def test_an_explanation_is_kept_and_logged_once(cas: Cas, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        cas.says("web-tls", explanationURL="https://ca.example/incident")
    found = cas.ask(cas.certified())["web-tls"]
    assert found.explanation == "https://ca.example/incident"
    cas.ask(cas.certified(renewal=replace(found, check_after=NOW)))
    assert explained(caplog) == ["https://ca.example/incident"]


@pytest.mark.parametrize("url", ["https://ca/" + "x" * 600, "javascript:alert(1)", "https://ca/a b", "https://ca/\n"])
def test_an_explanation_that_is_no_short_url_is_dropped(cas: Cas, url: str) -> None:
    cas.says("web-tls", explanationURL=url)
    found = cas.ask(cas.certified())["web-tls"]
    assert (found.explanation, found.start) == ("", WINDOW[0])


# Cost


def test_a_sweep_without_a_due_check_does_not_import_the_acme_client() -> None:
    code = """
import sys
from datetime import UTC, datetime
from issuer_job.issuers.load import Issuers
from issuer_job.upkeep.suggestions import Suggestions
list(Suggestions(Issuers({}, {}), now=datetime.now(UTC)).ask([]))
sys.exit(any(name in sys.modules for name in ("issuer_job.acme_client", "acme", "requests")))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
