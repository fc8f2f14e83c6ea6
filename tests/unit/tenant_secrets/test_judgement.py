"""One judge of what a Secret holds: Job and sweep ask it, and so cannot say different things."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from certs.chain import describe_chain
from certs.keys import key_to_pem
from certs.placeholder import make_placeholder
from certs.trust import IssuerTrust
from certs.validity import StoredCertificate, ValidityReason
from issuer_job.record.record import Issued, Phase, Record, Renewal
from issuer_job.record.renewal import replaceable
from issuer_job.tenant_secrets.access import Content, Look
from issuer_job.tenant_secrets.judgement import Fitness, Misfit, installed, judge, overwritten
from issuer_job.vocabulary import NOTED_TIME
from tests.fakes.certs_ca import DAY, FakeCA, new_key, pem, pem_of
from tests.worlds.samples import HOSTS, NOW, SETTINGS, record, source

CA = FakeCA.root(now=NOW - 400 * DAY)
KEY, OTHER_KEY = new_key(), new_key()
DIRECTORY = "https://ca/dir"
TRUST = IssuerTrust(
    "le", DIRECTORY, knows={DIRECTORY, "https://other/dir"}.__contains__, roots=lambda: [pem(CA.certificate)]
)
LIFE = 90 * DAY
MINUTES = timedelta(minutes=5)
SHOWN, UNTOUCHED, CHANGED, UNKNOWN = Content.SHOWN, Content.UNTOUCHED, Content.CHANGED, Content.UNKNOWN
V = ValidityReason


def made(hosts: tuple[str, ...] = HOSTS, *, age: timedelta = DAY, life: timedelta = LIFE, serial: int = 7) -> bytes:
    start = NOW - age
    return pem(CA.issue(hosts, KEY, not_before=start, not_after=start + life, serial=serial, authority_key_id=b"id"))


def look(crt: bytes | None, *, key: Any = KEY, **fields: Any) -> Look:
    stored = StoredCertificate(crt, key and key_to_pem(key))
    return Look(**({"uid": "secret-uid", "resource_version": "12", "stored": stored} | fields))


def knows(crt: bytes | None, **fields: object) -> Record:
    """A record whose certificate this is, issued for just what it wants."""
    bare = record(Phase.CLAIMED)
    if crt is None:
        return bare
    described = describe_chain(crt)
    made_at = min(described.not_before, NOW - DAY)
    issued = installed(bare, described, Look("secret-uid", "9"), now=made_at, ordered=True)
    return replace(bare, issued=replace(issued, **fields))


def placeholder_pair() -> tuple[bytes, bytes]:
    made = make_placeholder(HOSTS, now=NOW)
    return made.cert_chain_pems, made.key_pem


def wanting(held: Record, **settings: object) -> Record:
    """The same, with other settings wanted now."""
    sources = (source(settings=replace(SETTINGS, **settings)),)
    intent = replace(held.intent, settings=sources[0].settings)
    return replace(held, sources=sources, intent=intent)


RENEWS = {"renews": True}
STRANGE = pem(FakeCA.root("Stranger", now=NOW - DAY).issue(HOSTS, KEY, not_before=NOW - DAY, not_after=NOW + LIFE))
OURS, THEIRS = made(serial=7), made(serial=8)
OLD, OLD_THEIRS = made(age=80 * DAY, serial=7), made(age=80 * DAY, serial=8)
MIDDLE, ENDED = made(age=41 * DAY), made(age=91 * DAY)
LATE = Renewal(check_after=NOW, at=NOW + 9 * DAY)
"""An old one that the CA would keep for longer."""
RECALL = Renewal(check_after=NOW, at=NOW, start=NOW, end=NOW + DAY)
ALWAYS = Renewal(check_after=NOW, at=NOW - DAY, start=NOW - 400 * DAY, end=NOW + DAY)
UNREADABLE_NAME = pem_of(
    CA.issue(HOSTS, KEY, serial=9, not_before=NOW - DAY, not_after=NOW + LIFE)
    .public_bytes(Encoding.DER)
    .replace(b"\x0c\x09Fake Root", b"\x03\x09\x00ake Root")
)
PLACEHOLDER = look(None, key=None, stored=StoredCertificate(*placeholder_pair()))


@dataclass(frozen=True)
class Case:
    """`stays`: it takes no order."""

    name: str
    record: Record
    seen: Look
    reason: object
    stays: bool = False
    same: bool = False
    asked: dict[str, Any] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()


CASES = [
    Case("no Secret", knows(OURS), Look(), V.MISSING),
    Case("empty", knows(OURS), look(b"", key=None), V.NO_CERTIFICATE),
    Case("garbage", knows(OURS), look(b"-----BEGIN"), V.UNREADABLE),
    Case("placeholder", knows(OURS), PLACEHOLDER, V.PLACEHOLDER),
    Case("without a key", knows(OURS), look(OURS, key=None), V.NO_CERTIFICATE, same=True),
    Case("other key", knows(OURS), look(OURS, key=OTHER_KEY), V.KEY_DOES_NOT_MATCH, same=True),
    Case("fewer hosts", knows(OURS), look(made(HOSTS[:1], serial=8)), V.HOSTS_NOT_COVERED),
    Case("ended", knows(ENDED), look(ENDED), V.EXPIRED, same=True),
    Case("for later", knows(None), look(made(age=-DAY)), V.NOT_YET_VALID),
    # the one that the record knows
    Case("ours", knows(OURS), look(OURS), V.GOOD, stays=True, same=True),
    Case("ours, due", knows(OLD), look(OLD), V.RENEWAL_DUE, same=True),
    Case("ours, kept by the CA", knows(OLD, renewal=LATE), look(OLD), V.GOOD, stays=True, same=True),
    Case("ours, recalled by the CA", knows(OURS, renewal=RECALL), look(OURS), V.RENEWAL_DUE, same=True),
    Case("ours, of a CA that recalls all", knows(OURS, renewal=ALWAYS), look(OURS), V.GOOD, stays=True, same=True),
    Case(
        "ours, renewed in any case", knows(OURS), look(OURS), Misfit.TO_BE_REPLACED, same=True, asked={"renews": True}
    ),
    Case(
        "ours, kept by the CA, but sweeps are rare",
        knows(OLD, renewal=LATE),
        look(OLD),
        V.RENEWAL_DUE,
        same=True,
        asked={"interval": 4 * DAY},
    ),
    Case(
        "ours, due as its owner asked",
        wanting(knows(MIDDLE), renew_before=50 * 86400),
        look(MIDDLE),
        V.RENEWAL_DUE,
        same=True,
    ),
    # another one, which somebody has put there
    Case("theirs", knows(OURS), look(THEIRS), V.GOOD, stays=True),
    Case("theirs, due", knows(OURS), look(OLD_THEIRS), V.RENEWAL_DUE),
    Case("theirs, ours renewed in any case", knows(OURS), look(THEIRS), V.GOOD, stays=True, asked={"renews": True}),
    Case("theirs, ours due", knows(OLD), look(THEIRS), V.GOOD, stays=True),
    Case("theirs, ours kept by the CA", knows(OLD, renewal=LATE), look(OLD_THEIRS), V.RENEWAL_DUE),
    Case(
        "theirs, and sweeps are rare",
        wanting(knows(None), renew_before=86400),
        look(made(age=25 * DAY, life=30 * DAY, serial=8)),
        V.RENEWAL_DUE,
        asked={"interval": 2 * DAY},
    ),
    Case("with a name that nobody can read", knows(OURS), look(UNREADABLE_NAME), Misfit.UNKNOWN_SIGNER),
    # signed by whom nobody knows
    Case("a stranger's", knows(OURS), look(STRANGE), Misfit.UNKNOWN_SIGNER),
    Case("a stranger's, ours renewed in any case", knows(OURS), look(STRANGE), Misfit.UNKNOWN_SIGNER, asked=RENEWS),
    Case("a stranger's, found", knows(None), look(STRANGE, issuer="le"), Misfit.UNKNOWN_SIGNER),
    Case("a stranger's, issued all the same", knows(STRANGE), look(STRANGE), V.GOOD, stays=True, same=True),
    Case("a stranger's, adopted by 0.1.0", knows(STRANGE, directory=""), look(STRANGE), Misfit.UNKNOWN_SIGNER),
    Case("ours, adopted by 0.1.0", knows(OURS, directory=""), look(OURS), V.GOOD, stays=True),
    Case(
        "vouched for before", knows(STRANGE, directory="", vouched=True), look(STRANGE), V.GOOD, stays=True, same=True
    ),
    # of another server of the issuer
    Case(
        "of a server before", knows(OURS, directory="https://staging/dir"), look(OURS), Misfit.OTHER_SERVER, same=True
    ),
    Case("of the fallback's", knows(OURS, directory="https://other/dir"), look(OURS), V.GOOD, stays=True, same=True),
    Case(
        "theirs, ours of a server before",
        knows(OURS, directory="https://staging/dir"),
        look(THEIRS),
        V.GOOD,
        stays=True,
    ),
    Case(
        "untouched, of a server before",
        knows(OURS, directory="https://staging/dir"),
        look(None, content=UNTOUCHED),
        Misfit.OTHER_SERVER,
        same=True,
    ),
    # a record that knows none
    Case("found", knows(None), look(OURS, issuer="le"), V.GOOD, stays=True),
    Case("found, from nobody knows where", knows(None), look(OURS), V.GOOD, stays=True),
    Case("found, of another issuer", knows(None), look(OURS, issuer="other"), Misfit.OTHER_ISSUER),
    Case("found, due", knows(None), look(OLD), V.RENEWAL_DUE),
    # something else is wanted
    Case("ours, changed", wanting(knows(OURS), profile="x"), look(OURS), Misfit.OTHER_INTENT, same=True),
    Case("theirs, changed", wanting(knows(OURS), profile="x"), look(THEIRS), Misfit.OTHER_INTENT),
    Case(
        "ours, with a format",
        wanting(knows(OURS), formats=("ca.crt",)),
        look(OURS),
        Misfit.LACKS_FORMATS,
        stays=True,
        same=True,
        lacks=("ca.crt",),
    ),
    Case(
        "theirs, with a format",
        wanting(knows(OURS), formats=("ca.crt", "keystore.p12")),
        look(THEIRS, further={"keystore.p12": b"locked"}),
        Misfit.LACKS_FORMATS,
        stays=True,
        lacks=("ca.crt",),
    ),
    Case(
        "ours, with its format",
        wanting(knows(OURS), formats=("ca.crt",)),
        look(OURS, further={"ca.crt": OURS}),
        V.GOOD,
        stays=True,
        same=True,
    ),
    # data that is not shown
    Case("untouched", knows(OURS), look(None, content=UNTOUCHED), UNTOUCHED, stays=True, same=True),
    Case("changed by somebody", knows(OURS), look(None, content=CHANGED), CHANGED, stays=True, same=True),
    Case("unknown", knows(OURS), look(None, content=UNKNOWN), UNKNOWN),
    Case("untouched, but of no record", knows(None), look(None, content=UNTOUCHED), UNTOUCHED),
    Case("untouched, due", knows(OLD), look(None, content=UNTOUCHED), V.RENEWAL_DUE, same=True),
    Case("changed by somebody, due", knows(OLD), look(None, content=CHANGED), V.RENEWAL_DUE, same=True),
    Case(
        "untouched, kept", knows(OLD, renewal=LATE), look(None, content=UNTOUCHED), UNTOUCHED, stays=True, same=True
    ),
    Case(
        "untouched, kept, but sweeps are rare",
        knows(OLD, renewal=LATE),
        look(None, content=UNTOUCHED),
        V.RENEWAL_DUE,
        same=True,
        asked={"interval": 4 * DAY},
    ),
    Case(
        "untouched, renewed in any case",
        knows(OURS),
        look(None, content=UNTOUCHED),
        Misfit.TO_BE_REPLACED,
        same=True,
        asked={"renews": True},
    ),
    Case(
        "changed by somebody, renewed in any case",
        knows(OURS),
        look(None, content=CHANGED),
        Misfit.TO_BE_REPLACED,
        same=True,
        asked={"renews": True},
    ),
    Case(
        "untouched, with a format",
        wanting(knows(OURS), formats=("ca.crt",)),
        look(None, content=UNTOUCHED),
        Misfit.OTHER_INTENT,
        same=True,
    ),
]


def judged(held: Record, seen: Look, *, interval: timedelta = MINUTES, renews: bool = False) -> Fitness:
    return judge(held, seen, TRUST, now=NOW, interval=interval, renews=renews)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_secret_holds(case: Case) -> None:
    found = judged(case.record, case.seen, **case.asked)
    assert found.reason is case.reason, found.message
    assert (found.same, found.issued is not None, found.lacks) == (case.same, case.stays, case.lacks)
    assert found.good is (case.stays and not case.lacks)
    assert found.message.endswith(".")


def test_that_name_is_one_that_nobody_can_read() -> None:
    assert describe_chain(UNREADABLE_NAME).issuer_name == ""


def known(held: Record, seen: Look) -> Issued:
    issued = judged(held, seen).issued
    assert issued is not None
    return issued


def test_the_record_keeps_what_it_knows_of_its_certificate() -> None:
    held = wanting(knows(OURS, renewal=LATE), formats=("keystore.p12",))
    seen = look(OURS, further={"keystore.p12": b"locked"})
    assert held.issued is not None
    assert known(held, seen) == replace(
        held.issued, intent_hash=held.intent.hash, formats=("keystore.p12",), secret_version="12"
    )


def test_of_one_that_somebody_put_there_no_ca_is_asked() -> None:
    """Not even if an order of this record was under way at some CA."""
    issued = known(knows(OURS), look(THEIRS))
    assert describe_chain(THEIRS).ari_cert_id
    assert (issued.serial, issued.directory, issued.account, issued.cert_id) == ("8", "", "", "")
    assert (issued.epoch, issued.at, issued.secret_uid, issued.secret_version) == (
        record().epoch,
        NOW,
        "secret-uid",
        "12",
    )


def test_of_one_that_was_ordered_its_ca_is_asked() -> None:
    issued = installed(knows(None), describe_chain(OURS), look(OURS), now=NOW, ordered=True)
    assert (issued.directory, issued.account) == ("https://ca/dir", "https://ca/acct/1")
    assert issued.cert_id == describe_chain(OURS).ari_cert_id


def test_one_that_somebody_changed_is_not_taken_for_untouched_later() -> None:
    held = knows(OURS)
    assert known(held, look(None, content=CHANGED)) == held.issued


def noted(**fields: Any) -> dict[str, Any]:
    """What certjob notes beside a certificate that it has put into a Secret."""
    return {"state": "issued", "issuer": "le", "not_after": f"{NOW - DAY + LIFE:{NOTED_TIME}}"} | fields


@pytest.mark.parametrize(
    ("notes", "directory"),
    [
        (noted(), DIRECTORY),
        (noted(not_after=f"{NOW:{NOTED_TIME}}"), ""),  # its data was written by somebody else since
        (noted(state="placeholder"), ""),
        (noted(issuer=""), ""),
        ({}, ""),
    ],
)
def test_a_lost_record_knows_again_where_its_certificate_came_from(notes: dict[str, str], directory: str) -> None:
    """So that its CA is asked when to renew, and told what the renewal replaces."""
    issued = known(knows(None), look(OURS, **notes))
    found = describe_chain(OURS)
    assert (issued.directory, issued.cert_id) == (directory, found.ari_cert_id if directory else "")
    assert (issued.leaf, issued.vouched) == (found.leaf_pem if directory else "", True)
    assert issued.at == (found.not_before if directory else NOW)
    renewed = replace(knows(None), issued=issued)
    assert replaceable(renewed, directory=DIRECTORY, account="https://ca/acct/any") == issued.cert_id


def test_what_has_signed_for_the_issuer_before_is_known_without_any_note() -> None:
    trust = IssuerTrust("le", DIRECTORY, signers=lambda: pem(CA.certificate))
    found = judge(knows(None), look(OURS), trust, now=NOW, interval=MINUTES, renews=False)
    assert found.issued is not None
    assert found.issued.directory == DIRECTORY


def test_a_chain_is_verified_once() -> None:
    """What the record knows is not verified in each look, nor what somebody has put there and a look has adopted."""

    def roots() -> list[bytes]:
        raise AssertionError("verified again")

    trust = IssuerTrust("le", DIRECTORY, signers=roots, roots=roots)  # type: ignore[arg-type]
    adopted = known(knows(OURS), look(THEIRS))
    for held, crt in ((knows(OURS), OURS), (replace(knows(OURS), issued=adopted), THEIRS)):
        assert judge(held, look(crt), trust, now=NOW, interval=MINUTES, renews=False).good


OVER = {
    "a stranger's": look(STRANGE),
    "of other hosts": look(made(HOSTS[:1], serial=8)),
    "with another key": look(THEIRS, key=OTHER_KEY),
    "that has ended": look(made(age=91 * DAY, serial=8)),
}


@pytest.mark.parametrize("seen", OVER.values(), ids=OVER)
def test_what_is_written_over_an_issued_certificate_is_put_back_once_a_day(seen: Look) -> None:
    first = judged(knows(OURS), seen)
    assert (first.overwrites, first.until) == (True, None)
    again = judged(knows(OURS, put_back=True), seen)
    assert (again.overwrites, again.until) == (True, None)  # put back a day ago
    lately = judged(knows(OURS, put_back=True, at=NOW - timedelta(hours=23)), seen)
    assert (lately.overwrites, lately.until) == (True, NOW + timedelta(hours=1))


@pytest.mark.parametrize(
    "seen", [PLACEHOLDER, Look(), look(b"", key=None), look(OLD)], ids=["placeholder", "none", "empty", "ours"]
)
def test_what_is_no_other_certificate_overwrites_nothing(seen: Look) -> None:
    held = knows(OLD, put_back=True, at=NOW - timedelta(hours=1))
    assert (judged(held, seen).overwrites, judged(held, seen).until) == (False, None)


@pytest.mark.parametrize("held", [knows(None), knows(OURS, directory="")], ids=["none", "theirs"])
def test_nothing_is_overwritten_where_nothing_was_issued(held: Record) -> None:
    assert not judged(held, look(STRANGE)).overwrites


def test_who_has_overwritten_it_is_said() -> None:
    seen = look(STRANGE, written_by="helm at 2026-01-02T03:04:05Z")
    problem = overwritten(knows(OURS), seen, judged(knows(OURS), seen))
    assert problem.detail == (
        "the certificate from issuer le was overwritten by helm at 2026-01-02T03:04:05Z with one signed by "
        "'Stranger'; another one is ordered, and put back"
    )
