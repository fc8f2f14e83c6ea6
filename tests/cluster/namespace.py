"""The cluster's network and mount namespace, held open by one sleeping process.

The mount namespace is what makes a clean end certain: whatever containerd and kubelet mounted vanishes with
the last process in it. Mounts of the machine still appear inside (propagation "slave").
"""

from __future__ import annotations

from pathlib import Path

from tests.cluster import settings as s
from tests.cluster.processes import Record, expect_running, is_running, read_records, spawn
from tests.cluster.shell import environment_without_proxies, wait_for

HOLDER = "namespace"
# Fixed paths that containerd, its shims and kubelet insist on; inside they are private.
PRIVATE = ("/run/containerd", "/var/log/containers", "/var/lib/cni")


def setup_script(state: Path) -> str:
    """The shell script that furnishes the namespaces and then holds them."""
    private = "\n".join(f"mkdir -p {path}\nmount -t tmpfs certjob {path}" for path in PRIVATE)
    return f"""set -e
# The API server refuses loopback addresses in Endpoints; not every kernel has dummy devices: a bridge
# without ports carries the node's address.
ip link set lo up
ip link add node0 type bridge
ip address add {s.NODE_IP}/{s.NODE_PREFIX} dev node0
for address in {s.DNS_IP} {s.DNS_SECONDARY_IP} {s.PDNS_IP}; do ip address add "$address/32" dev node0; done
ip link set node0 up
# kube-proxy rewrites service addresses after routing: there must be a route for them.
ip route add {s.SERVICE_CIDR} dev node0 src {s.NODE_IP}
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
{private}
mount --bind '{state}/resolv.conf' "$(readlink -f /etc/resolv.conf)"
touch '{state}/namespace.ready'
exec sleep infinity
"""


def create(settings: s.Settings) -> Record:
    """Make the namespaces; returns the record of their holder."""
    state = settings.state
    (state / "resolv.conf").write_text(f"nameserver {s.NODE_IP}\noptions timeout:1 attempts:2\n")
    script = state / "namespace.sh"
    script.write_text(setup_script(state))
    argv: list[str | Path] = ["unshare", "--net", "--mount", "--propagation", "slave", "sh", script]
    holder = spawn(HOLDER, argv, settings=settings, env=environment_without_proxies())

    def furnished() -> bool:
        expect_running(holder, state=state)
        return (state / "namespace.ready").exists()

    wait_for(furnished, what="the network namespace", seconds=10, interval=0.01)
    return holder


def inside(holder: Record, *argv: str | Path) -> list[str]:
    """The command line that runs `argv` in the namespaces; nsenter becomes the program and keeps its id."""
    return ["nsenter", f"--target={holder.pid}", "--net", "--mount", "--", *map(str, argv)]


def current(state: Path) -> Record | None:
    """The holder of a running cluster."""
    holder = read_records(state).get(HOLDER)
    return holder if holder and is_running(holder) else None
