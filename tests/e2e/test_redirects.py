"""An ingress controller that redirects all of port 80 to https: what the self-check sees, and what helps."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES
from issuer_job.http01.probe import ProbeResult, probe_host
from issuer_job.http01.probe_http import ProbeReason
from issuer_job.http01.routes import route_body
from issuer_job.http01.solver import challenge_body
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import IngressClass
from tests.cluster import settings as s
from tests.e2e.api import wait_for
from tests.e2e.observe import cluster
from tests.worlds.samples import record

PLAIN, SECURE, CONSOLE = 8180, 8543, 8181
PORTS = frozenset({PLAIN, SECURE})
CLASS = IngressClass(annotation="redirecting")
TOKEN = "redirected-0123456789-0123456789-0123456789"
EXPECTED = f"{TOKEN}.{'h' * 43}"
ENTRY_POINTS = (
    f"--entrypoints.plain.address=:{PLAIN}",
    f"--entrypoints.secure.address=:{SECURE}",
    f"--entrypoints.traefik.address=127.0.0.1:{CONSOLE}",
    "--api.insecure=true",
    "--entrypoints.plain.http.redirections.entrypoint.to=secure",
)
"""As in docs/living-with.md, but for the ports."""


@contextmanager
def own_traefik(directory: Path, *flags: str) -> Iterator[None]:
    """A second one, for Ingresses of a class of its own."""
    settings, provider = s.from_environment(os.environ), "--providers.kubernetesingress"
    command = (
        f"{settings.binaries}/traefik",
        *ENTRY_POINTS,
        f"{provider}.endpoint={s.API_SERVER}",
        f"{provider}.certauthfilepath={settings.state}/pki/cluster-ca.pem",
        f"{provider}.token={settings.state}/pki/traefik.token",
        f"{provider}.ingressclass={CLASS.annotation}",
        "--providers.providersthrottleduration=100ms",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        *flags,
    )
    with (directory / "traefik.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """One that has a challenge route as certjob makes it, and whose challenge the responders answer."""
    name = "all.redirected.certjob.test"
    keeper = cluster().get(CONFIGMAPS, v.NAMESPACE, "kube-root-ca.crt")["metadata"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": keeper["name"], "uid": keeper["uid"]}
    made = replace(record(), uid=keeper["uid"])
    objects = (
        (INGRESSES, route_body(made, name, CLASS, Issuer(server="https://ca.test/dir"))),
        (CONFIGMAPS, challenge_body(made, {TOKEN: EXPECTED})),
    )
    for resource, body in objects:
        body["metadata"]["ownerReferences"] = [owner]
        cluster().create(resource, v.NAMESPACE, body)
    yield name
    for resource, body in objects:
        cluster().delete(resource, v.NAMESPACE, body["metadata"]["name"])


def probed(host: str) -> ProbeResult:
    """By the self-check, once Traefik has the route."""

    def has_the_route() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{CONSOLE}/api/http/routers", timeout=2) as answer:
                return host in answer.read().decode()
        except OSError:
            return False

    wait_for(has_the_route, what="Traefik has the route")
    deadline = time.monotonic() + 10
    return probe_host(host, TOKEN, EXPECTED, port=PLAIN, redirect_ports=PORTS, foreign_budget=0.0, deadline=deadline)


def test_a_redirect_before_the_routes_is_told(host: str, tmp_path: Path) -> None:
    with own_traefik(tmp_path):
        found = probed(host)
    assert found.reason is ProbeReason.FOREIGN_OVER_HTTPS
    assert "HTTP 404" in found.message


@pytest.mark.parametrize(
    "flag",
    ["--entrypoints.plain.http.redirections.entrypoint.priority=10", "--entrypoints.secure.http.tls=true"],
    ids=["redirect after the routes", "routes over TLS"],
)
def test_either_remedy_lets_the_challenge_through(host: str, tmp_path: Path, flag: str) -> None:
    with own_traefik(tmp_path, flag):
        # It is told that the routes are new just before each port has them.
        wait_for(lambda: probed(host).reason is ProbeReason.OK, what="the challenge is let through")
