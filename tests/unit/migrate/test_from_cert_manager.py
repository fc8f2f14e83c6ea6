"""Certificates of cert-manager's moved to certjob, in a cluster in memory with both: no order by either."""

from __future__ import annotations

from typing import Any

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json
from issuer_job.issuers.load import parse_issuer
from issuer_job.migrate.carry.apply import Stopped
from issuer_job.migrate.others.cert_manager import CERTIFICATES
from issuer_job.migrate.plans.steps import DEPLOYMENTS, MovePlan
from issuer_job.record.record import Phase
from tests.fakes.certs_ca import FakeCA
from tests.worlds.cert_manager import CM
from tests.worlds.crash import Killed
from tests.worlds.job import JobWorld
from tests.worlds.moving import DAY, LE, Moving
from tests.worlds.sweep import orders, run

CA = "https://ca.certjob.dev/dir"
STRANGER = FakeCA.root("Somebody's CA")


@pytest.fixture
def moving(swept: JobWorld) -> Moving:
    world = Moving(swept)
    world.cluster_issuer()
    return world


def rows(plan: MovePlan) -> dict[str, str]:
    return {row.secret_name: row.will_be for row in plan.rows}


def why(plan: MovePlan) -> str:
    (row,) = plan.rows
    return row.why


def everything(moving: Moving) -> MovePlan:
    """Of each kind of move one."""
    moving.certificate("shop")
    moving.certificate("pay", hosts=("pay.certjob.dev",), owned=True, renewBefore="240h0m0s")
    moving.certificate("mail", namespace="mail", hosts=("mail.certjob.dev", "imap.certjob.dev"), by_ingress=False)
    moving.certificate("rsa", hosts=("rsa.certjob.dev",), privateKey={"algorithm": "RSA"})
    return moving.plan()


def final(moving: Moving) -> Json:
    """All that a move is about, without what differs each time."""
    api = moving.swept.api
    secrets = [each for each in api.all(SECRETS) if each["metadata"]["namespace"] in {"shop", "mail"}]
    return {
        "certificates": [each["metadata"]["name"] for each in api.all(CERTIFICATES)],
        "secrets": {each["metadata"]["name"]: _marks(each) for each in secrets},
        "ingresses": {
            each["metadata"]["name"]: each["metadata"].get("annotations", {})
            for each in api.all(INGRESSES)
            if each["metadata"]["namespace"] != v.NAMESPACE
        },
        "records": {
            one.secret_name: (one.phase, one.issued is not None and one.issued.vouched) for one in moving.records()
        },
        "replicas": api.stored(DEPLOYMENTS, "cert-manager", "cert-manager")["spec"]["replicas"],  # type: ignore[index]
    }


def _marks(secret: Json) -> Json:
    metadata = secret["metadata"]
    notes = {name: text for name, text in metadata.get("annotations", {}).items() if name != v.NOT_AFTER}
    labels = {name: text for name, text in metadata.get("labels", {}).items() if name != v.STATE}
    return {"labels": labels, "annotations": notes, "owners": metadata.get("ownerReferences", [])}


MOVED = {
    "certificates": [],
    "secrets": {
        "shop-tls": {"labels": {"app": "shop", v.MANAGED: "true"}, "annotations": {"team": "shop"}, "owners": []},
        "pay-tls": {"labels": {"app": "pay", v.MANAGED: "true"}, "annotations": {"team": "shop"}, "owners": []},
        "rsa-tls": {"labels": {"app": "rsa", v.MANAGED: "true"}, "annotations": {"team": "shop"}, "owners": []},
        "mail-tls": {
            "labels": {"app": "mail", v.REQUEST: "true", v.MANAGED: "true"},
            "annotations": {"team": "shop", v.HOSTS: "mail.certjob.dev,imap.certjob.dev", v.ISSUER: "le-prod"},
            "owners": [],
        },
    },
    "ingresses": {
        "shop": {"team": "shop", v.ISSUER: "le-prod"},
        "pay": {"team": "shop", v.ISSUER: "le-prod", v.RENEW_BEFORE: "10d"},
        "rsa": {"team": "shop", v.ISSUER: "le-prod", v.KEY_ALGORITHM: "rsa-2048"},
    },
    "records": dict.fromkeys(("mail-tls", "pay-tls", "rsa-tls", "shop-tls"), (Phase.ISSUED, True)),
    "replicas": 0,
}


