"""certjob's certificates moved to cert-manager, in a cluster in memory with both: it finds no reason to order."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from certs.chain import describe_chain
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, NAMESPACES, SECRETS, Json
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.solvers import Dns01, Http01, Selector, Solver
from issuer_job.migrate.others.cert_manager import CERTIFICATES, CLUSTER_ISSUERS
from issuer_job.migrate.plans.steps import DEPLOYMENTS, MovePlan
from issuer_job.migrate.translate.back import cluster_issuer
from issuer_job.record.record import Phase
from tests.worlds.cert_manager import CM, reason_to_issue
from tests.worlds.crash import Killed
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress
from tests.worlds.moving import DAY, Moving
from tests.worlds.request import ask, asking
from tests.worlds.sweep import orders, passes, run

MAIL = "mail.certjob.dev"


@pytest.fixture
def moving(swept: JobWorld) -> Moving:
    """With a certificate for an Ingress."""
    world = Moving(swept)
    world.cluster_issuer(ISSUER)
    issued(world)
    return world


def issued(moving: Moving, body: Json | None = None, secret: str = "web-tls", **changes: Any) -> None:
    swept = moving.swept
    body = body or ingress(**changes)
    swept.apply(body, namespace_enabled=v.TLS_ACME not in body["metadata"]["annotations"])
    assert swept.run(secret=secret) is v.ExitCode.DONE


def named(name: str, **notes: str) -> Json:
    return ingress(name, secret=f"{name}-tls", hosts=(f"{name}.certjob.dev",), annotations=notes)


def requested(moving: Moving, **notes: str) -> None:
    ask(moving.swept, asking(MAIL, name="mail-tls", **notes))
    assert moving.swept.run(secret="mail-tls") is v.ExitCode.DONE


def rows(plan: MovePlan) -> dict[str, str]:
    return {row.secret_name: row.will_be for row in plan.rows}


def why(plan: MovePlan) -> str:
    (row,) = plan.rows
    return row.why


def notes_of(moving: Moving, name: str = "web") -> Json:
    stored = moving.swept.api.stored(INGRESSES, "shop", name)
    assert stored is not None
    notes: Json = stored["metadata"]["annotations"]
    return notes


def final(moving: Moving) -> Json:
    api = moving.swept.api
    return {
        "certificates": {each["metadata"]["name"]: each["spec"] for each in api.all(CERTIFICATES)},
        "secrets": {each["metadata"]["name"]: _words(each) for each in api.all(SECRETS, "shop")},
        "ingresses": {
            each["metadata"]["name"]: each["metadata"]["annotations"] for each in api.all(INGRESSES, "shop")
        },
        "records": [one.secret_name for one in moving.records()],
    }


def _words(secret: Json) -> tuple[list[str], list[str]]:
    metadata = secret["metadata"]
    found = (name for name in (*metadata["labels"], *metadata["annotations"]) if not name.startswith(CM))
    return sorted(found), [metadata["annotations"][f"{CM}issuer-{part}"] for part in ("kind", "name")]


SPEC = {"issuerRef": {"name": ISSUER, "kind": "ClusterIssuer", "group": "cert-manager.io"}}
ECDSA = {"privateKey": {"algorithm": "ECDSA", "size": 256}}
MOVED = {
    "certificates": {
        "web-tls": {"secretName": "web-tls", "dnsNames": [HOST], **SPEC, **ECDSA},
        "mail-tls": {"secretName": "mail-tls", "dnsNames": [MAIL], **SPEC, **ECDSA},
    },
    "secrets": {
        "web-tls": (["controller.cert-manager.io/fao"], ["ClusterIssuer", ISSUER]),
        "mail-tls": (["controller.cert-manager.io/fao", "example.org/note", "team"], ["ClusterIssuer", ISSUER]),
    },
    "ingresses": {
        "web": {
            f"{CM}cluster-issuer": ISSUER,
            f"{CM}private-key-algorithm": "ECDSA",
            f"{CM}private-key-size": "256",
        }
    },
    "records": [],
}


def test_an_ingress_and_a_secret_that_asks(moving: Moving) -> None:
    requested(moving)
    moving.watch = lambda: _never_two(moving)
    plan = moving.plan_back()
    assert rows(plan) == {"mail-tls": "adopted", "web-tls": "adopted"}
    before = moving.served()
    moving.carry_out(plan)
    assert final(moving) == MOVED
    assert moving.cm.orders == []
    assert moving.served() == before
    again = moving.plan_back()
    assert (again.rows, again.steps) == ((), ())
    passes(moving.swept, 5)
    moving.cm.sync(now=moving.now)
    assert (final(moving), moving.cm.orders, orders(moving.swept)) == (MOVED, [], 2)


def _never_two(moving: Moving) -> None:
    assert moving.masters() == []


@pytest.mark.exhaustive
def test_nothing_is_revoked_later(moving: Moving) -> None:
    """Nothing of certjob's names the host of a Secret that asked: its right to that lapses."""
    requested(moving)
    moving.carry_out(moving.plan_back())
    moving.watch = lambda: None
    for _ in range(5):
        moving.swept.clock.ahead += DAY / 2
        run(moving.swept)
    assert not [one for one in moving.swept.api.all(CONFIGMAPS, v.NAMESPACE) if "revocation" in str(one["metadata"])]


