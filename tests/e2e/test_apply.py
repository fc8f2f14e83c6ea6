"""What `kubectl apply` sees: no drift, no conflict, nothing created by a dry run, warnings that say what to do."""

from __future__ import annotations

import json
import subprocess

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, SECRETS, Json
from tests.e2e import world
from tests.e2e.api import NewNamespace
from tests.e2e.observe import added_secret, cluster

pytestmark = pytest.mark.usefixtures("no_sweeps")
"""Records are compared: a sweep writes into them what the CA suggests."""


def _warnings(namespace: str, ingress: Json, *arguments: str) -> str:
    done = subprocess.run(
        ["kubectl", "apply", "-n", namespace, "-f", "-", *arguments],
        input=json.dumps(ingress), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stderr


def _without_managed_fields(ingress: Json) -> Json:
    ingress["metadata"].pop("managedFields", None)
    return ingress


@pytest.mark.parametrize("arguments", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_apply_twice_changes_nothing(namespace: str, arguments: tuple[str, ...]) -> None:
    host = f"again.{namespace}.test"
    ingress = world.manifest("again", [host], bare=True, tls_acme="true")
    world.apply(namespace, ingress, *arguments)
    record = world.wait_issued(namespace, added_secret(host), [host])
    world.wait_noticed(namespace, "again")
    before = world.live(namespace, "again")
    world.apply(namespace, ingress, *arguments)
    world.apply(namespace, ingress, *arguments)
    after = world.live(namespace, "again")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert world.record(namespace, added_secret(host)) == record
    diff = subprocess.run(
        ["kubectl", "diff", "-n", namespace, "-f", "-", *arguments],
        input=json.dumps(ingress), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert diff.returncode == 0, diff.stdout + diff.stderr


def test_replace_without_the_entry_carries_it_over(namespace: str) -> None:
    host = f"replaced.{namespace}.test"
    ingress = world.manifest("replaced", [host], bare=True, tls_acme="true")
    ingress["spec"]["ingressClassName"] = "traefik"  # the default is only filled in at creation
    stored = world.create(namespace, ingress)
    record = world.wait_issued(namespace, added_secret(host), [host])
    again = cluster().update(INGRESSES, namespace, ingress)
    assert again["spec"]["tls"] == stored["spec"]["tls"]
    assert world.record(namespace, added_secret(host)) == record


def test_server_side_dry_run_patches_but_creates_nothing(namespace: str) -> None:
    host = f"dry.{namespace}.test"
    counts = _count(namespace)
    answer = json.loads(
        world.apply(
            namespace, world.manifest("dry", [host], bare=True, tls_acme="true"), "--dry-run=server", "-o", "json"
        )
    )
    assert answer["spec"]["tls"] == [{"hosts": [host], "secretName": added_secret(host)}]
    assert _count(namespace) == counts
    assert world.record(namespace, added_secret(host)) is None
    assert cluster().find(SECRETS, namespace, added_secret(host)) is None


def _count(namespace: str) -> list[int]:
    """How many objects there are that concern this namespace."""
    jobs = list(cluster().items(JOBS, v.NAMESPACE, labels=f"{v.RECORD_NAMESPACE}={namespace}"))
    maps = [c for c in cluster().items(CONFIGMAPS, v.NAMESPACE) if namespace in json.dumps(c.get("data") or {})]
    return [len(jobs), len(maps), len(list(cluster().items(SECRETS, namespace)))]


@pytest.mark.parametrize(
    ("hosts", "tls", "annotations", "words"),
    [
        (["*.wild.certjob.test"], None, {"tls_acme": "true"}, "DNS-01"),
        (["intranet"], None, {"tls_acme": "true"}, "intranet"),
        (["ok.certjob.test"], [{"hosts": ["ok.certjob.test"]}], {"tls_acme": "true"}, "secretName"),
        (["ok.certjob.test"], None, {"issuer": "nobody"}, "unknown issuer nobody"),
        (["ok.certjob.test"], None, {"tls_acme": "true", "key_algorithm": "dsa"}, "key-algorithm"),
        (["printer.local"], None, {"issuer": "letsencrypt"}, "printer.local"),
    ],
    ids=["wildcard", "single-label", "no-secret-name", "unknown-issuer", "key-algorithm", "private-name"],
)
def test_kubectl_apply_warns_and_admits(
    namespace: str, hosts: list[str], tls: list[Json] | None, annotations: dict[str, str], words: str
) -> None:
    warnings = _warnings(namespace, world.manifest("odd", hosts, tls=tls, bare=False, **annotations))
    assert words in warnings
    assert world.live(namespace, "odd")["spec"]["rules"][0]["host"] == hosts[0]
    assert _count(namespace) == [0, 0, 0]


def test_bad_entry_is_skipped_and_the_good_one_issued(namespace: str) -> None:
    host = f"good.{namespace}.test"
    tls = [{"hosts": ["*.bad.test"], "secretName": "bad-tls"}, {"hosts": [host], "secretName": "good-tls"}]
    warnings = _warnings(namespace, world.manifest("mixed", [host], tls=tls, tls_acme="true"))
    assert "*.bad.test" in warnings
    world.wait_issued(namespace, "good-tls", [host])
    assert world.record(namespace, "bad-tls") is None


@pytest.mark.parametrize(("hosts", "entries"), [(100, 1), (20, 20)])
def test_however_large_its_placeholders_are_there_when_apply_returns(
    namespace: str, hosts: int, entries: int
) -> None:
    names = [f"h{number}.{namespace}.test" for number in range(hosts)]
    tls = [{"hosts": names[number::entries], "secretName": f"large-{number}"} for number in range(entries)]
    world.create(namespace, world.manifest("large", names, tls=tls, tls_acme="true"))
    found = {s["metadata"]["name"]: s["metadata"]["labels"] for s in cluster().items(SECRETS, namespace)}
    assert found.keys() == {entry["secretName"] for entry in tls}
    assert {labels[v.STATE] for labels in found.values()} == {v.SecretState.PLACEHOLDER}
    assert len([n for n in found if world.record(namespace, n) is not None]) == entries
    cluster().delete(INGRESSES, namespace, "large")  # before it is ordered


def test_a_renamed_secret_has_the_certificate_of_the_old_one(namespace: str) -> None:
    host = f"renamed.{namespace}.test"
    ingress = world.manifest("web", [host], tls=[{"hosts": [host], "secretName": "old"}], tls_acme="true")
    world.apply(namespace, ingress)
    before = world.wait_issued(namespace, "old", [host])
    ingress["spec"]["tls"][0]["secretName"] = "new"
    world.apply(namespace, ingress)
    after = world.wait_issued(namespace, "new", [host])
    assert before.issued is not None
    assert after.issued is not None
    assert (after.renamed_from, after.issued.serial) == ("old", before.issued.serial)
    assert [entry.event for entry in after.history] == ["launched", "issued"], "nothing was ordered"


def test_a_dry_run_tells_whose_the_hosts_are_and_takes_none(namespace: str, new_namespace: NewNamespace) -> None:
    host, mine = f"asked.{namespace}.test", f"mine.{namespace}.test"
    claims = [names.claim(host), names.claim(mine)]
    free = _warnings(namespace, world.manifest("asked", [host, mine], tls_acme="true"), "--dry-run=server")
    assert "certificate for 2 hosts would be ordered from pebble" in free
    assert [cluster().find(CONFIGMAPS, v.NAMESPACE, claim) for claim in claims] == [None, None]
    world.create(namespace, world.manifest("asked", [host], tls_acme="true"))
    world.wait_issued(namespace, "asked-tls", [host])
    other = new_namespace()
    taken = _warnings(other, world.manifest("theirs", [host, mine], tls_acme="true"), "--dry-run=server")
    assert f"{host} belongs to another namespace: no certificate" in taken
    assert "would be ordered" not in taken
    assert cluster().find(CONFIGMAPS, v.NAMESPACE, names.claim(mine)) is None
    assert world.record(other, "theirs-tls") is None