def test_everything_at_once(moving: Moving) -> None:
    plan = everything(moving)
    assert rows(plan) == dict.fromkeys(("shop-tls", "pay-tls", "mail-tls", "rsa-tls"), "adopted")
    before = moving.served()
    moving.carry_out(plan)
    assert final(moving) == MOVED
    assert (orders(moving.swept), moving.cm.orders, moving.masters()) == (0, [], [])
    assert {key: chain for key, chain in moving.served().items() if key in before} == before


@pytest.mark.exhaustive
def test_a_second_run_changes_nothing(moving: Moving) -> None:
    moving.carry_out(everything(moving))
    again = moving.plan()
    assert (again.rows, again.steps) == ((), ())


def test_what_has_come_may_go_back(moving: Moving) -> None:
    """Nothing on the Secret says that certjob has issued it: it has not."""
    moving.certificate()
    moving.carry_out(moving.plan())
    moving.cm.install()
    plan = moving.plan_back()
    assert rows(plan) == {"shop-tls": "adopted"}
    moving.carry_out(plan)
    assert (orders(moving.swept), moving.cm.orders, moving.masters(), moving.records()) == (0, [], [], [])
    assert moving.swept.secret("shop-tls")["metadata"]["annotations"][f"{CM}issuer-name"] == "le-prod"


@pytest.mark.exhaustive
def test_certjob_renews_it_when_it_is_due(moving: Moving) -> None:
    moving.certificate()
    moving.carry_out(moving.plan(new_accounts=True))
    moving.swept.clock.ahead += 60 * DAY
    run(moving.swept)
    moving.goes_on()
    assert orders(moving.swept) == 1


@pytest.mark.exhaustive
def test_what_stays_has_cert_manager_started_again(moving: Moving) -> None:
    everything(moving)
    moving.issuer({"vault": {"path": "pki"}}, "vault", namespace="shop")
    moving.certificate("stays", hosts=("stays.certjob.dev",), issuerRef={"name": "vault", "kind": "Issuer"})
    plan = moving.plan()
    assert rows(plan)["stays-tls"] == "cannot"
    moving.carry_out(plan)
    found = final(moving)
    assert (found["certificates"], found["replicas"]) == (["stays-tls"], 1)
    assert found["ingresses"]["stays"][f"{CM}issuer"] == "vault"
    deployment = moving.swept.api.stored(DEPLOYMENTS, "cert-manager", "cert-manager")
    assert deployment is not None
    assert not deployment["metadata"].get("annotations")
    assert moving.plan().steps == ()
    assert (orders(moving.swept), moving.cm.orders, moving.masters()) == (0, [], [])


def test_one_namespace_while_cert_manager_runs_on(moving: Moving) -> None:
    moving.certificate("shop")
    moving.certificate("api", hosts=("api.certjob.dev",), by_ingress=False)
    moving.certificate("mail", namespace="mail", hosts=("mail.certjob.dev",))
    moving.watch = lambda: _never_two(moving)
    plan = moving.plan(namespace="shop")
    assert rows(plan) == {"api-tls": "adopted", "shop-tls": "adopted"}
    moving.carry_out(plan)
    found = final(moving)
    assert (found["certificates"], found["replicas"]) == (["mail-tls"], 1)
    assert found["ingresses"]["shop"] == {"team": "shop", v.ISSUER: "le-prod"}
    assert found["secrets"]["api-tls"]["annotations"] == {
        "team": "shop",
        v.HOSTS: "api.certjob.dev",
        v.ISSUER: "le-prod",
    }
    assert (orders(moving.swept), moving.cm.orders) == (0, [])
    assert moving.plan(namespace="shop").steps == ()


def _never_two(moving: Moving) -> None:
    assert moving.masters() == []


