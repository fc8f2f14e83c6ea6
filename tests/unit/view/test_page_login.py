"""The component that puts a sign-on before the page: what it makes, and what it opens."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from supply.chart.kustomize import rendered
from tests.worlds.documents import MANIFESTS
from tests.worlds.helm import program
from webhook.view.page.guard import KnownHosts
from webhook.view.page.server import ADDRESS, PORT

pytestmark = pytest.mark.process
Json = dict[str, Any]


@cache
def objects(component: str = "") -> dict[tuple[str, str, str], Json]:
    """The installation, by kind, namespace and name."""
    made = rendered(str(program("kubectl")), component)
    return {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in made}


LOGIN = "optional/page-login"
VIEW = ("Deployment", "certjob", "certjob-view")


def pod(of: dict[tuple[str, str, str], Json]) -> Json:
    found: Json = of[VIEW]["spec"]["template"]["spec"]
    return found


def test_the_sign_on_asks_the_page_by_a_name_that_it_knows() -> None:
    view, login = pod(objects(LOGIN))["containers"]
    assert (view["name"], login["name"]) == ("view", "login")
    assert f"--upstream=http://{ADDRESS}:{PORT}" in login["args"]
    assert "--pass-host-header=false" in login["args"]
    assert KnownHosts().knows(f"{ADDRESS}:{PORT}")


def test_what_stands_beside_the_view_has_none_of_its_rights() -> None:
    spec = pod(objects(LOGIN))
    view, login = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert "volumeMounts" not in login
    [token] = [mount for mount in view["volumeMounts"] if mount["name"] == "token"]
    assert token["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert login["securityContext"] == view["securityContext"]
    before, after = pod(objects()), {**spec, "containers": spec["containers"][:1]}
    assert {key for key in after if after[key] != before.get(key)} == {
        "automountServiceAccountToken",
        "containers",
        "volumes",
    }


def test_the_way_from_the_ingress_to_the_sign_on_is_whole() -> None:
    made = objects(LOGIN)
    ingress = made["Ingress", "certjob-page", "page"]
    [rule] = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    there = made["Service", "certjob-page", backend["name"]]["spec"]
    name, namespace, *_ = there["externalName"].split(".")
    service = made["Service", namespace, name]["spec"]
    assert there["ports"][0]["name"] == backend["port"]["name"]
    assert there["ports"][0]["port"] == service["ports"][0]["port"]
    labels = made[VIEW]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    login = pod(made)["containers"][1]
    [port] = [one["containerPort"] for one in login["ports"] if one["name"] == service["ports"][0]["targetPort"]]
    assert f"--http-address=:{port}" in login["args"]
    policy = made["NetworkPolicy", "certjob", "page-login"]["spec"]
    assert policy["ingress"] == [{"ports": [{"port": port, "protocol": "TCP"}]}]
    assert all(one != {"port": PORT, "protocol": "TCP"} for one in policy["ingress"][0]["ports"])
    [host] = {rule["host"], *ingress["spec"]["tls"][0]["hosts"]}
    assert f"--redirect-url=https://{host}/oauth2/callback" in login["args"]
    assert ingress["metadata"]["annotations"] == {"kubernetes.io/tls-acme": "true"}


def test_every_line_to_be_replaced_says_example_com() -> None:
    """And nothing secret stands there: keys are named, in a Secret that the operator makes."""
    files = sorted((MANIFESTS / "optional/page-login").glob("*.yaml"))
    lines = [line.strip() for file in files for line in file.read_text().splitlines() if "example.com" in line]
    assert len([line for line in lines if not line.startswith("#")]) == 5
    env = pod(objects(LOGIN))["containers"][1]["env"]
    assert all("secretKeyRef" in one["valueFrom"] for one in env)