@pytest.mark.exhaustive
def test_there_and_back_again(moving: Moving) -> None:
    requested(moving)
    moving.carry_out(moving.plan_back())
    for certificate in moving.swept.api.all(CERTIFICATES):
        leaf = describe_chain(moving.swept.secret(certificate["spec"]["secretName"])["data"]["tls.crt"])
        certificate["status"] |= {"notBefore": _iso(leaf.not_before), "notAfter": _iso(leaf.not_after)}
        moving.swept.api.add(CERTIFICATES, "shop", certificate)
    plan = moving.plan(handshakes=False)
    assert rows(plan) == {"mail-tls": "orders", "web-tls": "orders"}  # nobody has seen their CA
    moving.carry_out(moving.plan())
    assert {one.secret_name: one.phase for one in moving.records()} == dict.fromkeys(
        ("mail-tls", "web-tls"), Phase.ISSUED
    )
    assert orders(moving.swept) == 2


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.exhaustive
def test_in_a_namespace_that_is_opted_in_the_ingress_opts_out(moving: Moving) -> None:
    moving.swept.api.add(NAMESPACES, None, {"metadata": {"name": "shop", "labels": {v.NAMESPACE_ENABLED: "true"}}})
    moving.carry_out(moving.plan_back())
    assert notes_of(moving) == MOVED["ingresses"]["web"] | {v.TLS_ACME: "false"}
    passes(moving.swept, 3)
    assert (moving.records(), moving.cm.orders) == ([], [])


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("algorithm", "words"),
    [("rsa-2048", ("RSA", "2048")), ("ecdsa-p384", ("ECDSA", "384")), ("ecdsa-p256", ("ECDSA", "256"))],
)
@pytest.mark.parametrize("handshakes", [True, False])
def test_the_key_is_said(moving: Moving, algorithm: str, words: tuple[str, str], handshakes: bool) -> None:
    issued(
        moving,
        ingress("key", secret="key-tls", hosts=("key.certjob.dev",), annotations={v.KEY_ALGORITHM: algorithm}),
        "key-tls",
    )
    moving.carry_out(moving.plan_back(handshakes=handshakes))
    notes = notes_of(moving, "key")
    assert (notes[f"{CM}private-key-algorithm"], notes[f"{CM}private-key-size"]) == words
    assert moving.cm.orders == []


@pytest.mark.exhaustive
def test_when_to_renew_is_said_as_go_reads_it(moving: Moving) -> None:
    issued(
        moving,
        ingress("old", secret="old-tls", hosts=("old.certjob.dev",), annotations={v.RENEW_BEFORE: "4h30m"}),
        "old-tls",
    )
    requested(moving, renew_before="4h30m")
    moving.carry_out(moving.plan_back())
    assert notes_of(moving, "old")[f"{CM}renew-before"] == "4h"
    assert final(moving)["certificates"]["mail-tls"]["renewBefore"] == "4h"


@pytest.mark.exhaustive
def test_an_entry_that_certjob_has_added_stays_for_cert_manager(moving: Moving) -> None:
    body = ingress("bare", hosts=("bare.certjob.dev",))
    entry = "bare-entry-tls"
    body["spec"]["tls"] = [{"secretName": entry, "hosts": ["bare.certjob.dev"]}]
    issued(moving, body, entry)
    moving.carry_out(moving.plan_back())
    assert entry in final(moving)["certificates"]