def test_a_namespace_alone_is_refused_where_certificates_take_their_secrets_along(moving: Moving) -> None:
    moving.cm.install("--enable-certificate-owner-ref=true")
    moving.certificate(owned=True)
    plan = moving.plan(namespace="shop")
    assert plan.steps == ()
    assert "--enable-certificate-owner-ref" in plan.refused
    assert moving.plan().steps


@pytest.mark.exhaustive
def test_ownership_of_earlier_times_is_taken_off_before_cert_manager_notices_anything(moving: Moving) -> None:
    moving.certificate(owned=True)
    moving.watch = lambda: _owned_while_asked_for(moving)
    moving.carry_out(moving.plan(namespace="shop"))
    assert final(moving)["secrets"]["shop-tls"]["owners"] == []
    assert (orders(moving.swept), moving.cm.orders) == (0, [])


def _owned_while_asked_for(moving: Moving) -> None:
    stored, secret = moving.swept.api.stored(INGRESSES, "shop", "shop"), moving.swept.secret("shop-tls")
    assert stored is not None
    assert f"{CM}cluster-issuer" in stored["metadata"]["annotations"] or not secret["metadata"]["ownerReferences"]


def test_one_that_somebody_else_deletes_stays(moving: Moving) -> None:
    moving.certificate()
    moving.lingers(moving.swept.api.all(CERTIFICATES)[0])
    for choices in ({}, {"namespace": "shop"}):
        plan = moving.plan(**choices)
        assert (rows(plan), why(plan)) == ({"shop-tls": "cannot"}, "its Certificate is being deleted")
        assert plan.steps == ()


@pytest.mark.exhaustive
def test_cert_manager_is_not_started_again_for_one_that_a_move_has_deleted(moving: Moving) -> None:
    moving.certificate()
    moving.lingering = True
    with pytest.raises(Killed):
        moving.carry_out(moving.plan(), kill_at=len(list(moving.plan().writes)))
    plan = moving.plan()
    assert (rows(plan), why(plan)) == ({"shop-tls": "adopted"}, "was interrupted: goes on")
    assert [(step.title, step.writes, step.about) for step in plan.steps] == [
        ("delete the Certificates, and leave their Secrets", (), (("shop", "shop-tls"),))
    ]
    moving.carry_out(plan)
    assert (final(moving)["replicas"], moving.plan().rows) == (0, ())


@pytest.mark.exhaustive
def test_what_asked_as_kube_lego_had_it_asks_certjob_alone(moving: Moving) -> None:
    """cert-manager's default issuer would come back to it."""
    moving.cm.install("--default-issuer-name=le-prod", "--default-issuer-kind=ClusterIssuer")
    moving.cm.default = LE
    moving.certificate(notes={v.TLS_ACME: "true"})
    moving.carry_out(moving.plan())
    assert final(moving)["ingresses"]["shop"] == {"team": "shop", v.ISSUER: "le-prod"}


@pytest.mark.exhaustive
def test_without_a_default_issuer_that_annotation_stays(moving: Moving) -> None:
    notes = {v.TLS_ACME: "true", f"{CM}cluster-issuer": "le-prod", f"{CM}private-key-algorithm": "ECDSA"}
    moving.certificate(notes=notes)
    for choices in ({}, {"namespace": "shop"}):
        moving.carry_out(moving.plan(**choices))
        assert final(moving)["ingresses"]["shop"] == {"team": "shop", v.TLS_ACME: "true", v.ISSUER: "le-prod"}


@pytest.mark.exhaustive
def test_one_that_opted_out_of_certjob_opts_in(moving: Moving) -> None:
    moving.certificate(notes={f"{CM}cluster-issuer": "le-prod", v.TLS_ACME: "false"})
    moving.carry_out(moving.plan(namespace="shop"))
    assert final(moving)["ingresses"]["shop"] == {"team": "shop", v.ISSUER: "le-prod"}
    assert orders(moving.swept) == 0


