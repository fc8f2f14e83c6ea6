"""The status page on the cluster: reached by a port-forward and by nothing else; and the sign-on before it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

import pytest
import yaml

from issuer_job import vocabulary as v
from supply.chart.kustomize import rendered
from tests.e2e.api import kubectl


@contextmanager
def forwarded() -> Iterator[str]:
    """Where a port-forward leads to the page from."""
    command = ["kubectl", "port-forward", "-n", v.NAMESPACE, "deployment/certjob-view", ":8080"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            assert said.startswith("Forwarding from "), said
            yield f"http://{said.split()[2]}"
        finally:
            process.terminate()


def test_a_port_forward_leads_to_the_page_and_the_pods_address_does_not() -> None:
    with forwarded() as address, urlopen(f"{address}/certificates", timeout=10) as answer:
        assert "<h1>Certificates</h1>" in answer.read().decode()
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    pods = kubectl("get", "pods", "-n", v.NAMESPACE, "-l", "app.kubernetes.io/component=view", "-o", "json")
    addresses = [one["status"]["podIP"] for one in json.loads(pods)["items"]]
    assert addresses
    for one in addresses:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((one, 8080), timeout=5).close()


def test_the_api_server_takes_what_the_component_makes() -> None:
    made = rendered("kubectl", "optional/page-login")
    wanted = [
        one
        for one in made
        if one["metadata"].get("namespace") == "certjob-page"
        or one["metadata"]["name"] in {"certjob-page", "page-login", "certjob-view"}
    ]
    assert sorted(one["kind"] for one in wanted if one["metadata"].get("namespace") != "certjob") == [
        "Ingress",
        "Namespace",
        "Service",
    ]
    try:
        kubectl("create", "namespace", "certjob-page")
        text = yaml.safe_dump_all(wanted)
        said = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    finally:
        kubectl("delete", "namespace", "certjob-page", "--wait=false")
    assert "ingress.networking.k8s.io/page created" in said
    assert "deployment.apps/certjob-view configured" in said