@pytest.mark.exhaustive
def test_the_issuer_may_have_another_name_there(moving: Moving) -> None:
    moving.cluster_issuer("le-prod")
    moving.carry_out(moving.plan_back(issuers={"le-prod": ISSUER}))
    assert notes_of(moving)[f"{CM}cluster-issuer"] == "le-prod"
    assert moving.cm.orders == []


@pytest.mark.exhaustive
def test_an_issuer_of_the_namespace(moving: Moving) -> None:
    moving.swept.api.remove(CLUSTER_ISSUERS, None, ISSUER)
    moving.cluster_issuer(ISSUER, namespace="shop")
    moving.carry_out(moving.plan_back())
    assert notes_of(moving)[f"{CM}issuer"] == ISSUER
    assert moving.cm.orders == []


def test_an_issuer_that_is_not_there_is_drafted(moving: Moving) -> None:
    moving.swept.api.remove(CLUSTER_ISSUERS, None, ISSUER)
    plan = moving.plan_back()
    assert rows(plan) == {"web-tls": "cannot"}
    assert "there is no ClusterIssuer test-ca" in why(plan)
    ((folder, draft),) = plan.drafts
    assert (folder, draft["metadata"]["name"]) == ("cluster-issuers", ISSUER)
    assert draft["spec"]["acme"]["server"] == moving.swept.server


def test_a_draft_says_what_it_lacks() -> None:
    zones = Selector(dns_zones=("certjob.dev",))
    solvers = (Solver(http01=Http01(ingress_class="traefik")), Solver(selector=zones, dns01=Dns01(provider="ddns")))
    issuer = Issuer(server="https://ca.certjob.dev/dir", email="a@certjob.dev", profile="x", solvers=solvers)
    body, left = cluster_issuer("le", issuer)
    assert body["spec"]["acme"] == {
        "server": "https://ca.certjob.dev/dir",
        "email": "a@certjob.dev",
        "profile": "x",
        "privateKeySecretRef": {"name": "le-account-key"},
        "solvers": [{"http01": {"ingress": {"ingressClassName": "traefik"}}}],
    }
    assert left == ("its solvers over DNS, with credentials",)
    assert cluster_issuer("own", Issuer(type="selfsigned"))[0]["spec"] == {"selfSigned": {}}


def test_cert_manager_has_to_run(moving: Moving) -> None:
    moving.cm.install(replicas=0)
    assert "does not run" in moving.plan_back().refused
    moving.swept.api.remove(DEPLOYMENTS, "cert-manager", "cert-manager")
    assert "does not run" in moving.plan_back().refused


@pytest.mark.exhaustive
def test_one_that_a_move_had_stopped_is_started(moving: Moving) -> None:
    moving.cm.install(replicas=0)
    stored = moving.swept.api.stored(DEPLOYMENTS, "cert-manager", "cert-manager")
    assert stored is not None
    stored["metadata"]["annotations"] = {v.REPLICAS: "2"}
    moving.swept.api.add(DEPLOYMENTS, "cert-manager", stored)
    moving.carry_out(moving.plan_back())
    assert final(moving)["certificates"].keys() == {"web-tls"}
    assert moving.cm.runs


def _profile(moving: Moving) -> None:
    edit(moving, annotations={v.PROFILE: "shortlived"})


def _formats(moving: Moving) -> None:
    edit(moving, annotations={v.FORMATS: "keystore.p12"})


def _no_hosts(moving: Moving) -> None:
    body = moving.swept.api.stored(INGRESSES, "shop", "web")
    assert body is not None
    del body["spec"]["tls"][0]["hosts"]
    moving.swept.api.add(INGRESSES, "shop", body)


def _shared(moving: Moving) -> None:
    moving.swept.api.add(INGRESSES, "shop", ingress("second"))


def _two_masters(moving: Moving) -> None:
    spec = {"secretName": "web-tls", "dnsNames": [HOST], "issuerRef": {"name": ISSUER}}
    moving.swept.api.add(CERTIFICATES, "shop", {"metadata": {"name": "x", "namespace": "shop"}, "spec": spec})


def _other_names(moving: Moving) -> None:
    body = moving.swept.api.stored(INGRESSES, "shop", "web")
    assert body is not None
    body["spec"]["tls"][0]["hosts"].append("new.certjob.dev")
    moving.swept.api.add(INGRESSES, "shop", body)


def _old(moving: Moving) -> None:
    moving.swept.clock.ahead += 61 * DAY


