"""A cluster with an issuer, and issue Jobs run in this process: for tests of the flow. Nothing sleeps or probes."""

from __future__ import annotations

import shutil
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509

from certs.chain import has_key
from certs.keys import key_from_pem
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Pod
from issuer_job.attempt.solver import HostChallenge
from issuer_job.cluster.api import (
    CONFIGMAPS,
    EVENTS,
    INGRESSES,
    JOBS,
    POD_TEMPLATES,
    SECRETS,
    Cluster,
    Json,
    Transport,
)
from issuer_job.demand.ingress import wants
from issuer_job.http01.probe import ProbeResult
from issuer_job.http01.probe_http import ProbeReason
from issuer_job.http01.solver import Http01Solver, ProbeHosts
from issuer_job.issue.issue import issue
from issuer_job.issue.solvers import SOLVERS
from issuer_job.issuers.solvers import ChallengeType
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import LaunchOutcome
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Record
from issuer_job.record.store import from_config_map, to_config_map
from issuer_job.tenant_secrets.access import Looker, look_by_policy
from tests.fakes.api import FakeApi
from tests.fakes.ca import FakeOrders
from tests.fakes.certs_ca import DAY, FakeCA, pem
from tests.fakes.policies import FakePolicies

ISSUER = "test-ca"
HOST = "shop.certjob.dev"
COMPANY = FakeCA.root("Company CA", now=datetime.now(UTC) - 400 * DAY)
"""Its certificates are as good as those of a public CA: it is in the bundle of each issuer."""
MOUNTED = ("account", "pending", "credentials", "next")


@dataclass
class Clock:
    """The real time, plus what was slept. `on_sleep` sees every sleep."""

    ahead: timedelta = timedelta(0)
    slept: list[float] = field(default_factory=list)
    on_sleep: Callable[[], None] = lambda: None

    def read(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ahead += timedelta(seconds=seconds)
        self.on_sleep()


def ingress(name: str = "web", *, hosts: tuple[str, ...] = (HOST,), secret: str = "web-tls", **metadata: Any) -> Json:
    """An opted-in Ingress in the namespace shop."""
    notes = {v.TLS_ACME: "true", **metadata.pop("annotations", {})}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": "shop", "annotations": notes, **metadata},
        "spec": {
            "ingressClassName": "traefik",
            "tls": [{"secretName": secret, "hosts": list(hosts)}],
            "rules": [{"host": host} for host in hosts],
        },
    }


def pod_template() -> Json:
    """As the manifests have it, without what does not matter here."""
    volumes = [{"name": name, "secret": {"secretName": f"{name}-none", "optional": True}} for name in MOUNTED]
    spec = {"restartPolicy": "Never", "containers": [{"name": "issue", "image": "certjob-job"}], "volumes": volumes}
    return {"metadata": {"name": v.POD_TEMPLATE}, "template": {"spec": spec}}


