"""The installation for Kubernetes 1.30 to 1.35: certjob-look is left out meanwhile, and comes back afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS, Json
from issuer_job.record.record import Phase, Record
from tests.e2e import world
from tests.e2e.api import Answer, Api, NewNamespace, canary, kubectl, path, wait_for
from tests.e2e.asking import asking, send
from tests.e2e.attacks import OWNER, assert_verdict, create, encoded, look, tls_secret
from tests.e2e.observe import cluster
from tests.e2e.renewals import HOURLY, make_due, put, serial, wait_renewed
from tests.e2e.sweeps import run_sweep, sweep_as_job

Identity = Callable[[str], Api]

INSTALL = Path(__file__).resolve().parents[1] / "cluster/install"


def install(*arguments: str) -> None:
    subprocess.run([INSTALL, *arguments], check=True, timeout=300)


@pytest.fixture(scope="module", autouse=True)
def older_cluster(no_sweeps: None, identity: Identity, admin: Api, new_namespace: NewNamespace) -> Iterator[None]:
    """Whatever happens, the normal installation is back and at work afterwards."""
    probe = new_namespace("e2e-look")
    create(admin, tls_secret(probe, "probe", metadata={"name": "probe", "namespace": probe} | labelled(team="a")))

    def looked() -> Answer:
        return identity("job").call("PUT", path("secrets", probe, "probe"), look(probe, "probe"), dryRun="All")

    def is_shown() -> bool:
        answer = looked()
        return answer.status == 200 and answer.json["metadata"]["annotations"][v.LOOK] == "seen"

    wait_for(is_shown, what="a look is answered with the Secret")
    try:
        install("--before-1.36")
        wait_for(lambda: looked().status == 200 and not is_shown(), what="a look is answered with the question")
        yield
    finally:
        install()
        wait_for(is_shown, what="a look is answered with the Secret again")
        wait_for(lambda: v.CANARY_DENIAL in canary(identity("job")).text, what="the canary is refused")
        assert "CERTJOB_LOOK" not in kubectl("get", "podtemplates,cronjobs", "-n", v.NAMESPACE, "-o", "yaml")


def labelled(**labels: str) -> Json:
    """Metadata of a managed Secret that others have labelled."""
    return {"labels": {v.MANAGED: "true"} | labels}


def mark(namespace: str, secret: str, **fields: object) -> Json:
    """Somebody else writes the Secret's metadata."""
    stored = cluster().get(SECRETS, namespace, secret)
    return cluster().update(SECRETS, namespace, stored | {"metadata": stored["metadata"] | fields})


def live(namespace: str, secret: str) -> Json:
    return cluster().get(SECRETS, namespace, secret)


def known(namespace: str, secret: str) -> Record:
    found = world.record(namespace, secret)
    assert found is not None
    return found


def issue(namespace: str, *names: str) -> dict[str, str]:
    """An Ingress for each name; the serial numbers of their certificates by Secret."""
    hosts = {f"{name}-tls": f"{name}.{namespace}.test" for name in names}
    for name in names:
        world.create(namespace, world.manifest(name, [hosts[f"{name}-tls"]], tls_acme="true"))
    return {secret: serial(world.wait_issued(namespace, secret, [host])) for secret, host in hosts.items()}


def wait_anew(namespace: str, secret: str, before: str) -> None:
    wait_for(
        lambda: serial(known(namespace, secret)) != before,
        what=f"{namespace}/{secret} is issued anew",
        seconds=world.ISSUED_WITHIN,
    )
    name = secret.removesuffix("-tls")
    world.wait_issued(namespace, secret, [f"{name}.{namespace}.test"])


def test_a_certificate_is_issued_and_served(namespace: str) -> None:
    issue(namespace, "first")
    metadata, issued = live(namespace, "first-tls")["metadata"], known(namespace, "first-tls").issued
    assert issued is not None
    assert (issued.secret_uid, issued.secret_version) == (metadata["uid"], metadata["resourceVersion"])
    world.wait_served(f"first.{namespace}.test")
    looks = [line for line in world.job_logs(namespace) if line["event"] == "look"]
    assert [line["verdict"] for line in looks] == ["unknown"]  # the placeholder


