"""The registry of source kinds, and how what asks is found again."""

from __future__ import annotations

from typing import NoReturn

import msgspec
import pytest

from issuer_job.cluster.api import INGRESSES, Cluster, Json
from issuer_job.demand import askers, unlisted
from issuer_job.demand.askers import READERS, Asker
from issuer_job.record.record import Phase, Source, SourceKind
from tests.fakes.api import FakeApi
from tests.worlds.job import ingress
from tests.worlds.samples import NOW, record, source

SECRETS_OWN = msgspec.structs.replace(source("crt"), kind=SourceKind.SECRET, uid="s")


def never() -> NoReturn:
    raise AssertionError("nothing to look at")


@pytest.fixture
def cluster() -> Cluster:
    api = FakeApi()
    api.add(INGRESSES, "shop", ingress("web"))
    api.add(INGRESSES, "shop", ingress("second"))
    return Cluster(api)


def test_every_kind_has_a_reader() -> None:
    assert set(READERS) == set(SourceKind)


def test_records_store_a_kind_by_its_name() -> None:
    stored = msgspec.json.encode(SECRETS_OWN)
    assert b'"kind":"Secret"' in stored
    assert msgspec.json.decode(stored, type=Source) == SECRETS_OWN
    assert b"kind" not in msgspec.json.encode(source("web"))  # records of before there were others


def test_only_what_can_be_listed_is(cluster: Cluster) -> None:
    assert {(asker.kind, asker.name) for asker in askers.list_askers(cluster, "shop")} == {
        (SourceKind.INGRESS, "web"),
        (SourceKind.INGRESS, "second"),
    }
    assert list(askers.list_askers(cluster, "elsewhere")) == []


def test_what_has_a_name_is_found_by_it(cluster: Cluster) -> None:
    known = record(Phase.CLAIMED, sources=(source("web"), source("gone")))
    assert [asker.name for asker in askers.find_askers(cluster, known, look=never)] == ["web"]


def test_what_had_no_name_at_its_admission_is_looked_for_among_all(cluster: Cluster) -> None:
    nameless = msgspec.structs.replace(source("web"), name="", generate_name="web-")
    known = record(Phase.CLAIMED, sources=(nameless,))
    assert [asker.name for asker in askers.find_askers(cluster, known, look=never)] == ["second", "web"]


@pytest.mark.parametrize("metadata", [None, {"name": "crt", "namespace": "shop", "uid": "s"}])
def test_what_cannot_be_listed_is_looked_at(cluster: Cluster, metadata: Json | None) -> None:
    known = record(Phase.CLAIMED, sources=(SECRETS_OWN,))
    found = list(askers.find_askers(cluster, known, look=lambda: metadata))
    assert found == ([] if metadata is None else [Asker(SourceKind.SECRET, {"metadata": metadata})])


def test_events_go_to_what_is_there_under_its_name(cluster: Cluster) -> None:
    nameless = msgspec.structs.replace(source("x"), name="", generate_name="web-")
    known = record(Phase.CLAIMED, sources=(source("web"), source("gone"), nameless, SECRETS_OWN))
    found = askers.with_uids(cluster, known)
    assert [(s.kind, s.name) for s in found] == [(SourceKind.INGRESS, "web"), (SourceKind.SECRET, "crt")]
    assert all(s.uid for s in found)


def test_only_its_record_keeps_alive_what_cannot_be_listed() -> None:
    asked = record(Phase.ISSUED, sources=(source("web"), SECRETS_OWN))
    assert unlisted.standing(asked) == (SECRETS_OWN,)
    seen_gone = msgspec.structs.replace(SECRETS_OWN, gone_since=NOW)
    assert unlisted.standing(msgspec.structs.replace(asked, sources=(source("web"), seen_gone))) == ()
    assert unlisted.standing(msgspec.structs.replace(asked, phase=Phase.RETIRED)) == ()
