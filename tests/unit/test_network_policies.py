"""What certjob's pods reach in all, as the NetworkPolicies add up; no cluster enforces them for the tests."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import jsonpatch
import pytest
import yaml

from issuer_job.http01.probe_addresses import METADATA
from tests.worlds.documents import MANIFESTS
from tests.worlds.networks import Peer, allows

Json = dict[str, Any]
COMPONENTS = ["webhook", "responder", "bootstrap", "issue", "sweep", "view", "test"]
PORTS = [1, 22, 53, 80, 443, 1338, 2375, 3128, 4194, 5432, 6443, 8080, 8081, 8443, 9100, 9402, 10250, 10255, 65535]
INTERNET = ["93.184.216.34", "2606:2800:220:1::1", "10.4.5.6", "fd00:1::1"]
SERVER = {"192.0.2.1", "192.0.2.10"}


@cache
def policies() -> tuple[Json, ...]:
    return tuple(yaml.safe_load_all((MANIFESTS / "base/network-policies.yaml").read_text()))


@cache
def narrowed() -> tuple[Json, ...]:
    """With manifests/optional/api-server."""
    found = {p["metadata"]["name"]: copy.deepcopy(p) for p in policies()}
    for patch in yaml.safe_load((MANIFESTS / "optional/api-server/kustomization.yaml").read_text())["patches"]:
        assert patch["target"]["kind"] == "NetworkPolicy"
        name = patch["target"]["name"]
        found[name] = jsonpatch.apply_patch(found[name], yaml.safe_load(patch["patch"]))
    return tuple(found.values())


def reached(component: str, address: str, of: tuple[Json, ...] | None = None, protocol: str = "TCP") -> set[int]:
    """The ports of an address that pods of the component may connect to."""
    chosen = policies() if of is None else of
    return {port for port in PORTS if allows(chosen, "Egress", component, Peer(address=address), port, protocol)}


@pytest.mark.parametrize("component", COMPONENTS)
def test_no_pod_reaches_a_metadata_server_but_for_names_and_where_none_listens(component: str) -> None:
    names = {53} if component in ("issue", "sweep") else set()
    for network in METADATA:
        for address in (str(network[0]), str(network[-1])):
            assert reached(component, address) == names | {6443}, address
            assert reached(component, address, narrowed()) == names, address


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_api_server_on_a_node_is_reached_where_no_address_block_has_nodes(component: str) -> None:
    """As with Cilium, unless it is configured otherwise."""
    assert allows(policies(), "Egress", component, Peer(node=True), 6443)
    assert not any(allows(policies(), "Egress", component, Peer(node=True), port) for port in (22, 443, 10250))


@pytest.mark.parametrize("address", INTERNET)
def test_each_component_reaches_what_it_needs_and_no_more(address: str) -> None:
    assert {component: reached(component, address) for component in COMPONENTS} == {
        "webhook": {443, 6443},
        "responder": {443, 6443},
        "bootstrap": {443, 6443},
        "issue": {53, 80, 443, 6443},
        "sweep": {53, 443, 6443},
        "view": {443, 6443},
        "test": {443, 6443},
    }
    assert {c for c in COMPONENTS if reached(c, address, protocol="UDP")} == {"issue", "sweep"}


@pytest.mark.parametrize("component", ["webhook", "responder", "bootstrap", "view", "test"])
def test_with_the_api_servers_addresses_the_others_reach_nothing_else(component: str) -> None:
    assert [reached(component, address, narrowed()) for address in INTERNET] == [set()] * len(INTERNET)
    assert [reached(component, address, narrowed()) for address in sorted(SERVER)] == [{443, 6443}] * 2


def test_with_the_api_servers_addresses_jobs_and_sweep_work_as_before() -> None:
    for address in INTERNET:
        assert reached("issue", address, narrowed()) == {53, 80, 443}
        assert reached("sweep", address, narrowed()) == {53, 443}


def test_who_speaks_to_whom_inside() -> None:
    found = {
        (one, other, port)
        for one in COMPONENTS
        for other in COMPONENTS
        for port in PORTS
        if port not in (53, 6443) and allows(policies(), "Egress", one, Peer(component=other), port)
    }
    tested = {("test", "webhook", 8443), ("test", "responder", 8080), ("test", "view", 9402)}
    rotated = {("sweep", "webhook", 8443), ("bootstrap", "webhook", 8443)}
    assert found == {("issue", "responder", 8080)} | rotated | tested
    assert all(allows(policies(), "Ingress", other, Peer(component=one), port) for one, other, port in found)


def test_few_ports_are_open_to_others() -> None:
    """API server and many an ingress controller are on a host network, which no selector has; Prometheus anywhere."""
    found = {
        (c, p) for c in COMPONENTS for p in PORTS if allows(policies(), "Ingress", c, Peer(address="10.4.5.6"), p)
    }
    assert found == {("webhook", 8443), ("responder", 8080), ("webhook", 9402), ("view", 9402), ("responder", 8081)}


def test_a_pod_of_no_component_reaches_nothing() -> None:
    assert reached("other", "93.184.216.34") == set()


def test_policies_add_up() -> None:
    """What one leaves out another lets through: so it is the sum that is asked about here."""
    wide = {"spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 443}]}]}}
    assert 443 in reached("issue", "169.254.169.254", (*policies(), wide))