def test_what_an_hourly_look_finds(namespace: str, admin: Api) -> None:
    before = issue(namespace, "good", "touched", "deleted", "foreign", "anew")
    put(namespace, "touched-tls", f"touched.{namespace}.test", made=datetime.now(UTC))
    touched = live(namespace, "touched-tls")
    cluster().delete(SECRETS, namespace, "deleted-tls")
    foreign = mark(namespace, "foreign-tls", labels={})
    former = live(namespace, "anew-tls")
    # The webhook does not hear of it: it might be the first to make the Secret again.
    with closing(admin.acting_as("system:serviceaccount:kube-system:generic-garbage-collector")) as collector:
        assert collector.call("DELETE", path("secrets", namespace, "anew-tls")).status == 200
    metadata = {"name": "anew-tls", "labels": former["metadata"]["labels"]}
    cluster().create(SECRETS, namespace, former | {"metadata": metadata})

    assert sweep_as_job(environment=HOURLY).line("swept")
    for secret in ("deleted-tls", "anew-tls"):
        wait_anew(namespace, secret, before[secret])
    for secret in ("good-tls", "touched-tls", "foreign-tls"):
        assert serial(known(namespace, secret)) == before[secret]
        assert known(namespace, secret).phase == "Issued"
    assert live(namespace, "touched-tls") == touched
    assert live(namespace, "foreign-tls") == foreign
    assert "changed by somebody else" in world.wait_event(namespace, "touched", "CertificateHeldBack")
    assert not world.events(namespace, "good", "CertificateHeldBack")


def test_a_due_renewal_overwrites_what_somebody_changed_and_drops_what_others_put_there(namespace: str) -> None:
    before = issue(namespace, "same", "touched")
    put(namespace, "touched-tls", f"touched.{namespace}.test", made=datetime.now(UTC))
    labels = live(namespace, "touched-tls")["metadata"]["labels"]
    mark(namespace, "touched-tls", labels=labels | {"example.org/team": "web"})
    for secret in before:
        make_due(namespace, secret)
    assert sweep_as_job().line("swept")
    for secret, former in before.items():
        wait_anew(namespace, secret, former)
    assert "example.org/team" not in live(namespace, "touched-tls")["metadata"]["labels"]
    assert not world.events(namespace, "touched", "CertificateHeldBack")


def test_a_secret_with_an_owner_is_left_alone_until_it_has_none(namespace: str, admin: Api) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}
    uid = admin.call("POST", path("configmaps", namespace), config_map).json["metadata"]["uid"]
    owners = {"ownerReferences": [OWNER | {"name": "owner", "uid": uid}]}
    metadata = {"name": "owned-tls", "namespace": namespace} | labelled() | owners
    theirs = create(admin, tls_secret(namespace, "owned-tls", metadata=metadata))
    world.create(namespace, world.manifest("owned", [f"owned.{namespace}.test"], tls_acme="true"))
    assert "ownerReferences or finalizers" in world.wait_event(namespace, "owned", "CertificateFailed")
    record = world.wait_phase(namespace, "owned-tls", "Failed")
    assert record.retry is not None
    assert record.retry.problem.type == "ownedSecret"
    assert not [entry for entry in record.history if entry.event == "ordered"]
    assert live(namespace, "owned-tls") == theirs
    mark(namespace, "owned-tls", ownerReferences=[])
    assert sweep_as_job().line("swept")
    world.wait_issued(namespace, "owned-tls", [f"owned.{namespace}.test"])


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"labels": {v.MANAGED: "true"}}, "ok"),
        (
            {"labels": {v.MANAGED: "true", "example.org/team": "web"}, "annotations": {"example.org/note": "theirs"}},
            "ok",
        ),
        ({"labels": {v.MANAGED: "true", "example.org/team": "other"}}, "certjob-foreign-metadata:"),
        ({"labels": {v.MANAGED: "true", "example.org/more": "web"}}, "certjob-foreign-metadata:"),
        ({"labels": {v.MANAGED: "true"}, "annotations": {"example.org/more": "x"}}, "certjob-foreign-metadata:"),
        ({"labels": {v.MANAGED: "true"}, "finalizers": ["example.org/hold"]}, "certjob-meta:"),
        ({"labels": {}}, "certjob-shape:"),
    ],
    ids=[
        "dropped",
        "kept",
        "label changed",
        "label added",
        "annotation added",
        "finalizer added",
        "label managed dropped",
    ],
)
def test_what_certjob_may_write_of_others_metadata(
    identity: Identity, admin: Api, namespace: str, change: Json, verdict: str
) -> None:
    metadata = {"name": "web", "namespace": namespace, "annotations": {"example.org/note": "theirs"}}
    create(admin, tls_secret(namespace, "web", metadata=metadata | labelled(**{"example.org/team": "web"})))
    body = tls_secret(namespace, "web", metadata={"name": "web", "namespace": namespace} | change)
    assert_verdict(identity("job").call("PUT", path("secrets", namespace, "web"), body), verdict)


