"""Attempts against the real API server, CA, responders and ingress controller, run in this process.

The record is launched by a Launcher of ours that keeps the Job back, and then the Ingress is stored: the webhook
finds nothing to do. So a test decides when each pod runs, and may stop or kill it at every request.
"""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.acme_client import Order
from issuer_job.attempt.attempt import Attempt, Pod
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, SECRETS, Cluster, Conflict, Json, Transport
from issuer_job.cluster.retrying import RetryingTransport
from issuer_job.demand.common import Entry
from issuer_job.demand.ingress import wants
from issuer_job.issue.issue import issue
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import LaunchOutcome
from issuer_job.polling import utc_now
from issuer_job.record import transitions
from issuer_job.record.phases import ATTEMPT_GRACE, LaunchReason
from issuer_job.record.record import Record
from issuer_job.record.store import from_config_map, to_config_map
from issuer_job.upkeep import leftovers
from tests.e2e import world
from tests.e2e.api import Endpoint, kubectl
from tests.e2e.checks import INGRESS_CLASS, assert_good_secret, orders_of, route
from tests.e2e.observe import cluster
from tests.e2e.transports import HeldJobs, OnlyOwned, TokenTransport, WiredTransport
from tests.e2e.wire import Killed, Wire, on_wire

DEADLINE = 90.0
"""Seconds that a pod has; real ones have 270."""
MOST_PODS = 5


