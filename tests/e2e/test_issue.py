"""The main job: an Ingress is applied, and its certificate is issued and served."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, SECRETS
from issuer_job.record.record import Phase
from tests.e2e import world
from tests.e2e.api import NewNamespace, wait_for
from tests.e2e.observe import added_secret, cluster, served
from tests.e2e.sweeps import sweeps_suspended


def test_ingress_without_tls_gets_an_entry_a_placeholder_and_a_trusted_certificate(namespace: str) -> None:
    host = f"plain.{namespace}.test"
    name = added_secret(host)
    world.create(namespace, world.manifest("plain", [host], bare=True, tls_acme="true"))
    assert world.live(namespace, "plain")["spec"]["tls"] == [{"hosts": [host], "secretName": name}]
    assert world.leaf(namespace, name) is not None, "the placeholder is there when the request returns"

    record = world.wait_issued(namespace, name, [host])
    world.wait_served(host)
    secret = cluster().get(SECRETS, namespace, name)
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["metadata"]["labels"] | {v.MANAGED: "true", v.STATE: "issued"} == secret["metadata"]["labels"]
    assert secret["metadata"]["annotations"][v.HOSTS] == host
    event = world.wait_event(namespace, "plain", "CertificateIssued")
    assert event.startswith("Normal")
    assert host in event
    assert "issuer pebble" in event
    assert record.issued is not None
    assert f"{record.issued.not_after:%Y-%m-%d}" in event


def test_nothing_is_left_of_a_finished_order(namespace: str) -> None:
    host = f"clean.{namespace}.test"
    world.create(namespace, world.manifest("clean", [host], tls_acme="true"))
    record = world.wait_issued(namespace, "clean-tls", [host])
    route = names.route("field:traefik", host)
    wait_for(lambda: cluster().find(INGRESSES, v.NAMESPACE, route) is None, what="the challenge route is gone")
    challenge = names.challenge(record.uid, record.epoch)
    wait_for(lambda: cluster().find(CONFIGMAPS, v.NAMESPACE, challenge) is None, what="the challenge is gone")
    pending = names.pending_key(record.uid, record.epoch)
    wait_for(lambda: cluster().find(SECRETS, v.NAMESPACE, pending) is None, what="the pending key is gone")


def test_ingress_with_tls_is_left_as_it_is(namespace: str) -> None:
    host = f"own.{namespace}.test"
    tls = [{"hosts": [host], "secretName": "my-own-name"}]
    stored = world.create(namespace, world.manifest("own", [host], tls=tls, tls_acme="true"))
    assert stored["spec"]["tls"] == tls
    assert v.TLS_ENTRY not in stored["metadata"]["annotations"]
    world.wait_issued(namespace, "my-own-name", [host])


def test_two_tls_entries_with_three_hosts_become_two_secrets(namespace: str) -> None:
    one, two, three = (f"{label}.{namespace}.test" for label in ("mysite", "www.mysite", "echo"))
    tls = [{"hosts": [one, two], "secretName": "mysite-tls"}, {"hosts": [three], "secretName": "echo-tls"}]
    world.create(namespace, world.manifest("shop", [one, two, three], tls=tls, tls_acme="true"))
    world.wait_issued(namespace, "mysite-tls", [one, two])
    world.wait_issued(namespace, "echo-tls", [three])
    for host in (one, two, three):
        world.wait_served(host)


def test_annotation_added_later(namespace: str) -> None:
    host = f"later.{namespace}.test"
    world.apply(namespace, world.manifest("later", [host]))
    assert "tls" not in world.live(namespace, "later")["spec"]
    world.apply(namespace, world.manifest("later", [host], bare=True, tls_acme="true"))
    world.wait_issued(namespace, added_secret(host), [host])


def test_host_added_later_is_ordered_anew_and_the_old_certificate_serves_meanwhile(namespace: str) -> None:
    one, two = f"one.{namespace}.test", f"two.{namespace}.test"
    world.apply(namespace, world.manifest("grow", [one], tls_acme="true"))
    first = world.wait_issued(namespace, "grow-tls", [one])
    world.apply(namespace, world.manifest("grow", [one, two], tls_acme="true"))
    assert not world.holds_placeholder(namespace, "grow-tls")
    wait_for(lambda: world.dns_names(world.leaf(namespace, "grow-tls")) == {one, two}, what="both hosts", seconds=120)
    second = world.wait_issued(namespace, "grow-tls", [one, two])
    assert second.epoch > first.epoch


def test_namespace_label_opts_in_and_false_opts_out(new_namespace: NewNamespace) -> None:
    namespace = new_namespace(**{v.NAMESPACE_ENABLED: "true"})
    host, other = f"in.{namespace}.test", f"out.{namespace}.test"
    world.create(namespace, world.manifest("in", [host]))
    stored = world.create(namespace, world.manifest("out", [other], tls_acme="false"))
    assert "tls" not in stored["spec"]
    world.wait_issued(namespace, added_secret(host), [host])
    assert world.record(namespace, added_secret(other)) is None


def test_generate_name(namespace: str) -> None:
    host = f"generated.{namespace}.test"
    ingress = world.manifest("", [host], bare=True, tls_acme="true")
    ingress["metadata"] = {"generateName": "gen-", "annotations": ingress["metadata"]["annotations"]}
    with sweeps_suspended():
        stored = world.create(namespace, ingress)
        name, secret = stored["metadata"]["name"], stored["spec"]["tls"][0]["secretName"]
        record = world.wait_issued(namespace, secret, [host])
        assert [source.name for source in record.sources] == [name]
        world.wait_noticed(namespace, name)
        again = cluster().update(INGRESSES, namespace, world.live(namespace, name))
        assert again["spec"]["tls"] == stored["spec"]["tls"]
        assert world.record(namespace, secret) == record


def test_key_algorithm_annotation(namespace: str) -> None:
    host, plain = f"rsa.{namespace}.test", f"ec.{namespace}.test"
    world.create(namespace, world.manifest("rsa", [host], tls_acme="true", key_algorithm="rsa-2048"))
    world.create(namespace, world.manifest("ec", [plain], tls_acme="true"))
    world.wait_issued(namespace, "rsa-tls", [host])
    world.wait_issued(namespace, "ec-tls", [plain])
    rsa_leaf, ec_leaf = world.leaf(namespace, "rsa-tls"), world.leaf(namespace, "ec-tls")
    assert rsa_leaf is not None
    assert ec_leaf is not None
    assert isinstance(rsa_leaf.public_key(), rsa.RSAPublicKey)
    assert isinstance(ec_leaf.public_key(), ec.EllipticCurvePublicKey)


def test_two_ingresses_on_one_secret_get_the_union(namespace: str) -> None:
    one, two = f"first.{namespace}.test", f"second.{namespace}.test"
    for name, host in (("first", one), ("second", two)):
        tls = [{"hosts": [host], "secretName": "shared-tls"}]
        world.create(namespace, world.manifest(name, [host], tls=tls, tls_acme="true"))
    wait_for(
        lambda: (
            world.phase(namespace, "shared-tls") == Phase.ISSUED
            and world.dns_names(world.leaf(namespace, "shared-tls")) == {one, two}
        ),
        what="a certificate for both",
        seconds=120,
    )


def test_thirty_ingresses_at_once(namespace: str) -> None:
    hosts = [f"many{number}.{namespace}.test" for number in range(30)]
    with ThreadPoolExecutor(6) as pool:
        list(
            pool.map(
                lambda pair: world.create(namespace, world.manifest(f"many{pair[0]}", [pair[1]], tls_acme="true")),
                enumerate(hosts),
            )
        )
    for number, host in enumerate(hosts):
        world.wait_issued(namespace, f"many{number}-tls", [host], seconds=420)  # or by the sweep
    assert len(list(cluster().items(JOBS, v.NAMESPACE, labels=f"{v.RECORD_NAMESPACE}={namespace}"))) == 30
    created = [line for line in world.job_logs(namespace) if line["event"] == "order-created"]
    assert len(created) == 30


def test_placeholder_is_served_before_issuance(namespace: str) -> None:
    host = f"waits.{namespace}.test"
    world.break_dns(host)  # so that the order cannot complete for now
    world.create(namespace, world.manifest("waits", [host], tls_acme="true"))

    def placeholder_served() -> bool:
        answer = served(host)
        return answer is not None and not answer.trusted and world.dns_names(answer.leaf) == {host}

    wait_for(placeholder_served, what="the placeholder is served")
    assert world.holds_placeholder(namespace, "waits-tls")
    world.mend_dns(host)