def test_a_look_tells_uid_and_version_and_nothing_that_is_stored(
    identity: Identity, admin: Api, namespace: str
) -> None:
    data = {"tls.crt": encoded("certificate"), "tls.key": encoded("private key")}
    metadata = {"name": "web", "namespace": namespace, "annotations": {"example.org/note": "theirs"}}
    stored = create(admin, tls_secret(namespace, "web", metadata=metadata | labelled(team="web"), data=data))
    answer = identity("job").call("PUT", path("secrets", namespace, "web"), look(namespace, "web"), dryRun="All")
    assert_verdict(answer, "ok")
    told = answer.json["metadata"]
    assert (told["uid"], told["resourceVersion"]) == (
        stored["metadata"]["uid"],
        stored["metadata"]["resourceVersion"],
    )
    assert not [word for word in (*data.values(), "theirs", "team") if word in answer.text]
    assert live(namespace, "web") == stored


def test_a_look_at_a_secret_that_asks_tells_what_it_says_to_certjob(
    identity: Identity, admin: Api, namespace: str
) -> None:
    host = f"told.{namespace}.test"
    send(namespace, asking(host))
    world.wait_issued(namespace, "db-tls", [host])
    body = look(namespace, "db-tls")
    body["metadata"]["labels"] |= {v.REQUEST: "true"}
    where = path("secrets", namespace, "db-tls")
    answer = identity("job").call("PUT", where, body, dryRun="All")
    assert_verdict(answer, "ok")
    told = answer.json["metadata"]
    assert told["labels"] == {v.REQUEST: "true", v.MANAGED: "true", v.STATE: "issued"}
    assert set(told["annotations"]) == {v.HOSTS, v.NOT_AFTER, v.LOOK}
    assert (told["annotations"][v.HOSTS], told["annotations"][v.LOOK]) == (host, "seen")
    assert live(namespace, "db-tls")["data"]["tls.key"] not in answer.text
    kubectl("label", "secret", "-n", namespace, "db-tls", f"{v.REQUEST}-")
    answer = identity("job").call("PUT", where, body, dryRun="All")
    assert v.REQUEST not in answer.json["metadata"]["labels"]
    assert answer.json["metadata"]["annotations"][v.LOOK] == "seen"


def test_a_secret_that_asks_has_the_last_word(namespace: str) -> None:
    hosts = {name: f"{name}.{namespace}.test" for name in ("kept", "let-go")}
    for name, host in hosts.items():
        send(namespace, asking(host, name=name))
    before = {name: serial(world.wait_issued(namespace, name, [host])) for name, host in hosts.items()}
    with pytest.raises(RuntimeError, match="AlreadyExists"):
        send(namespace, asking(f"evil.{namespace}.test", name="kept"), "create")
    wait_for(lambda: is_kept(namespace, hosts["kept"]), what="what is stored counts", seconds=90)
    assert serial(known(namespace, "kept")) == before["kept"]
    kubectl("label", "secret", "-n", namespace, "let-go", f"{v.REQUEST}-")
    data = live(namespace, "let-go")["data"]
    make_due(namespace, "let-go")
    run_sweep()
    assert world.phase(namespace, "let-go") == Phase.ORPHANED
    assert live(namespace, "let-go")["data"] == data


def is_kept(namespace: str, host: str) -> bool:
    record = known(namespace, "kept")
    return (record.phase, record.intent.hosts) == (Phase.ISSUED, (host,))


def test_a_secret_that_asks_keeps_its_owners_words_until_it_is_deleted(namespace: str) -> None:
    """Here it is the webhook that sees to it: no policy does."""
    host = f"asks.{namespace}.test"
    send(namespace, asking(host, notes={"renew-before": "20d"}))
    first = world.wait_issued(namespace, "db-tls", [host])
    before = live(namespace, "db-tls")["metadata"]
    assert before["labels"] == {v.REQUEST: "true", "team": "db", v.MANAGED: "true", v.STATE: "issued"}
    assert before["annotations"]["example.org/note"] == "mine"
    assert before["annotations"][v.HOSTS] == host
    make_due(namespace, "db-tls")
    run_sweep()
    wait_renewed(namespace, "db-tls", first)
    after = live(namespace, "db-tls")["metadata"]
    assert after["labels"] == before["labels"]
    assert {**after["annotations"], v.NOT_AFTER: ""} == {**before["annotations"], v.NOT_AFTER: ""}
    make_due(namespace, "db-tls")
    kubectl("delete", "secret", "-n", namespace, "db-tls")
    run_sweep()
    assert world.phase(namespace, "db-tls") == Phase.ORPHANED
