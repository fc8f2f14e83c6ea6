"""What NetworkPolicies let through, as Kubernetes adds them up: a connection that any of a pod's policies allows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

COMPONENT = "app.kubernetes.io/component"
Json = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """The other end of a connection: an address outside of the namespace, or a pod of one of its components; or a
    `node`, for network plugins that count those among no addresses.
    """

    address: str = ""
    component: str = ""
    node: bool = False


def allows(
    policies: Iterable[Json], direction: str, component: str, peer: Peer, port: int, protocol: str = "TCP"
) -> bool:
    """Whether a pod of the component may be connected: to the peer (`Egress`), or from it (`Ingress`).

    Without any policy for the pod and direction all may.
    """
    specs = [policy["spec"] for policy in policies]
    mine = [s for s in specs if direction in s["policyTypes"] and _selects(s["podSelector"], component)]
    side = "to" if direction == "Egress" else "from"
    rules = [rule for spec in mine for rule in spec.get(direction.lower(), [])]
    return not mine or any(_ports(rule, port, protocol) and _peers(rule.get(side), peer) for rule in rules)


def _selects(selector: Json, component: str) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    labels, expressions = selector.get("matchLabels", {}), selector.get("matchExpressions", [])
    assert labels.keys() <= {COMPONENT}
    assert all((e["key"], e["operator"]) == (COMPONENT, "In") for e in expressions)
    return all(value == component for value in labels.values()) and all(component in e["values"] for e in expressions)


def _ports(rule: Json, port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return ports is None or any(p["port"] == port and p.get("protocol", "TCP") == protocol for p in ports)


def _peers(listed: list[Json] | None, peer: Peer) -> bool:
    return listed is None or any(_is(entry, peer) for entry in listed)


def _is(entry: Json, peer: Peer) -> bool:
    if "ipBlock" not in entry:
        assert entry.keys() == {"podSelector"}
        return peer.component != "" and _selects(entry["podSelector"], peer.component)
    if not peer.address:
        return False  # plugins see pods as such; and what an address block lets in, other tests ask by address
    block, address = entry["ipBlock"], ipaddress.ip_address(peer.address)
    return address in ipaddress.ip_network(block["cidr"]) and not any(
        address in ipaddress.ip_network(left_out) for left_out in block.get("except", [])
    )