class Identities:
    """Transports with the tokens of certjob's service accounts."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._made: dict[str, Transport] = {}
        self._lock = threading.Lock()

    def __getitem__(self, account: str) -> Transport:
        with self._lock:
            if account not in self._made:
                token = kubectl("create", "token", account, "-n", v.NAMESPACE, "--duration=3h").strip()
                self._made[account] = TokenTransport(self._endpoint, token)
            return self._made[account]


@dataclass
class Run:
    """A pod at work in a thread. `code` None: it was killed."""

    wire: Wire
    code: v.ExitCode | None = None
    problem: Exception | None = None
    _thread: threading.Thread = field(init=False)

    def start(self, attempt: Attempt) -> Run:
        """Like the kubelet."""

        def body() -> None:
            with on_wire(self.wire):
                try:
                    self.code = issue(attempt)
                except Killed:
                    self.code = None
                except Exception as problem:  # noqa: BLE001 - as the command line: exit code 1
                    self.problem, self.code = problem, v.ExitCode.RETRY

        self._thread = threading.Thread(target=body, daemon=True)
        self._thread.start()
        return self

    def end(self) -> v.ExitCode | None:
        """Wait for the end; how it ended."""
        self._thread.join(DEADLINE + 30)
        assert not self._thread.is_alive()
        return self.code


@dataclass
class Certificate:
    """One Ingress with one Secret, its record, and the pods that work on it."""

    identities: Identities
    root: Path
    namespace: str
    name: str
    hosts: tuple[str, ...]
    issuer: str
    secret: str
    held: dict[str, Json] = field(default_factory=dict)
    """Jobs that were kept back, by name."""
    runs: list[Run] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    """Every host that the Ingress has ever had."""

    def ingress(self, hosts: Sequence[str] = ()) -> Json:
        """As its owner writes it."""
        wanted = list(hosts or self.hosts)
        self.named.update(wanted)
        tls = [{"hosts": wanted, "secretName": self.secret}]
        body = world.manifest(self.name, wanted, tls=tls, issuer=self.issuer)
        body["metadata"]["namespace"] = self.namespace
        body["spec"]["ingressClassName"] = INGRESS_CLASS.field  # what the API server's default would make of it
        return body

    def entry(self, hosts: Sequence[str] = ()) -> Entry:
        """What the Ingress wants."""
        known = SettingsCache(cluster()).issuers()
        return wants(self.ingress(hosts), issuers=known, namespace_enabled=False).entries[0]

    def launcher(self, account: str = "webhook", *, hold: bool = True, wire: Wire | None = None) -> Launcher:
        """A Launcher as that service account; `hold`: its Jobs are kept back."""
        through = self.cluster(account, hold=hold, wire=wire)
        return Launcher(through, SettingsCache(through))

    def cluster(self, account: str, *, hold: bool = False, wire: Wire | None = None) -> Cluster:
        """The API server as that service account sees it."""
        transport = self.identities[account]
        if hold:
            transport = HeldJobs(transport, self.held)
        return Cluster(WiredTransport(transport, wire) if wire else transport)

    def launch(self, hosts: Sequence[str] = (), *, wire: Wire | None = None) -> LaunchOutcome:
        """Admission without a Job."""
        launcher = self.launcher(wire=wire)
        return launcher.launch(self.entry(hosts), namespace=self.namespace, deadline=time.monotonic() + 30)

    def store(self, hosts: Sequence[str] = ()) -> None:
        """The Ingress, past the real webhook, which finds its record."""
        former = cluster().find(INGRESSES, self.namespace, self.name)
        body = self.ingress(hosts)
        if former is None:
            cluster().create(INGRESSES, self.namespace, body)
        else:
            del former["metadata"]["resourceVersion"]  # the ingress controller writes its status
            cluster().update(INGRESSES, self.namespace, former | {"spec": body["spec"]})

    def apply(self, hosts: Sequence[str] = ()) -> None:
        """Admission, and then storage."""
        self.launch(hosts)
        self.store(hosts)

    def new_epoch(self, record: Record | None = None, *, hold: bool = True) -> bool:
        """As the sweep gives one, from the record as it has read it; False if somebody was faster."""
        wanted = transitions.launched(record or self.record, now=utc_now(), reason=LaunchReason.RETRY_DUE)
        try:
            body = Cluster(self.identities["sweep"]).update(CONFIGMAPS, v.NAMESPACE, to_config_map(wanted))
        except Conflict:
            return False
        self.launcher("sweep", hold=hold).until(time.monotonic() + 30).start(from_config_map(body))
        return True

    def same_epoch(self) -> None:
        """As the sweep does when the Job never came."""
        wanted = transitions.relaunched(self.record, now=utc_now())
        body = Cluster(self.identities["sweep"]).update(CONFIGMAPS, v.NAMESPACE, to_config_map(wanted))
        self.launcher("sweep").until(time.monotonic() + 30).start(from_config_map(body))

    def pod(self, wire: Wire | None = None) -> Attempt:
        """A pod of the newest Job, with the Secrets mounted that are there now."""
        wire = wire or Wire()
        job = self.held[self.record.job_name]
        mounts = Path(tempfile.mkdtemp(dir=self.root))
        for volume in job["spec"]["template"]["spec"]["volumes"]:
            if "secret" in volume:
                self._mount(mounts / volume["name"], volume["secret"]["secretName"])
        labels = job["spec"]["template"]["metadata"]["labels"]
        transport = RetryingTransport(
            WiredTransport(self.identities["job"], wire), time.monotonic() + DEADLINE, sleep=wire.sleep
        )
        return Attempt(
            Cluster(transport),
            Pod(self.record.name, labels[v.RECORD_UID], int(labels[v.EPOCH]), f"pod-{secrets.token_hex(8)}"),
            utc_now() + timedelta(seconds=DEADLINE),
            mounts=mounts,
            sleep=wire.sleep,
        )

    def start(self, wire: Wire | None = None) -> Run:
        """Start a pod."""
        run = Run(wire or Wire())
        self.runs.append(run)
        return run.start(self.pod(run.wire))

    def run(self, wire: Wire | None = None) -> v.ExitCode | None:
        """A pod, to its end."""
        return self.start(wire).end()

    def run_job(self) -> list[v.ExitCode | None]:
        """Pod after pod as the Job controller starts them, until one ends the Job; how each ended."""
        codes = [self.run()]
        while codes[-1] in {v.ExitCode.OTHER_POD, v.ExitCode.RETRY} and len(codes) < MOST_PODS:
            codes.append(self.run())
        return codes

    @property
    def record(self) -> Record:
        """The record as it is stored."""
        found = world.record(self.namespace, self.secret)
        assert found is not None
        return found

    def accepted(self, pattern: str) -> int:
        """Requests of all pods that fit the pattern and were accepted."""
        return sum(run.wire.count(pattern) for run in self.runs)

    def orders(self) -> list[Order]:
        """Orders of the issuer's account as Pebble lists them."""
        return orders_of(self.issuer)

    def assert_issued(self, hosts: Sequence[str] = ()) -> x509.Certificate:
        """The Secret's certificate is Pebble's, for these hosts, for the key beside it, and the record says so."""
        certificate = assert_good_secret(self.namespace, self.secret, hosts or self.hosts)
        record = self.record
        assert record.phase == "Issued"
        assert record.issued is not None
        assert record.issued.serial == f"{certificate.serial_number:x}"
        return certificate

    def left_over(self, hosts: Sequence[str] = ()) -> list[str]:
        """Names of the record's pending keys, challenges and routes that are still there."""
        mine = f"{v.RECORD_UID}={self.record.uid}"
        kept = [
            *cluster().items(SECRETS, v.NAMESPACE, labels=f"{v.PENDING}=true,{mine}"),
            *cluster().items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.CHALLENGE}=true,{mine}"),
            *(filter(None, (route(host) for host in hosts or self.hosts))),
        ]
        return [item["metadata"]["name"] for item in kept]

    def sweep_left_overs(self) -> None:
        """As sweeps do in the next hours; they see no more than this record's."""
        own = Cluster(OnlyOwned(self.identities["sweep"], self.record.uid))
        leftovers.release_leftovers(own, [], now=utc_now() + 2 * ATTEMPT_GRACE)
        leftovers.delete_keys(own, self.record, utc_now() + leftovers.KEY_AGE + ATTEMPT_GRACE)

    def jobs(self) -> list[Json]:
        """Real Jobs of the record, of any epoch and any of its lives."""
        name = names.record(self.namespace, self.secret)
        found = cluster().items(JOBS, v.NAMESPACE, labels=f"{v.RECORD_NAMESPACE}={self.namespace}")
        return [job for job in found if job["metadata"]["annotations"][v.RECORD] == name]

    def _mount(self, directory: Path, secret: str) -> None:
        found = cluster().find(SECRETS, v.NAMESPACE, secret)
        for key, value in ((found or {}).get("data") or {}).items():
            directory.mkdir(exist_ok=True)
            (directory / key).write_bytes(b64decode(value))