def test_the_issuer_in_certjobs_words(moving: Moving) -> None:
    moving.cluster_issuer(email="ops@certjob.dev", profile="tlsserver", preferredChain="ISRG Root X1")
    moving.certificate()
    (made,) = moving.plan().issuers
    issuer = parse_issuer(made.config_map)
    assert (issuer.server, issuer.email, issuer.profile) == (moving.swept.server, "ops@certjob.dev", "tlsserver")
    assert (issuer.preferred_chain, issuer.key_algorithm) == ("ISRG Root X1", "ecdsa-p256")
    assert issuer.ca_bundle.count("BEGIN CERTIFICATE") == 2
    assert issuer.own_class == "traefik"
    (key,) = made.credentials
    assert (key.key, key.namespace, key.secret, key.source_key) == (
        "tls.key",
        "cert-manager",
        "le-prod-account",
        "tls.key",
    )


def test_an_issuer_that_certjob_has_is_taken_if_it_is_of_the_same_ca(moving: Moving) -> None:
    moving.certificate()
    moving.swept.set_issuer("le-prod", default=False)
    plan = moving.plan()
    assert [issuer.exists for issuer in plan.issuers] == [True]
    assert not [write for write in plan.writes if write.resource == CONFIGMAPS]
    moving.swept.set_issuer("le-prod", default=False, server="https://ca.certjob.dev/other")
    (made,) = moving.plan().issuers
    assert (made.name, made.exists) == ("cm-le-prod", False)


@pytest.mark.exhaustive
def test_an_issuer_may_be_chosen(moving: Moving) -> None:
    moving.certificate()
    plan = moving.plan(issuers={"le-prod": "test-ca"})
    moving.carry_out(plan)
    assert final(moving)["ingresses"]["shop"][v.ISSUER] == "test-ca"
    assert orders(moving.swept) == 0


