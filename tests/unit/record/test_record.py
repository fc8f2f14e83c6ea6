"""The record as it is stored."""

from __future__ import annotations

import json

import msgspec
import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.record.record import ACTIVE, IngressClass, Intent, Phase, RecordError, Settings
from issuer_job.record.store import from_config_map, to_config_map
from tests.worlds.samples import HOSTS, PROBLEM, full_record, issued, record, source


def stored(**changes: object) -> Json:
    body = to_config_map(full_record())
    data = json.loads(body["data"][v.RECORD_KEY]) | changes
    return body | {"data": {v.RECORD_KEY: json.dumps(data)}}


def test_the_sample_leaves_no_field_at_its_default() -> None:
    made = full_record()
    assert made.issued is not None
    parts = (made, made.attempt, made.issued, made.issued.renewal, made.retry, made.sources[0], made.ledger[0])
    for part in (*parts, made.intent.settings, made.history[0]):
        assert part is not None
        for field in msgspec.structs.fields(part):
            if not field.required and field.name != "version":
                assert getattr(part, field.name) != field.default, field.name


def test_every_field_survives_the_round_trip() -> None:
    assert from_config_map(to_config_map(full_record())) == full_record()


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_survives_the_round_trip(phase: Phase) -> None:
    assert from_config_map(to_config_map(record(phase))) == record(phase)


def test_the_config_map() -> None:
    metadata = to_config_map(full_record())["metadata"]
    assert metadata["name"] == "shop.web-tls"
    assert metadata["namespace"] == "certjob"
    assert metadata["labels"] == {
        v.RECORD: "true",
        v.RECORD_NAMESPACE: "shop",
        v.STATE: "Issued",
        v.MANAGED_BY: "certjob",
    }
    assert metadata["annotations"] == {v.HOSTS: "a.certjob.dev,b.certjob.dev"}
    assert (metadata["uid"], metadata["resourceVersion"]) == ("record-uid", "7")
    text = to_config_map(full_record())["data"][v.RECORD_KEY]
    assert '"uid": "record-uid"' not in text
    assert "launchedAt" in text


def test_a_new_record_is_created_without_a_version() -> None:
    metadata = to_config_map(replace(full_record(), resource_version=""))["metadata"]
    assert "uid" not in metadata
    assert "resourceVersion" not in metadata


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    body = stored(novelty={"a": 1})
    assert from_config_map(body) == full_record()


def test_a_later_version_is_refused() -> None:
    with pytest.raises(RecordError, match=r"shop\.web-tls: written by a later certjob \(version 3\)"):
        from_config_map(stored(version=3))


DEEP = {v.RECORD_KEY: '{"x":' + "[" * 100_000}


@pytest.mark.parametrize("data", [None, {}, {v.RECORD_KEY: ""}, {v.RECORD_KEY: "{"}, {v.RECORD_KEY: "[]"}, DEEP])
def test_what_is_not_a_record_is_refused(data: object) -> None:
    with pytest.raises(RecordError, match=r"shop\.web-tls"):
        from_config_map(to_config_map(full_record()) | {"data": data})


@pytest.mark.parametrize(
    "changes",
    [
        {"phase": "Nonsense"},
        {"since": "yesterday"},
        {"since": "2026-05-05T10:00:00"},  # no zone: it could not be compared
        {"intent": None},
        {"generation": "x"},
    ],
)
def test_a_broken_field_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        from_config_map(stored(**changes))


@pytest.mark.parametrize("phase", Phase)
def test_the_state_stays_issued_while_a_renewal_goes_on(phase: Phase) -> None:
    assert record(phase).state == phase
    renewed = record(phase, issued=issued())
    kept = phase in ACTIVE | {Phase.WAITING, Phase.UNCONFIRMED}
    assert renewed.state == (Phase.ISSUED if kept else phase)
    assert to_config_map(renewed)["metadata"]["labels"][v.STATE] == renewed.state


def test_the_hash_says_whether_another_certificate_is_wanted() -> None:
    settings = Settings(issuer="le")
    hashes = {
        Intent(hosts=HOSTS, settings=settings).hash,
        Intent(hosts=HOSTS[:1], settings=settings).hash,
        Intent(hosts=HOSTS, settings=Settings(issuer="other")).hash,
        Intent(hosts=HOSTS, settings=Settings(issuer="le", key_algorithm="x")).hash,
        Intent(hosts=HOSTS, settings=Settings(issuer="le", profile="x")).hash,
        Intent(hosts=HOSTS, settings=Settings(issuer="le", preferred_chain="x")).hash,
        Intent(hosts=(*HOSTS, ""), settings=settings).hash,
    }
    assert len(hashes) == 7
    assert Intent(hosts=HOSTS, settings=Settings(issuer="le", renew_before=60)).hash in hashes  # the same certificate
    assert Intent(hosts=HOSTS, settings=Settings(issuer="le")).hash in hashes


def test_classes_by_field_and_by_annotation_differ() -> None:
    assert IngressClass(field="nginx").identity != IngressClass(annotation="nginx").identity
    assert IngressClass().identity != IngressClass(annotation="").identity


def test_owner_reference() -> None:
    assert full_record().owner_reference == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "shop.web-tls",
        "uid": "record-uid",
    }


def test_every_class_of_every_source_gets_its_route() -> None:
    old, new = IngressClass(annotation="nginx"), IngressClass(field="nginx")
    one, two = source(hosts=("b.dev", "a.dev"), ingress_class=new), source("x", ("a.dev",), ingress_class=old)
    assert record(sources=(one, two)).routes == [("a.dev", old), ("a.dev", new), ("b.dev", new)]
    assert record(sources=(one, one)).routes == [("a.dev", new), ("b.dev", new)]


def test_what_people_read() -> None:
    assert PROBLEM.note == "a.certjob.dev: no A record (dns)"
    assert replace(PROBLEM, host="").note == "no A record (dns)"
