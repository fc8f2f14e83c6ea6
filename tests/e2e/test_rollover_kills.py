"""A pod that gives an account a new key dies right after any write: the next one ends it, and the account stays.

The real API server with certjob's policies and identities, and Pebble; the pods run in this process.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from requests.adapters import HTTPAdapter

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeClient
from issuer_job.attempt.attempt import Attempt, Pod
from issuer_job.checks.check import check_issuer
from issuer_job.checks.launch import find_issuer
from issuer_job.cluster.api import CONFIGMAPS, POD_TEMPLATES, SECRETS, Cluster
from issuer_job.cluster.retrying import RetryingTransport
from issuer_job.issuers.state import ROLLED_OVER_FOR, ROLLING_OVER
from issuer_job.launch.jobs import check_job_body
from issuer_job.polling import utc_now
from tests.e2e.api import Api, Endpoint
from tests.e2e.attempts import Identities
from tests.e2e.observe import cluster
from tests.e2e.own_issuer import DIRECTORY, OwnIssuer, ca_pem
from tests.e2e.transports import WiredTransport
from tests.e2e.wire import Killed, Wire, on_wire, wired_send

pytestmark = pytest.mark.usefixtures("no_sweeps")
"""One would launch the real Job for what the pods here are asked to do."""

MOST_PODS = 5


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HTTPAdapter, "send", wired_send)


@pytest.fixture(scope="module")
def identities(cluster: tuple[Endpoint, Api]) -> Identities:
    return Identities(cluster[0])


@pytest.fixture
def issuers() -> Iterator[list[OwnIssuer]]:
    made: list[OwnIssuer] = []
    yield made
    for issuer in made:
        issuer.clean_up()


class Pods:
    """Pods of the Job that tests the issuer, one after the other, each with its Secrets mounted as they are."""

    def __init__(self, issuer: OwnIssuer, identities: Identities, root: Path) -> None:
        self.issuer, self.identities, self.root, self.count = issuer, identities, root, 0

    def attempt(self, wire: Wire | None) -> Attempt:
        self.count += 1
        found = find_issuer(cluster(), self.issuer.name)
        assert found is not None
        template = cluster().get(POD_TEMPLATES, v.NAMESPACE, v.POD_TEMPLATE)
        epoch, number = 1_700_000_000 + self.count, found.state.number
        job = check_job_body(
            found.config_map, template, account_number=number, directory=found.directory, epoch=epoch
        )
        mounts = self.root / f"{self.issuer.name}-{self.count}"
        for volume in job["spec"]["template"]["spec"]["volumes"]:
            secret = cluster().find(SECRETS, v.NAMESPACE, volume.get("secret", {}).get("secretName", "none"))
            for key, value in (secret or {"data": {}})["data"].items():
                (mounts / volume["name"]).mkdir(parents=True, exist_ok=True)
                (mounts / volume["name"] / key).write_bytes(b64decode(value))
        transport = self.identities["job"]
        if wire is not None:
            transport = WiredTransport(transport, wire)
        pod = Pod(self.issuer.name, found.config_map["metadata"]["uid"], epoch, f"pod-{self.count}")
        deadline = utc_now() + timedelta(seconds=60)
        return Attempt(Cluster(RetryingTransport(transport, deadline=float("inf"))), pod, deadline, mounts=mounts)

    def run(self, wire: Wire | None = None) -> v.ExitCode | None:
        """One pod; None: it was killed."""
        attempt = self.attempt(wire)
        if wire is None:
            return check_issuer(attempt)
        with on_wire(wire):
            try:
                return check_issuer(attempt)
            except Killed:
                return None

    def run_to_the_end(self) -> v.ExitCode | None:
        for _ in range(MOST_PODS):
            code = self.run()
            if code not in {v.ExitCode.OTHER_POD, v.ExitCode.LATER}:
                return code
        return code


def asked_to_roll_over(issuers: list[OwnIssuer], name: str) -> OwnIssuer:
    issuer = OwnIssuer(name)
    issuers.append(issuer)
    issuer.apply()
    return issuer


def annotate(issuer: OwnIssuer) -> None:
    body = cluster().get(CONFIGMAPS, v.NAMESPACE, issuer.name)
    body["metadata"]["annotations"][v.ROLLOVER] = "one"
    cluster().update(CONFIGMAPS, v.NAMESPACE, body)


def account_of(issuer: OwnIssuer, number: int) -> str | None:
    secret = cluster().get(SECRETS, v.NAMESPACE, names.account(issuer.name, DIRECTORY, number))
    with AcmeClient.connect(
        DIRECTORY,
        ca_bundle_pem=ca_pem(),
        account_key_pem=b64decode(secret["data"][v.ACCOUNT_KEY]),
        account_url=None,
        user_agent="certjob-tests",
    ) as client:
        found = client.find_account()
    return None if found is None else found.url


@pytest.mark.usefixtures("wired")
def test_killed_after_every_write_the_next_pods_end_it(
    namespace: str, identities: Identities, issuers: list[OwnIssuer], tmp_path: Path
) -> None:
    whole, number = Wire(), 0
    while number == 0 or number <= whole.writes:
        issuer = asked_to_roll_over(issuers, f"{namespace}-{number}")
        pods = Pods(issuer, identities, tmp_path)
        assert pods.run() is v.ExitCode.DONE
        url = issuer.state.account_url
        annotate(issuer)
        if number == 0:
            assert pods.run(whole) is v.ExitCode.DONE
            assert whole.count("ACME POST /rollover-account-key") == 1
            assert whole.writes >= 5
        else:
            wire = Wire()
            wire.after_write(number, wire.kill)
            pods.run(wire)
            last = [call.what for call in wire.calls if call.writes][-1]
            assert pods.run_to_the_end() is v.ExitCode.DONE, f"killed after write {number}, {last}"
        state = issuer.state
        assert (state.number, state.account_url) == (2, url), number
        assert (state.data[ROLLING_OVER], state.data[ROLLED_OVER_FOR]) == ("", "one")
        assert account_of(issuer, 2) == url
        assert account_of(issuer, 1) is None
        number += 1