@pytest.mark.exhaustive
def test_issuers_of_namespaces_have_names_of_their_own(moving: Moving) -> None:
    for namespace in ("shop", "mail"):
        moving.cluster_issuer("le", namespace=namespace)
        ref = {"name": "le", "kind": "Issuer"}
        moving.certificate(namespace, namespace=namespace, hosts=(f"{namespace}.certjob.dev",), issuerRef=ref)
    plan = moving.plan()
    made = {each.name: parse_issuer(each.config_map).allowed_namespaces for each in plan.issuers}
    assert made == {"shop-le": ("shop",), "mail-le": ("mail",)}
    assert {each.credentials[0].namespace for each in plan.issuers} == {"shop", "mail"}
    moving.carry_out(plan)
    assert final(moving)["ingresses"]["mail"][v.ISSUER] == "mail-le"


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"isCA": True}, "it is a CA"),
        ({"ipAddresses": ["192.0.2.1"]}, "other than hosts"),
        ({"uris": ["spiffe://x"]}, "other than hosts"),
        ({"emailAddresses": ["a@b.dev"]}, "other than hosts"),
        ({"subject": {"organizations": ["Company"]}}, "a subject"),
        ({"literalSubject": "CN=x"}, "a subject"),
        ({"commonName": "Company"}, "commonName is no host"),
        ({"usages": ["client auth"]}, "client auth"),
        ({"keystores": {"jks": {"create": True}}}, "password"),
        ({"additionalOutputFormats": [{"type": "DER"}]}, "DER"),
        ({"privateKey": {"algorithm": "ECDSA", "rotationPolicy": "Never"}}, "rotationPolicy Never"),
        ({"privateKey": {"algorithm": "ECDSA", "encoding": "PKCS1"}}, "PKCS1"),
        ({"privateKey": {"algorithm": "ECDSA", "size": 521}}, "ECDSA 521"),
        ({"privateKey": {"algorithm": "Ed25519"}}, "Ed25519"),
        ({"renewal": {"policy": "Disabled"}}, "not to be renewed"),
        ({"issuerRef": {"name": "x", "kind": "AWSPCAIssuer", "group": "awspca.cert-manager.io"}}, "external issuer"),
        ({"issuerRef": {"name": "gone", "kind": "ClusterIssuer"}}, "there is no ClusterIssuer gone"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_what_certjob_has_no_words_for_stays(moving: Moving, given: Json, said: str) -> None:
    moving.certificate(**given)
    plan = moving.plan()
    assert rows(plan) == {"shop-tls": "cannot"}
    assert said in why(plan)
    assert plan.steps == ()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"vault": {"path": "pki"}}, "Vault issuer: stays with cert-manager"),
        ({"venafi": {"zone": "x"}}, "Venafi issuer"),
        ({}, "unknown kind"),
        ({"acme": {"server": "http://ca.certjob.dev/dir"}}, "https"),
        ({"acme": {"server": CA, "skipTLSVerify": True}}, "skipTLSVerify"),
        ({"acme": {"server": CA, "caBundle": "!!!"}}, "caBundle"),
        (
            {
                "acme": {
                    "server": CA,
                    "solvers": [{"http01": {"gatewayHTTPRoute": {"a": 1}}}],
                }
            },
            "Gateway",
        ),
        (
            {
                "acme": {
                    "server": CA,
                    "solvers": [{"dns01": {"webhook": {"groupName": "acme.x", "solverName": "hetzner"}}}],
                }
            },
            "the DNS webhook hetzner",
        ),
        (
            {
                "acme": {
                    "server": CA,
                    "solvers": [{"selector": {"matchLabels": {"a": "b"}}, "http01": {"ingress": {}}}],
                }
            },
            "chosen by labels",
        ),
        ({"ca": {"secretName": "ca", "crlDistributionPoints": ["http://x"]}}, "revocations"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_issuers_that_certjob_has_no_words_for_stay(moving: Moving, spec: Json, said: str) -> None:
    moving.issuer(spec)
    moving.certificate()
    plan = moving.plan()
    assert rows(plan) == {"shop-tls": "cannot"}
    assert said in why(plan)


def test_a_solver_without_words_keeps_its_hosts_alone(moving: Moving) -> None:
    webhook = {"webhook": {"groupName": "acme.x", "solverName": "hetzner"}}
    moving.cluster_issuer(
        solvers=[
            {"http01": {"ingress": {}}},
            {"selector": {"dnsZones": ["internal.certjob.dev"]}, "dns01": webhook},
        ]
    )
    moving.certificate("shop")
    moving.certificate("deep", hosts=("x.internal.certjob.dev",))
    plan = moving.plan()
    assert rows(plan) == {"shop-tls": "adopted", "deep-tls": "cannot"}
    assert "the DNS webhook hetzner" in next(row.why for row in plan.rows if row.secret_name == "deep-tls")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"age": 70 * DAY}, "its renewal is due since"),
        ({"age": 91 * DAY}, "it has ended"),
        ({"signer": STRANGER}, '"Somebody\'s CA", who is no public CA'),
        ({"ready": False}, "not ready"),
        ({"age": 35 * DAY, "renewBefore": "1800h"}, "its renewal is due since"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_what_would_be_ordered_is_said_and_left(moving: Moving, given: dict[str, Any], said: str) -> None:
    moving.certificate(**given)
    plan = moving.plan()
    assert rows(plan) == {"shop-tls": "orders"}
    assert said in why(plan)
    assert plan.steps == ()


@pytest.mark.exhaustive
def test_what_would_be_ordered_goes_along_if_the_operator_says_so(moving: Moving) -> None:
    moving.certificate(signer=STRANGER)
    moving.carry_out(moving.plan(orders=True, new_accounts=True))
    assert final(moving)["certificates"] == []
    assert orders(moving.swept) == 1
    assert moving.cm.orders == []


def test_without_a_handshake_a_private_ca_is_not_believed_and_a_public_one_is(moving: Moving) -> None:
    moving.certificate()
    assert rows(moving.plan(handshakes=False)) == {"shop-tls": "orders"}
    public = {"server": "https://acme-v02.api.letsencrypt.org/directory", "caBundle": ""}
    moving.cluster_issuer(**public)
    assert rows(moving.plan(handshakes=False)) == {"shop-tls": "adopted"}
    moving.cluster_issuer(**public | {"server": "https://acme-staging-v02.api.letsencrypt.org/directory"})
    plan = moving.plan(handshakes=False)
    assert rows(plan) == {"shop-tls": "orders"}
    assert "test environment" in why(plan)


def test_what_is_served_in_its_place_says_nothing(moving: Moving) -> None:
    moving.certificate("other", hosts=("shop.certjob.dev",), age=9 * DAY)
    served = moving.served()[("shop", "other-tls")]
    moving.swept.api.remove(CERTIFICATES, "shop", "other-tls")
    moving.swept.api.remove(INGRESSES, "shop", "other")
    moving.certificate()
    moving.served = lambda: {("shop", "shop-tls"): served}  # type: ignore[method-assign]
    assert rows(moving.plan()) == {"shop-tls": "orders"}


def test_an_ingress_moves_with_all_its_certificates_or_not_at_all(moving: Moving) -> None:
    moving.certificate("shop")
    moving.certificate("other", hosts=("other.certjob.dev",), age=80 * DAY)
    moving.swept.api.remove(INGRESSES, "shop", "other")
    body = moving.swept.api.stored(INGRESSES, "shop", "shop")
    assert body is not None
    body["spec"]["tls"].append({"secretName": "other-tls", "hosts": ["other.certjob.dev"]})
    moving.swept.api.add(INGRESSES, "shop", body)
    plan = moving.plan()
    assert rows(plan) == {"shop-tls": "cannot", "other-tls": "orders"}
    assert "serves other-tls, too" in plan.rows[1].why


def test_a_host_that_another_namespace_names_too_is_for_the_operator_to_decide(moving: Moving) -> None:
    moving.ingress("theirs", namespace="mail", notes={}, creationTimestamp="2026-01-01T00:00:00Z")
    moving.certificate()
    plan = moving.plan()
    assert rows(plan) == {"shop-tls": "cannot"}
    assert "transfer-host" in why(plan)


@pytest.mark.exhaustive
def test_two_masters_are_refused(moving: Moving) -> None:
    moving.certificate()
    moving.carry_out(moving.plan())
    moving.cm.install()
    moving.certificate()  # somebody has it back
    plan = moving.plan()
    assert rows(plan) == {"shop-tls": "cannot"}
    assert "docs/moving.md#two-masters" in why(plan)


def test_a_secret_of_another_type(moving: Moving) -> None:
    moving.certificate()
    stored = moving.swept.api.stored(SECRETS, "shop", "shop-tls")
    assert stored is not None
    moving.swept.api.add(SECRETS, "shop", stored | {"type": "Opaque"})
    plan = moving.plan()
    assert (rows(plan), why(plan)) == ({"shop-tls": "cannot"}, "its Secret is not of type kubernetes.io/tls")


@pytest.mark.exhaustive
def test_who_reads_cert_managers_annotations_keeps_them(moving: Moving) -> None:
    """With the option, an Ingress says all that it has to say."""
    moving.certificate()
    moving.swept.set_options(certManagerAnnotations=True)
    moving.carry_out(moving.plan())
    found = final(moving)
    assert found["ingresses"]["shop"] == {
        "team": "shop",
        f"{CM}cluster-issuer": "le-prod",
        f"{CM}private-key-algorithm": "ECDSA",
    }
    assert found["records"] == {"shop-tls": (Phase.ISSUED, True)}
    assert orders(moving.swept) == 0


@pytest.mark.exhaustive
def test_a_certificate_that_people_wrote_becomes_a_secret_that_asks_and_its_ingress_nothing(
    moving: Moving,
) -> None:
    moving.certificate("shop", hosts=("shop.certjob.dev", "more.certjob.dev"), by_ingress=False)
    moving.ingress("shop")
    moving.carry_out(moving.plan())
    found = final(moving)
    assert found["ingresses"]["shop"] == {"team": "shop"}
    assert found["secrets"]["shop-tls"]["annotations"][v.HOSTS] == "shop.certjob.dev,more.certjob.dev"
    assert orders(moving.swept) == 0


@pytest.mark.exhaustive
def test_a_dry_run_writes_nothing(moving: Moving) -> None:
    plan = everything(moving)
    before = final(moving)
    assert moving.carry_out(plan, writes=False).writes == []
    assert final(moving) == before


@pytest.mark.exhaustive
def test_one_that_is_ordered_after_all_ends_it_before_the_others(moving: Moving) -> None:
    """What the hosts have shown is not what the Secrets hold."""
    for name in ("a", "b", "c"):
        moving.certificate(name, hosts=(f"{name}.certjob.dev",))
    served = moving.served()
    moving.served = lambda: served  # type: ignore[method-assign]
    for name in ("a", "b", "c"):
        moving.certificate(name, hosts=(f"{name}.certjob.dev",), signer=STRANGER)
    with pytest.raises(Stopped, match="shop/a-tls: ordered"):
        moving.carry_out(moving.plan(new_accounts=True))
    assert orders(moving.swept) == 1
    assert {one.secret_name for one in moving.records()} == {"a-tls"}


def to_the_end(moving: Moving, **choices: Any) -> None:
    """Run again until nothing is left."""
    for _ in range(2):
        plan = moving.plan(**choices)
        if not plan.steps:
            return
        moving.carry_out(plan)
    assert not moving.plan(**choices).steps


LATER = pytest.mark.parametrize("at_once", [False, True], ids=["later", "at once"])
"""Whether the next run comes before the garbage collector, and all else, has done anything."""


@pytest.mark.exhaustive
@LATER
@pytest.mark.parametrize("kill_at", range(1, 15))
def test_interrupted_after_each_write_the_next_run_finishes_it(moving: Moving, kill_at: int, at_once: bool) -> None:
    plan = everything(moving)
    moving.lingering = True
    assert len(list(plan.writes)) == 14
    with pytest.raises(Killed):
        moving.carry_out(plan, kill_at=kill_at)
    if not at_once:
        moving.goes_on()
    assert not set(rows(moving.plan()).values()) & {"cannot", "orders"}
    to_the_end(moving)
    assert final(moving) == MOVED
    assert (orders(moving.swept), moving.cm.orders, moving.masters()) == (0, [], [])


@pytest.mark.exhaustive
@LATER
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("kill_at", range(1, 9))
def test_a_move_of_one_namespace_that_is_interrupted_leaves_none_with_two_masters(
    moving: Moving, kill_at: int, twice: bool, at_once: bool
) -> None:
    moving.certificate(
        "shop", notes={f"{CM}cluster-issuer": "le-prod", f"{CM}private-key-algorithm": "ECDSA", **AUTO}
    )
    moving.certificate("api", hosts=("api.certjob.dev",), by_ingress=False)
    moving.certificate("mail", namespace="mail", hosts=("mail.certjob.dev",))
    moving.watch, moving.lingering = lambda: _never_two(moving), True
    plan = moving.plan(namespace="shop")
    assert len(list(plan.writes)) == 8
    with pytest.raises(Killed):
        moving.carry_out(plan, kill_at=kill_at)
    for _ in range(0 if at_once else 2):
        moving.goes_on()
    assert set(rows(moving.plan(namespace="shop")).values()) <= {"adopted"}
    if twice and len(list(moving.plan(namespace="shop").writes)) > 1:
        with pytest.raises(Killed):
            moving.carry_out(moving.plan(namespace="shop"), kill_at=1)
    to_the_end(moving, namespace="shop")
    moving.goes_on()  # after the last write nothing is left to the command: certjob has been asked
    found = final(moving)
    assert (found["certificates"], found["replicas"]) == (["mail-tls"], 1)
    assert found["ingresses"]["shop"] == {"team": "shop", v.ISSUER: "le-prod", **AUTO}
    assert found["records"] == dict.fromkeys(("api-tls", "shop-tls"), (Phase.ISSUED, True))
    assert (orders(moving.swept), moving.cm.orders) == (0, [])


AUTO = {v.TLS_ACME: "true"}
