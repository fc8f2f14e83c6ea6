"""What a Secret that asks for a certificate can do to others: nothing."""

from __future__ import annotations

from typing import Any

import pytest

from issuer_job import vocabulary as v
from issuer_job.demand.common import NoticeReason
from issuer_job.demand.ingress import wants
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from tests.worlds.job import JobWorld, ingress
from tests.worlds.request import asking, decided

ISSUERS = Issuers({"a": Issuer(server="https://ca.dev/d")}, {}, default="a")


@pytest.mark.parametrize("name", ["x" * 250_000, "x" * 64, "Corp", "a.b", '"', "a/b", " "])
def test_an_issuers_name_that_none_can_have_is_refused(world: JobWorld, name: str) -> None:
    decision = decided(world, asking(issuer=name), None)
    assert "certjob.io/issuer: not the name of an issuer" in decision.refused
    assert len(decision.refused) < 500
    assert decision.launch == ()


@pytest.mark.parametrize("name", ["x" * 250_000, "Corp"])
def test_an_ingress_with_such_a_name_is_not_written_down(name: str) -> None:
    wanted = wants(ingress(annotations={v.ISSUER: name}), issuers=ISSUERS)
    assert wanted.entries == ()
    (notice,) = wanted.notices
    assert notice.reason is NoticeReason.UNKNOWN_ISSUER
    assert len(notice.message) < 120


def test_every_other_text_in_a_record_is_bounded(world: JobWorld) -> None:
    long: Any = dict.fromkeys(("profile", "preferred_chain", "renew_before", "retry"), "x" * 250000)
    for key, value in long.items():
        assert decided(world, asking(**{key: value}), None).launch == ()
    (entry,) = decided(world, asking(formats="x," * 100_000), None).launch
    assert entry.source.settings.formats == ()
