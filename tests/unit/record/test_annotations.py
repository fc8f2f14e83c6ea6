"""The table of annotations: what follows from a row, and that every one is documented."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Resolved
from issuer_job.issuers.schema import Issuer
from issuer_job.record.annotations import ANNOTATIONS, Annotation, Settings, read_moment, read_settings
from issuer_job.record.record import Intent

CHECKOUT = Path(__file__).parents[3]
FULL = {
    v.ISSUER: "le",
    v.KEY_ALGORITHM: "rsa-2048",
    v.PROFILE: "short",
    v.PREFERRED_CHAIN: "X1",
    v.FORMATS: "keystore.p12, ca.crt",
    v.RENEW_BEFORE: "30d",
    v.RETRY: "1",
    v.RENEW: "2026-12-01T08:00:00Z",
}
ALL = Settings(
    issuer="le",
    key_algorithm="rsa-2048",
    profile="short",
    preferred_chain="X1",
    renew_before=30 * 86400,
    formats=("ca.crt", "keystore.p12"),
)


def test_every_setting_has_its_row() -> None:
    assert sorted(row.field for row in ANNOTATIONS if row.field) == sorted(Settings.__struct_fields__)
    assert set(FULL) == {row.name for row in ANNOTATIONS}


def test_all_are_read() -> None:
    assert read_settings(FULL, default="other") == (ALL, ())
    assert read_settings(dict.fromkeys(FULL, ""), default="other") == (Settings(issuer="other"), ())


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (v.ISSUER, "No Name", "not the name of an issuer"),
        (v.KEY_ALGORITHM, "rsa-1", "not one of ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096"),
        (v.PROFILE, "x" * 101, "longer than 100 characters"),
        (v.PREFERRED_CHAIN, "x" * 101, "longer than 100 characters"),
        (v.RENEW_BEFORE, "x" * 101, "longer than 100 characters"),
        (v.RETRY, "x" * 101, "longer than 100 characters"),
    ],
)
def test_what_cannot_be_met_costs_the_certificate(name: str, text: str, said: str) -> None:
    assert read_settings(FULL | {name: text}, default="other") == (None, (f"{name}: {said}",))


def test_what_is_not_needed_for_a_certificate_costs_none() -> None:
    notes = {v.FORMATS: "ca.crt, x.p12", v.RENEW_BEFORE: "soon", v.RENEW: "now"}
    settings, wrong = read_settings(notes, default="le")
    assert settings == Settings(issuer="le", formats=("ca.crt",))
    assert wrong == (
        "certjob.io/formats: unknown format 'x.p12'",
        "certjob.io/renew-before: 'soon' is not a duration such as 30d, 720h or 1h30m",
        "certjob.io/renew: 'now' is not a time such as 2026-12-01T08:00:00Z",
    )


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-01T08:00:00Z", datetime(2026, 12, 1, 8, tzinfo=UTC)),
        ("2026-12-01t08:00:00.123456789z", datetime(2026, 12, 1, 8, 0, 0, 123456, tzinfo=UTC)),
        ("2026-12-01T08:00:00+02:00", datetime(2026, 12, 1, 6, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_time_of_rfc_3339(text: str, moment: datetime) -> None:
    found = read_moment(text)
    assert found == moment
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-12-01",
        "2026-12-01T08:00:00",
        "2026-12-01T08:00Z",
        "2026-12-01 08:00:00Z",
        "2026-13-01T08:00:00Z",
        "2026-06-31T08:00:00Z",
        "2026-12-01T24:00:00Z",
        "2026-12-01T08:00:00+99:00",
        "9999-12-31T23:59:59-23:59",  # in UTC the year 10000
        "0001-01-01T00:00:00+23:59",
        "2026-W49-1T08:00:00Z",
        "20261201T080000Z",
        "٢٠٢٦-12-01T08:00:00Z",
        "2026-12-01T08:00:00Z\n",
        "2026-12-01T08:00:00." + "0" * 100_000 + "Z",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert read_moment(text) is None


def test_the_hashes_of_stored_records_stay() -> None:
    """Another hash is another certificate: every record would be ordered anew."""
    assert Intent(hosts=("a.dev", "b.dev"), settings=Settings(issuer="le")).hash == "bb859098fc536b05"
    assert Intent(hosts=("a.dev", "b.dev"), settings=ALL).hash == "e6e82b2b41995155"


def test_a_later_annotation_counts_only_where_it_is_set() -> None:
    later = Annotation("certjob.io/later", "later", lambda text: (text, ()), "x | y")
    assert later.identity("") == ()
    assert later.identity("yes") == ("later=yes",)
    assert later.identity(("a", "b")) == ("later=a,b",)
    assert later.identity(()) == ()


def test_where_users_say_nothing_the_issuers_own_holds() -> None:
    issuer = Issuer(server="https://ca.dev/d", profile="tls", preferred_chain="X2")
    assert Resolved.of("le", issuer, ALL).settings == ALL
    own = Resolved.of("le", issuer, Settings(issuer="le")).settings
    assert own == Settings(issuer="le", key_algorithm="ecdsa-p256", profile="tls", preferred_chain="X2")


@pytest.mark.parametrize("row", ANNOTATIONS, ids=[row.name for row in ANNOTATIONS])
def test_each_is_documented_as_its_row_says(row: Annotation) -> None:
    assert f"\n| `{row.name}` | {row.doc} |\n" in (CHECKOUT / "README.md").read_text()
    assert f"`{row.name}`" in (CHECKOUT / "docs/requests.md").read_text()