@dataclass
class JobWorld:
    """`record()`, `secret()` and `jobs()` look at the cluster; `run()` runs a pod of the record's newest Job."""

    root: Path
    ca: FakeOrders
    ca_pem: bytes
    api: FakeApi = field(default_factory=FakeApi)
    policies: FakePolicies = field(default_factory=FakePolicies)
    clock: Clock = field(default_factory=Clock)
    pods: int = 0
    probed: list[str] = field(default_factory=list)
    check: str = "never"
    """Value of the annotation on its issuers: a sweep launches no Jobs of their own."""
    looker: Looker = look_by_policy

    def __post_init__(self) -> None:
        self.api.hooks["secrets"] = self.policies.secrets
        self.ca.clock = self.clock.read
        self.api.add(POD_TEMPLATES, v.NAMESPACE, pod_template())
        self.set_issuer()

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.api)

    @property
    def server(self) -> str:
        return f"{self.ca.base}/dir"

    def set_issuer(self, name: str = ISSUER, *, default: bool = True, **fields: Any) -> None:
        """Create or edit an issuer."""
        bundle = self.ca_pem + pem(COMPANY.certificate)
        acme = {"server": self.server, "caBundle": bundle.decode()}
        document = (acme if fields.get("type", "acme") == "acme" else {}) | fields
        notes = {v.CHECK: self.check} | ({v.DEFAULT_ISSUER: "true"} if default else {})
        metadata = {"name": name, "labels": {v.ISSUER: "true"}, "annotations": notes}
        data = {v.ISSUER_KEY: msgspec.yaml.encode(document).decode()}
        self.api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": metadata, "data": data})

    def set_options(self, **fields: Any) -> None:
        """Create or edit the operator's options."""
        data = {v.OPTIONS_KEY: msgspec.yaml.encode(fields).decode()}
        self.api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": {"name": v.OPTIONS_CONFIG_MAP}, "data": data})

    def apply(
        self, body: Json, *, stored: bool = True, namespace_enabled: bool = False, expect_new: bool = False
    ) -> list[LaunchOutcome]:
        """Admission of an Ingress, and then its storage. A CREATE expects that there is no record yet."""
        settings = SettingsCache(self.cluster)
        launcher = Launcher(self.cluster, settings, clock=self.clock.read)
        wanted = wants(body, issuers=settings.issuers(), namespace_enabled=namespace_enabled)
        namespace = body["metadata"]["namespace"]
        outcomes = [
            launcher.launch(entry, namespace=namespace, deadline=time.monotonic() + 30, expect_new=expect_new)
            for entry in wanted.entries
        ]
        if stored:
            self.api.add(INGRESSES, namespace, body)
        return outcomes

    def pod(self, *, secret: str = "web-tls", namespace: str = "shop", transport: Transport | None = None) -> Attempt:
        """A pod of the record's newest Job, with its Secrets mounted as they are now."""
        return self.pod_of(self.record(secret, namespace).job_name, transport=transport)

    def pod_of(self, name: str, *, transport: Transport | None = None) -> Attempt:
        """A pod of a Job."""
        self.pods += 1
        job = self.api.stored(JOBS, v.NAMESPACE, name)
        assert job is not None
        mounts = self.root / f"pod-{self.pods}"
        for volume in job["spec"]["template"]["spec"]["volumes"]:
            mounted = self.api.stored(SECRETS, v.NAMESPACE, volume["secret"]["secretName"])
            for key, value in (mounted or {"data": {}})["data"].items():
                (mounts / volume["name"]).mkdir(parents=True, exist_ok=True)
                (mounts / volume["name"] / key).write_bytes(b64decode(value))
        metadata = job["spec"]["template"]["metadata"]
        labels, record = metadata["labels"], metadata["annotations"][v.RECORD]
        pod = Pod(record, labels[v.RECORD_UID], int(labels[v.EPOCH]), f"pod-{self.pods}")
        return Attempt(
            Cluster(transport or self.api),
            pod,
            self.clock.read() + timedelta(seconds=270),
            mounts=mounts,
            clock=self.clock.read,
            sleep=self.clock.sleep,
            looker=self.looker,
        )

    def run(self, *, secret: str = "web-tls", namespace: str = "shop") -> v.ExitCode:
        """One pod, to its end."""
        return self.issue(self.pod(secret=secret, namespace=namespace))

    def issue(self, attempt: Attempt, *, probe_hosts: ProbeHosts | None = None) -> v.ExitCode:
        """What a pod does, with another prober if one is given."""
        http01 = partial(Http01Solver, probe_hosts=probe_hosts or self.probe)
        return issue(attempt, {**SOLVERS, ChallengeType.HTTP_01: http01})

    def relaunch(self, *, secret: str = "web-tls") -> None:
        """A new epoch, as the sweep gives one when a retry is due."""
        self.clock.ahead += timedelta(seconds=2)
        wanted = transitions.launched(self.record(secret), now=self.clock.read(), reason=LaunchReason.RETRY_DUE)
        self.cluster.update(CONFIGMAPS, v.NAMESPACE, to_config_map(wanted))
        self.start(secret=secret)

    def start(self, *, secret: str = "web-tls") -> None:
        """The Job of a record that has been launched."""
        launcher = Launcher(self.cluster, SettingsCache(self.cluster), clock=self.clock.read)
        launcher.until(time.monotonic() + 30).start(self.record(secret))

    def record(self, secret: str = "web-tls", namespace: str = "shop") -> Record:
        """The record as it is stored."""
        found = self.api.stored(CONFIGMAPS, v.NAMESPACE, names.record(namespace, secret))
        assert found is not None
        return from_config_map(found)

    def secret(self, name: str = "web-tls", namespace: str = "shop") -> Json:
        """The user's Secret, with its data decoded."""
        found = self.api.stored(SECRETS, namespace, name)
        assert found is not None
        return found | {"data": {key: b64decode(value) for key, value in found["data"].items()}}

    def events(self) -> list[tuple[str, str]]:
        """Reason and note of every Event."""
        return [(event["reason"], event["note"]) for event in self.api.all(EVENTS)]

    def left_over(self) -> list[str]:
        """Names of routes, challenges and pending keys."""
        found = [
            *self.api.all(INGRESSES, v.NAMESPACE),
            *(c for c in self.api.all(CONFIGMAPS, v.NAMESPACE) if v.CHALLENGE in c["metadata"].get("labels", {})),
            *(s for s in self.api.all(SECRETS, v.NAMESPACE) if v.PENDING in s["metadata"].get("labels", {})),
        ]
        return [item["metadata"]["name"] for item in found]

    def close(self) -> None:
        """Forget the mounted keys."""
        shutil.rmtree(self.root, ignore_errors=True)

    def probe(self, challenges: Sequence[HostChallenge], *, deadline: float) -> list[ProbeResult]:
        """Notes who would have been asked."""
        self.probed += [challenge.host for challenge in challenges]
        return [ProbeResult(ProbeReason.OK, "answers", 0.0) for _ in challenges]


def assert_good_secret(world: JobWorld, hosts: tuple[str, ...] = (HOST,), secret: str = "web-tls") -> None:
    stored = world.secret(secret)
    assert stored["metadata"]["labels"][v.STATE] == "issued"
    leaf = x509.load_pem_x509_certificates(stored["data"]["tls.crt"])[0]
    assert has_key(leaf, key_from_pem(stored["data"]["tls.key"]))
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == sorted(hosts)
