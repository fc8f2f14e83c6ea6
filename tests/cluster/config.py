"""The configuration files of the parts, as text (pure); JSON is YAML enough for all of them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.cluster import settings as s

PAUSE_IMAGE = "localhost/certjob-pause:1"
CNI_PLUGINS = "/usr/lib/cni"
# Names that lead elsewhere than to Traefik on the node's address.
SERVICE_NAMES = ("kubernetes.default.svc.cluster.local.", "kubernetes.default.svc.", "kubernetes.default.")


def kubeconfig(*, token: str, authority_pem: bytes, server: str = s.API_SERVER) -> str:
    """A kubeconfig with everything inside, so that it can be handed around as one file."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority_pem).decode()}
    return _json(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "certjob", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "certjob", "context": {"cluster": "certjob", "user": "user"}}],
            "current-context": "certjob",
        }
    )


def kubelet(settings: s.Settings) -> str:
    """KubeletConfiguration for a small machine whose disk and memory belong to others, too."""
    state = settings.state
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": s.NODE_IP,
            "healthzBindAddress": "127.0.0.1",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{state}/pki/cluster-ca.pem"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{state}/pki/kubelet.pem",
            "tlsPrivateKeyFile": f"{state}/pki/kubelet.key",
            "containerRuntimeEndpoint": f"unix://{state}/containerd.sock",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{settings.cgroup}",
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "clusterDNS": [s.NODE_IP],
            # No cluster domain, so no search list: challtestsrv answers every name, hence also the first
            # wrong guess that a search list makes.
            "clusterDomain": "",
            "resolvConf": f"{state}/resolv.conf",
            "podLogsDir": f"{state}/logs/pods",
            "volumePluginDir": f"{state}/kubelet/volume-plugins",
            "maxPods": 250,
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            "eventRecordQPS": 200,
            "eventBurst": 400,
            "serializeImagePulls": False,
        }
    )


def containerd(state: Path) -> str:
    """containerd 1.6's config.toml (version 2)."""
    return f"""version = 2
root = "{state}/containerd"
state = "{state}/containerd-run"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{state}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE no process may lower its score; every sandbox would die.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  enable_selinux = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{state}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def cni(state: Path) -> str:
    """The pod network: one bridge; hairpin, because a pod may reach itself through its service."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "mtu": 1500,
        "ipam": {
            "type": "host-local",
            "dataDir": f"{state}/cni-addresses",
            "ranges": [[{"subnet": s.POD_CIDR}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return _json({"cniVersion": "1.0.0", "name": "certjob", "plugins": [bridge]})


def pebble(
    settings: s.Settings, *, port: int = s.PEBBLE_PORT, management_port: int = s.PEBBLE_MANAGEMENT_PORT
) -> str:
    """A Pebble's configuration; validation goes to Traefik's ports."""
    state = settings.state
    return _json(
        {
            "pebble": {
                "listenAddress": f"{s.NODE_IP}:{port}",
                "managementListenAddress": f"{s.NODE_IP}:{management_port}",
                "certificate": f"{state}/pki/pebble.pem",
                "privateKey": f"{state}/pki/pebble.key",
                "httpPort": 80,
                "tlsPort": 443,
                "ocspResponderURL": "",
                "externalAccountBindingRequired": False,
                "domainBlocklist": ["blocked-domain.example"],
                "retryAfter": {"authz": settings.retry_after, "order": settings.retry_after},
                "keyAlgorithm": "ecdsa",
                "profiles": {
                    "default": {"description": "90 days", "validityPeriod": 90 * 86400},
                    "shortlived": {"description": "160 hours", "validityPeriod": 160 * 3600},
                    "ten-minutes": {"description": "10 minutes, to watch a renewal", "validityPeriod": 600},
                },
            }
        }
    )


def pebble_dns(settings: s.Settings) -> str:
    """The configuration of the Pebble that asks bind9."""
    return pebble(settings, port=s.PEBBLE_DNS_PORT, management_port=s.PEBBLE_DNS_MANAGEMENT_PORT)


def ingress_controller() -> str:
    """What Traefik needs in the cluster: the default IngressClass and the rights its documentation lists."""
    watch = ["get", "list", "watch"]
    rules: list[dict[str, Any]] = [
        {"apiGroups": [""], "resources": ["services", "secrets", "nodes", "configmaps"], "verbs": watch},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watch},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingressclasses"], "verbs": watch},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses/status"], "verbs": ["update"]},
    ]
    ingress_class = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {
            "name": "traefik",
            "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"},
        },
        "spec": {"controller": "traefik.io/ingress-controller"},
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "traefik"},
        "rules": rules,
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "traefik"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "traefik"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "traefik"}],
    }
    return _json({"apiVersion": "v1", "kind": "List", "items": [ingress_class, role, binding]})


def environment_file(settings: s.Settings) -> str:
    """What tests/cluster/run exports, as shell assignments."""
    state = settings.state
    values = {
        "KUBECONFIG": state / "admin.kubeconfig",
        "CONTAINERD_ADDRESS": state / "containerd.sock",
        "CONTAINERD_NAMESPACE": "k8s.io",
        "CERTJOB_CLUSTER_STATE": state,
        "CERTJOB_PEBBLE_CA": state / "pebble-ca.pem",
        "CERTJOB_PEBBLE_DIRECTORY": f"https://{s.PEBBLE_HOST}:{s.PEBBLE_PORT}/dir",
        "CERTJOB_PEBBLE_MANAGEMENT": f"https://{s.PEBBLE_HOST}:{s.PEBBLE_MANAGEMENT_PORT}",
        "CERTJOB_PEBBLE_DNS_DIRECTORY": f"https://{s.PEBBLE_HOST}:{s.PEBBLE_DNS_PORT}/dir",
        "CERTJOB_PEBBLE_DNS_MANAGEMENT": f"https://{s.PEBBLE_HOST}:{s.PEBBLE_DNS_MANAGEMENT_PORT}",
        "CERTJOB_CHALLTESTSRV": f"http://{s.NODE_IP}:8055",
        "CERTJOB_TRAEFIK_ADDRESS": s.NODE_IP,
        "CERTJOB_DNS_SERVER": s.DNS_IP,
        "CERTJOB_DNS_SECONDARY": s.DNS_SECONDARY_IP,
        # lexicon's form: algorithm, name and secret. Both files are for root only.
        "CERTJOB_DNS_TSIG_FILE": state / "dns-tsig",
        "CERTJOB_PDNS_SERVER": s.PDNS_IP,
        "CERTJOB_PDNS_URL": f"http://{s.PDNS_IP}:{s.PDNS_API_PORT}",
        "CERTJOB_PDNS_API_KEY_FILE": state / "dns-api-key",
    }
    lines = [f"export {name}='{value}'" for name, value in values.items()]
    return "\n".join([*lines, f"export PATH='{settings.binaries}':\"$PATH\"", ""])


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"
