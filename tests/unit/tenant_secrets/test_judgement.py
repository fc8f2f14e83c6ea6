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
from certs.validity import StoredCertificate, ValidityReason
from issuer_job.record.record import Issued, Phase, Record, Renewal
from issuer_job.tenant_secrets.access import Content, Look
from issuer_job.tenant_secrets.judgement import Fitness, Misfit, installed, judge
from tests.fakes.certs_ca import DAY, FakeCA, new_key, pem, pem_of
from tests.worlds.samples import HOSTS, NOW, SETTINGS, record, source

CA = FakeCA.root(now=NOW - 400 * DAY)
KEY, OTHER_KEY = new_key(), new_key()
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
    issued = installed(bare, describe_chain(crt), Look("secret-uid", "9"), now=NOW - DAY, ordered=True)
    return replace(bare, issued=replace(issued, **fields))


def placeholder_pair() -> tuple[bytes, bytes]:
    made = make_placeholder(HOSTS, now=NOW)
    return made.cert_chain_pems, made.key_pem


def wanting(held: Record, **settings: object) -> Record:
    """The same, with other settings wanted now."""
    sources = (source(settings=replace(SETTINGS, **settings)),)
    intent = replace(held.intent, settings=sources[0].settings)
    return replace(held, sources=sources, intent=intent)


OURS, THEIRS = made(serial=7), made(serial=8)
OLD, OLD_THEIRS = made(age=80 * DAY, serial=7), made(age=80 * DAY, serial=8)
MIDDLE, ENDED = made(age=41 * DAY), made(age=91 * DAY)
LATE = Renewal(check_after=NOW, at=NOW + 9 * DAY)
"""An old one that the CA would keep for longer."""
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
    Case("ours, renewed by the CA", knows(OURS, renewal=Renewal(NOW, at=NOW)), look(OURS), V.RENEWAL_DUE, same=True),
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
    Case("with a name that nobody can read", knows(OURS), look(UNREADABLE_NAME), V.GOOD, stays=True),
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
    return judge(held, seen, now=NOW, interval=interval, renews=renews)


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