def edit(moving: Moving, annotations: Json) -> None:
    body = moving.swept.api.stored(INGRESSES, "shop", "web")
    assert body is not None
    body["metadata"]["annotations"] |= annotations
    moving.swept.api.add(INGRESSES, "shop", body)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("change", "will_be", "said"),
    [
        (_profile, "cannot", "certjob.io/profile: cert-manager's issuers say that"),
        (_formats, "cannot", "keystore.p12"),
        (_no_hosts, "cannot", "no hosts"),
        (_shared, "cannot", "2 Ingresses share it"),
        (_two_masters, "cannot", "docs/moving.md#two-masters"),
        (_other_names, "orders", "other names than are asked for: new.certjob.dev"),
        (_old, "orders", "its renewal is due since"),
    ],
)
def test_what_cannot_go_or_would_be_ordered_stays(moving: Moving, change: Any, will_be: str, said: str) -> None:
    change(moving)
    plan = moving.plan_back()
    assert rows(plan) == {"web-tls": will_be}
    assert said in why(plan)
    assert plan.steps == ()


def test_a_placeholder_is_no_certificate(moving: Moving) -> None:
    moving.swept.apply(ingress("new", secret="new-tls", hosts=("new.certjob.dev",)))
    moving.swept.clock.ahead += DAY / 24
    plan = moving.plan_back()
    assert rows(plan)["new-tls"] in {"orders", "cannot"}  # its attempt is under way


def test_who_asks_by_cert_managers_words_turns_that_off_first(moving: Moving) -> None:
    moving.swept.set_options(certManagerAnnotations=True)
    body = ingress("theirs", secret="theirs-tls", hosts=("theirs.certjob.dev",))
    body["metadata"]["annotations"] = {f"{CM}cluster-issuer": ISSUER}
    moving.cm.install(replicas=0)
    moving.swept.api.add(INGRESSES, "shop", body)
    run(moving.swept)
    assert moving.swept.run(secret="theirs-tls") is v.ExitCode.DONE
    moving.cm.install()
    plan = moving.plan_back()
    assert "certManagerAnnotations off first" in next(row.why for row in plan.rows if row.secret_name == "theirs-tls")


@pytest.mark.exhaustive
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("kill_at", range(1, 10))
def test_interrupted_after_each_write_the_next_run_finishes_it(moving: Moving, kill_at: int, twice: bool) -> None:
    requested(moving)
    moving.watch = lambda: _never_two(moving)
    assert len(list(moving.plan_back().writes)) == 9
    with pytest.raises(Killed):
        moving.carry_out(moving.plan_back(), kill_at=kill_at)
    passes(moving.swept, 2)
    if twice and len(list(moving.plan_back().writes)) > 1:
        with pytest.raises(Killed):
            moving.carry_out(moving.plan_back(), kill_at=1)
        passes(moving.swept, 1)
    moving.carry_out(moving.plan_back())
    assert moving.plan_back().steps == ()
    passes(moving.swept, 3)
    assert final(moving) == MOVED
    assert (moving.cm.orders, orders(moving.swept)) == ([], 2)


# The model itself: each rule is one, so that a move which broke it would be seen.


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("notes", "spec", "reason"),
    [
        ({}, {}, "IncorrectIssuer"),  # unsaid, it is an Issuer's
        ({f"{CM}issuer-name": "x", f"{CM}issuer-kind": "ClusterIssuer"}, {}, "IncorrectIssuer"),
        ({f"{CM}certificate-name": "other"}, {"issuerRef": {"name": "x"}}, "IncorrectCertificate"),
        ({}, {"issuerRef": {"name": "x"}}, "SecretMismatch: key"),  # its default is RSA
        ({}, {"issuerRef": {"name": "x"}, **ECDSA, "dnsNames": [HOST, MAIL]}, "SecretMismatch: names"),
        ({}, {"issuerRef": {"name": "x"}, **ECDSA}, "Renewing"),
        ({}, {"issuerRef": {"name": "x"}, **ECDSA}, ""),
    ],
)
def test_the_rules_of_the_model(moving: Moving, notes: Json, spec: Json, reason: str) -> None:
    secret = moving.swept.secret()
    secret["metadata"]["annotations"] = notes
    certificate = {"metadata": {"name": "c"}, "spec": {"secretName": "web-tls", "dnsNames": [HOST], **SPEC, **spec}}
    later = DAY if reason == "Renewing" else 0 * DAY
    assert reason_to_issue(certificate, secret, now=moving.now + later) == reason
