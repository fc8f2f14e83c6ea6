"""The component with a sign-on before the page: the API server takes every object of it, strictly."""

from __future__ import annotations

import yaml

from supply.chart.kustomize import rendered
from tests.e2e.api import kubectl


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
