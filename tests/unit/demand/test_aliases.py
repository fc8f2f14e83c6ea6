"""cert-manager's annotations read as certjob's own: what is understood, ignored, refused; and where that is off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certs.keys import KeyAlgorithm
from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, Cluster, Json
from issuer_job.demand.aliases.cert_manager import read_aliases
from issuer_job.demand.askers import list_askers, wanting
from issuer_job.demand.common import ALIASES, NoticeReason, annotations_of
from issuer_job.demand.ingress import aliased, from_list, named_secrets, opts_in, wants
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import SourceKind
from tests.fakes.api import FakeApi
from tests.worlds.samples import record, source

CM = "cert-manager.io/"
CA = "https://ca.certjob.dev/directory"
ISSUERS = Issuers({"le": Issuer(server=CA), "inside": Issuer(server=CA)}, {}, default="le")
LE = {f"{CM}cluster-issuer": "le"}
HOST = "a.certjob.dev"


def ingress(notes: dict[str, str], *, tls: bool = True) -> Json:
    spec: Json = {"rules": [{"host": HOST}], "ingressClassName": "traefik"}
    if tls:
        spec["tls"] = [{"hosts": [HOST], "secretName": "web-tls"}]
    return {"metadata": {"name": "web", "namespace": "shop", "uid": "u", "annotations": notes}, "spec": spec}


@pytest.mark.parametrize(
    ("notes", "understood"),
    [
        (LE, {v.ISSUER: "le"}),
        ({f"{CM}issuer": "le"}, {v.ISSUER: "le"}),
        (LE | {f"{CM}private-key-algorithm": "ECDSA"}, {v.ISSUER: "le", v.KEY_ALGORITHM: "ecdsa-p256"}),
        (
            LE | {f"{CM}private-key-algorithm": "ECDSA", f"{CM}private-key-size": "384"},
            {v.ISSUER: "le", v.KEY_ALGORITHM: "ecdsa-p384"},
        ),
        (LE | {f"{CM}private-key-algorithm": "RSA"}, {v.ISSUER: "le", v.KEY_ALGORITHM: "rsa-2048"}),
        (LE | {f"{CM}private-key-size": "3072"}, {v.ISSUER: "le", v.KEY_ALGORITHM: "rsa-3072"}),
        (
            LE | {f"{CM}private-key-algorithm": "RSA", f"{CM}private-key-size": "4096"},
            {v.ISSUER: "le", v.KEY_ALGORITHM: "rsa-4096"},
        ),
        (LE | {f"{CM}renew-before": "360h"}, {v.ISSUER: "le", v.RENEW_BEFORE: "360h"}),
        ({v.TLS_ACME: "true", f"{CM}renew-before": "360h"}, {v.RENEW_BEFORE: "360h"}),
        (LE | {f"{CM}issuer-kind": "ClusterIssuer", f"{CM}issuer-group": "cert-manager.io"}, {v.ISSUER: "le"}),
        (LE | {f"{CM}alt-names": "", f"acme.{CM}http01-edit-in-place": "false"}, {v.ISSUER: "le"}),
    ],
)
def test_what_is_understood(notes: dict[str, str], understood: dict[str, str]) -> None:
    found = read_aliases(notes)
    assert found is not None
    assert found.annotations == understood
    assert found.refused == ()


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {f"{CM}private-key-algorithm": "ECDSA"},  # it names no issuer, and asks for nothing
        LE | {v.ISSUER: "own"},  # it has turned to certjob's own
        {v.TLS_ACME: "true"},
        {f"{CM}cluster-issuer": ""},
    ],
)
def test_what_counts_for_nothing(notes: dict[str, str]) -> None:
    assert read_aliases(notes) is None


@pytest.mark.parametrize(
    "notes",
    [
        {f"{CM}common-name": HOST},
        {f"{CM}revision-history-limit": "1"},
        {f"{CM}private-key-rotation-policy": "Always"},
        {f"{CM}private-key-encoding": "PKCS8"},
        {f"acme.{CM}http01-ingress-class": "traefik"},
        {f"{CM}issue-temporary-certificate": "true"},
    ],
)
def test_what_does_no_harm_is_ignored_with_one_warning(notes: dict[str, str]) -> None:
    found = wants(aliased(ingress(LE | notes)), issuers=ISSUERS)
    assert [entry.secret_name for entry in found.entries] == ["web-tls"]
    (notice,) = found.notices
    assert notice.reason is NoticeReason.IGNORED
    assert all(name in notice.message for name in notes)
    assert found.amiss == ()


@pytest.mark.parametrize(
    "notes",
    [
        {f"{CM}duration": "2160h"},
        {f"{CM}alt-names": "b.certjob.dev"},
        {f"{CM}ip-sans": "192.0.2.1"},
        {f"{CM}uri-sans": "spiffe://a"},
        {f"{CM}email-sans": "a@certjob.dev"},
        {f"{CM}subject-organizations": "Company"},
        {f"{CM}subject-serialnumber": "7"},
        {f"{CM}usages": "client auth"},
        {f"{CM}secret-template": '{"labels": {"a": "b"}}'},
        {f"{CM}issuer-kind": "AWSPCAClusterIssuer"},
        {f"{CM}issuer-group": "awspca.cert-manager.io"},
        {f"{CM}private-key-rotation-policy": "Never"},
        {f"{CM}private-key-algorithm": "ECDSA", f"{CM}private-key-size": "521"},
        {f"{CM}private-key-algorithm": "Ed25519"},
        {f"{CM}private-key-size": "8192"},
        {f"{CM}private-key-encoding": "PKCS1"},
        {f"acme.{CM}http01-edit-in-place": "true"},
        {f"acme.{CM}http01-ingress-class": "nginx"},
        {f"acme.{CM}http01-ingress-ingressclassname": "nginx"},
        {f"{CM}renew-before-percentage": "30"},
        {f"{CM}common-name": "Company"},
        {f"{CM}common-name": "b.certjob.dev"},
        {f"{CM}issuer": "le"},  # besides the other one
    ],
    ids=lambda notes: ",".join(f"{key.rpartition('/')[2]}={value}" for key, value in notes.items()),
)
def test_what_would_be_another_certificate_is_refused_and_nothing_is_ordered(notes: dict[str, str]) -> None:
    found = wants(aliased(ingress(LE | notes)), issuers=ISSUERS)
    assert found.opted_in
    assert found.entries == ()
    assert [notice.reason for notice in found.notices] == [NoticeReason.BAD_ANNOTATION]
    assert any(name in found.notices[0].message for name in notes)
    assert named_secrets(aliased(ingress(LE | notes))) == {"web-tls"}  # what is there is not given up


@pytest.mark.parametrize("algorithm", ["RSA", "ECDSA", ""])
@pytest.mark.parametrize("size", ["2048", "3072", "4096", "256", "384", "521", "8192", "x", ""])
def test_every_key_is_one_of_certjobs_or_none(algorithm: str, size: str) -> None:
    found = read_aliases(LE | {f"{CM}private-key-algorithm": algorithm, f"{CM}private-key-size": size})
    assert found is not None
    assert bool(found.refused) is not (found.annotations.get(v.KEY_ALGORITHM) in set(KeyAlgorithm))


def test_an_ingress_is_opted_in_by_them_and_out_as_ever() -> None:
    asking = aliased(ingress(LE))
    assert opts_in(asking)
    assert not opts_in(ingress(LE))
    assert not opts_in(aliased(ingress(LE | {v.TLS_ACME: "false"})))
    (entry,) = wants(asking, issuers=ISSUERS).entries
    assert (entry.secret_name, entry.hosts, entry.source.settings.issuer) == ("web-tls", (HOST,), "le")


def test_certjobs_own_annotation_goes_before_what_theirs_stands_for() -> None:
    asking = aliased(ingress(LE | {f"{CM}renew-before": "360h", v.RENEW_BEFORE: "10h"}))
    assert annotations_of(asking)[v.RENEW_BEFORE] == "10h"


def test_an_issuer_that_is_not_there_is_named() -> None:
    found = wants(aliased(ingress({f"{CM}issuer": "elsewhere"})), issuers=ISSUERS)
    assert [notice.reason for notice in found.notices] == [NoticeReason.UNKNOWN_ISSUER]


def test_what_is_added_to_spec_tls_takes_no_annotation_along() -> None:
    body = ingress(LE, tls=False)
    completed = wants(aliased(body), issuers=ISSUERS).completed
    assert completed is not None
    assert ALIASES not in completed
    assert set(completed["metadata"]["annotations"]) == {*LE, v.TLS_ENTRY}


def test_askers_have_them_read_only_where_that_is_on() -> None:
    api = FakeApi()
    cluster = Cluster(api)
    api.add(INGRESSES, "shop", ingress(LE))
    (off,), (on,) = list(list_askers(cluster)), list(list_askers(cluster, aliases=True))
    assert not opts_in(off.object)
    assert opts_in(on.object)
    known = record(sources=(source("web", hosts=(HOST,), kind=SourceKind.INGRESS),))
    assert wanting(cluster, known, ISSUERS) is not None  # the record has seen that its namespace opts in for it
    on_the_record = wanting(cluster, known, replace(ISSUERS, aliases=True, default="inside"))
    assert on_the_record is not None
    assert on_the_record.source.settings.issuer == "le"


def test_an_ingress_without_any_is_not_touched() -> None:
    plain = from_list(b'{"metadata": {"name": "web", "namespace": "shop"}, "spec": {}}')
    assert aliased(plain) is plain
