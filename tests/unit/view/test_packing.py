"""Records in little memory say the same, and no record is large."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job.record.phases import SWEEP_INTERVAL, Phase
from issuer_job.record.record import HistoryEntry, Record
from issuer_job.status.status import status
from tests.worlds.page import bad, good
from tests.worlds.samples import NOW, full_record, issued, record
from tests.worlds.view import ViewWorld, stored
from webhook.view.packing import MOST_BYTES, pack, unpack

HELD = issued(leaf="PEM" * 500, not_after=NOW + timedelta(days=90))


@pytest.mark.parametrize(
    "one", [*(record(p, issued=HELD) for p in Phase), full_record(), *good(), *bad()], ids=lambda r: r.name
)
def test_the_status_of_what_is_kept_is_that_of_the_record(one: Record) -> None:
    packed = pack(one)
    assert status(unpack(packed), now=NOW, interval=SWEEP_INTERVAL) == status(one, now=NOW, interval=SWEEP_INTERVAL)
    assert len(packed) < 2048


def test_nothing_that_leads_into_an_account_is_kept() -> None:
    kept = repr(unpack(pack(record(issued=HELD))))
    assert all(
        text not in kept for text in ("PEM", "pending-record", "pod-1", "https://ca/acct/1", "https://ca/order/1")
    )


def test_one_that_no_certjob_has_written_is_a_row_that_says_so() -> None:
    world = ViewWorld()
    huge = replace(record(), history=(HistoryEntry(at=NOW, epoch=1, event="x", detail="y" * MOST_BYTES),))
    world.first(huge, record(Phase.ISSUED, issued=HELD, secret_name="other"))
    rows = {row.name: row for row in world.snapshot.certificates.rows()}
    assert (rows["web-tls"].known, rows["other"].known) == (False, True)
    held = world.snapshot.certificates
    shown = held.status(rows["web-tls"], now=NOW, issuers=world.snapshot.issuers.issuers)
    assert shown is not None
    assert shown.why is not None
    assert "256 KiB" in shown.why.detail


def test_what_is_gone_is_gone() -> None:
    world = ViewWorld()
    world.first(record())
    held = world.snapshot.certificates
    [row] = held.rows()
    assert held.find("shop", "web-tls") == row
    held.drop(stored(record()))
    assert held.find("shop", "web-tls") is None
    assert held.status(row, now=NOW, issuers=world.snapshot.issuers.issuers) is None
