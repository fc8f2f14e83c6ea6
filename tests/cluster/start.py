"""Bring the cluster up: configuration, namespaces, parts in order, and the wait until all of it answers."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.cluster import cgroups, config, dns, images, namespace, parts, pki, sysctls, tools
from tests.cluster import settings as s
from tests.cluster.processes import Record, expect_running, is_running, read_records, spawn
from tests.cluster.report import ClusterError, step
from tests.cluster.shell import environment_without_proxies, run, telling_line, wait_for
from tests.cluster.stop import stop

FIRST = (
    "etcd",
    "kube-apiserver",
    "containerd",
    "challtestsrv",
    dns.PRIMARY,
    dns.SECONDARY,
    dns.PDNS,
    "pebble",
    "pebble-dns",
)
PROBES = ("node", "service accounts", "traefik", "pebble", "pebble-dns", dns.PRIMARY, dns.SECONDARY, dns.PDNS)
KUBECONFIGS = ("admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")


def up(settings: s.Settings) -> None:
    """Start the cluster, or see that it runs; a cluster of which a part has ended is started anew."""
    tools.install_packages(settings)
    holder = healthy(settings)
    if holder:
        step("the cluster runs already")
    else:
        holder = _start(settings)
    images.load(settings, images.build_project(settings), holder)
    step(f"ready: tests/cluster/run kubectl get pods -A   (state and logs: {settings.state})")


def healthy(settings: s.Settings) -> Record | None:
    """The holder of the namespaces if every part runs and the start was completed."""
    records = read_records(settings.state)
    wanted = {namespace.HOLDER, *parts.all_parts(settings)}
    complete = (settings.state / "started").exists() and wanted <= records.keys()
    return records[namespace.HOLDER] if complete and all(map(is_running, records.values())) else None


def _start(settings: s.Settings) -> Record:
    state = settings.state
    if read_records(state) or cgroups.members(settings.cgroup):
        step("ending what is left of an earlier cluster")
    stop(settings)
    shutil.rmtree(settings.logs, ignore_errors=True)
    settings.logs.mkdir(parents=True)
    tools.link_binaries(settings)
    pause = images.build_pause(settings)
    step("writing keys and configuration")
    configure(settings)
    sysctls.remember(state)
    cgroups.create(settings.cgroup)
    step("starting etcd, API server, containerd, Pebble and the DNS servers")
    holder = namespace.create(settings)
    started = [start_part(settings, name, holder) for name in FIRST]
    socket = state / "containerd.sock"
    wait_for(lambda: _there(socket, started, state), what="containerd's start", seconds=30)
    images.load(settings, [pause], holder)
    probe(settings, holder, ["kube-apiserver"], started)
    step("starting controllers, scheduler, proxy, kubelet and Traefik")
    _apply_ingress_class(settings, holder)
    started += [start_part(settings, name, holder) for name in parts.all_parts(settings) if name not in FIRST]
    _publish_service_names(settings, holder)
    probe(settings, holder, PROBES, started)
    (state / "started").touch()
    step("node Ready; Traefik, Pebble and the DNS servers answer")
    return holder


def _there(socket: Path, started: Iterable[Record], state: Path) -> bool:
    for record in started:
        expect_running(record, state=state)
    return socket.exists()


def configure(settings: s.Settings) -> None:
    """Write everything the parts read."""
    state = settings.state
    pki.make_all(state / "pki")
    tokens = pki.make_tokens(state / "pki")
    authority = (state / "pki/cluster-ca.pem").read_bytes()
    for user in KUBECONFIGS:
        pki.write_private(
            state / f"{user}.kubeconfig", config.kubeconfig(token=tokens[user], authority_pem=authority)
        )
    pki.write_private(state / "pki/traefik.token", tokens["traefik"])
    shutil.copyfile(state / "pki/pebble-ca.pem", state / "pebble-ca.pem")
    (state / "cni").mkdir(exist_ok=True)
    (state / "cni/10-certjob.conflist").write_text(config.cni(state))
    (state / "containerd.toml").write_text(config.containerd(state))
    (state / "kubelet.json").write_text(config.kubelet(settings))
    configure_pebble(settings)
    dns.write(state)
    (state / "ingress-class.json").write_text(config.ingress_controller())
    (state / "environment.sh").write_text(config.environment_file(settings))


def configure_pebble(settings: s.Settings) -> None:
    """Both Pebbles follow the present settings."""
    (settings.state / "pebble.json").write_text(config.pebble(settings))
    (settings.state / "pebble-dns.json").write_text(config.pebble_dns(settings))


def start_part(settings: s.Settings, name: str, holder: Record) -> Record:
    """Start one part inside the namespaces."""
    part = parts.all_parts(settings)[name]
    env = environment_without_proxies() | part.env
    return spawn(name, namespace.inside(holder, *part.argv), settings=settings, env=env)


def probe(settings: s.Settings, holder: Record, wanted: Sequence[str], started: list[Record]) -> None:
    """Wait until the named parts answer; a part that ended meanwhile is the better explanation."""
    command: list[str | Path] = [sys.executable, "-m", "tests.cluster.probe", settings.state, *wanted]
    inside = namespace.inside(holder, "env", f"PYTHONPATH={s.CHECKOUT}", *command)
    with subprocess.Popen(inside, stderr=subprocess.PIPE, text=True) as child:
        try:
            while child.poll() is None:
                for record in started:
                    expect_running(record, state=settings.state)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=0.2)
        finally:
            child.kill()
        said = child.stderr.read() if child.stderr else ""
    if child.returncode != 0:
        raise ClusterError(f"{telling_line(said)} (logs: {settings.logs})")


def _apply_ingress_class(settings: s.Settings, holder: Record) -> None:
    kubectl: list[str | Path] = [settings.binaries / "kubectl", f"--kubeconfig={settings.state}/admin.kubeconfig"]
    command = namespace.inside(holder, *kubectl, "apply", "-f", settings.state / "ingress-class.json")
    run(command, doing="create the IngressClass", env=environment_without_proxies())


def _publish_service_names(settings: s.Settings, holder: Record) -> None:
    """The API server's service is the only name that does not lead to the node's own address."""
    script = (
        "import json, sys, urllib.request as r\n"
        "o = r.build_opener(r.ProxyHandler({}))\n"
        "for name in sys.argv[3:]:\n"
        "    o.open(sys.argv[1], json.dumps({'host': name, 'addresses': [sys.argv[2]]}).encode(), timeout=5)\n"
    )
    url = f"http://{s.NODE_IP}:8055/add-a"
    command = [sys.executable, "-c", script, url, s.API_SERVICE_IP, *config.SERVICE_NAMES]
    run(namespace.inside(holder, *command), doing="publish the API server's name")
