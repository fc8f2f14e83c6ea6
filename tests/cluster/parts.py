"""The command lines of all parts (pure). Every part runs in the cluster's namespaces."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.cluster import dns
from tests.cluster import settings as s


@dataclass(frozen=True)
class Part:
    """A long-running program: its name, command line and what it needs besides the common environment."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


def all_parts(settings: s.Settings) -> dict[str, Part]:
    """Every part by name, in the order of the start."""
    parts = (
        _etcd(settings),
        _apiserver(settings),
        _containerd(settings),
        _controller_manager(settings),
        _scheduler(settings),
        _proxy(settings),
        _challtestsrv(settings),
        _bind9(settings, dns.PRIMARY),
        _bind9(settings, dns.SECONDARY),
        _powerdns(settings),
        _pebble(settings, "pebble", s.NODE_IP),
        _pebble(settings, "pebble-dns", s.DNS_IP),
        _kubelet(settings),
        _traefik(settings),
    )
    return {part.name: part for part in parts}


def _etcd(settings: s.Settings) -> Part:
    flags = (
        f"--data-dir={settings.state}/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--log-level=warn",
        # The data does not outlive the cluster.
        "--unsafe-no-fsync",
    )
    return Part("etcd", (f"{settings.binaries}/etcd", *flags))


def _apiserver(settings: s.Settings) -> Part:
    pki = f"{settings.state}/pki"
    flags = (
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={s.NODE_IP}",
        "--secure-port=6443",
        f"--service-cluster-ip-range={s.SERVICE_CIDR}",
        f"--tls-cert-file={pki}/apiserver.pem",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/cluster-ca.pem",
        f"--token-auth-file={pki}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/service-accounts.key",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        f"--kubelet-client-certificate={pki}/apiserver-to-kubelet.pem",
        f"--kubelet-client-key={pki}/apiserver-to-kubelet.key",
        f"--kubelet-certificate-authority={pki}/cluster-ca.pem",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        "--profiling=false",
    )
    return Part("kube-apiserver", (f"{settings.binaries}/kube-apiserver", *flags))


def _containerd(settings: s.Settings) -> Part:
    argv = ("containerd", f"--config={settings.state}/containerd.toml", "--log-level=warn")
    return Part("containerd", argv)


def _controller_manager(settings: s.Settings) -> Part:
    pki = f"{settings.state}/pki"
    flags = (
        f"--kubeconfig={settings.state}/kube-controller-manager.kubeconfig",
        f"--service-account-private-key-file={pki}/service-accounts.key",
        f"--root-ca-file={pki}/cluster-ca.pem",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    )
    return Part("kube-controller-manager", (f"{settings.binaries}/kube-controller-manager", *flags))


def _scheduler(settings: s.Settings) -> Part:
    flags = (
        f"--kubeconfig={settings.state}/kube-scheduler.kubeconfig",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    )
    return Part("kube-scheduler", (f"{settings.binaries}/kube-scheduler", *flags))


def _proxy(settings: s.Settings) -> Part:
    flags = (
        f"--kubeconfig={settings.state}/kube-proxy.kubeconfig",
        f"--hostname-override={s.NODE_NAME}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={s.POD_CIDR}",
        "--bind-address=127.0.0.1",
        # These limits belong to the machine, not to the namespace.
        "--conntrack-max-per-core=0",
    )
    return Part("kube-proxy", (f"{settings.binaries}/kube-proxy", *flags))


def _challtestsrv(settings: s.Settings) -> Part:
    flags = (
        f"-dnsserver={s.NODE_IP}:53",
        f"-management={s.NODE_IP}:8055",
        f"-defaultIPv4={s.NODE_IP}",
        "-defaultIPv6=",
        "-http01=",
        "-https01=",
        "-tlsalpn01=",
        "-doh=",
    )
    return Part("challtestsrv", (f"{settings.binaries}/pebble-challtestsrv", *flags))


def _bind9(settings: s.Settings, name: str) -> Part:
    # In the foreground, with its log on standard error; one thread does for a handful of zones.
    return Part(name, ("named", "-g", "-n", "1", "-c", f"{settings.state}/{name}/named.conf"))


def _powerdns(settings: s.Settings) -> Part:
    return Part(dns.PDNS, ("pdns_server", f"--config-dir={settings.state}/{dns.PDNS}"))


def _pebble(settings: s.Settings, name: str, dns_server: str) -> Part:
    flags = (f"-config={settings.state}/{name}.json", f"-dnsserver={dns_server}:53")
    env = {
        "PEBBLE_VA_NOSLEEP": "1",
        "PEBBLE_WFE_NONCEREJECT": str(settings.nonce_reject),
        # An account's list of orders on one page: with three a page, a busy account's newest order is far away.
        "PEBBLE_WFE_ORDERS_PER_PAGE": "10000",
    }
    return Part(name, (f"{settings.binaries}/pebble", *flags), env)


def _kubelet(settings: s.Settings) -> Part:
    flags = (
        f"--config={settings.state}/kubelet.json",
        f"--kubeconfig={settings.state}/kubelet.kubeconfig",
        f"--root-dir={settings.state}/kubelet",
        f"--hostname-override={s.NODE_NAME}",
        f"--node-ip={s.NODE_IP}",
    )
    return Part("kubelet", (f"{settings.binaries}/kubelet", *flags))


def _traefik(settings: s.Settings) -> Part:
    provider = "--providers.kubernetesingress"
    flags = (
        "--entrypoints.web.address=:80",
        "--entrypoints.websecure.address=:443",
        # As Traefik's own Helm chart has it: an Ingress needs no annotation to be served over TLS.
        "--entrypoints.websecure.http.tls=true",
        "--entrypoints.traefik.address=127.0.0.1:8080",
        "--api.insecure=true",
        "--ping=true",
        f"--providers.providersthrottleduration={settings.throttle}",
        f"{provider}=true",
        f"{provider}.endpoint={s.API_SERVER}",
        f"{provider}.certauthfilepath={settings.state}/pki/cluster-ca.pem",
        f"{provider}.token={settings.state}/pki/traefik.token",
        f"{provider}.ingressendpoint.ip={s.NODE_IP}",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=INFO",
        f"--accesslog.filepath={settings.logs}/traefik-access.log",
    )
    return Part("traefik", (f"{settings.binaries}/traefik", *flags))
