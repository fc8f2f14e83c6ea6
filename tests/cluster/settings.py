"""Where the cluster keeps its things, which versions and addresses it uses, and what a user may set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.report import ClusterError

KUBERNETES_VERSION = "1.36.3"
PEBBLE_VERSION = "2.10.1"
STEP_CA_VERSION = "0.30.2"
HELM_VERSIONS = {3: "3.22.0", 4: "4.3.1"}
"""By what most people call them."""
GO_MINIMUM = (1, 26)
DEBIAN_RELEASE = "bookworm"

NODE_NAME = "certjob-node"
NODE_IP = "10.200.0.2"
NODE_PREFIX = 24
# DNS servers with addresses of their own, all on port 53.
DNS_IP = "10.200.0.53"
DNS_SECONDARY_IP = "10.200.0.54"
PDNS_IP = "10.200.0.55"
DNS_NETWORK = "10.200.0.0/24"
PDNS_API_PORT = 8081
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
API_SERVER = f"https://{NODE_IP}:6443"
PEBBLE_HOST = "pebble.certjob.test"
# The second Pebble validates with the answers of bind9, the first one with those of challtestsrv.
PEBBLE_PORT, PEBBLE_MANAGEMENT_PORT = 14000, 15000
PEBBLE_DNS_PORT, PEBBLE_DNS_MANAGEMENT_PORT = 14001, 15001

CHECKOUT = Path(__file__).resolve().parents[2]
# A Unix socket's path ends at 107 bytes; the longest one below the state directory needs 27.
LONGEST_STATE_PATH = 80


@dataclass(frozen=True)
class Settings:
    """What the environment says.

    `nonce_reject` is a percentage, `retry_after` the seconds Pebble asks a client to wait (0: says nothing),
    `throttle` Traefik's providersThrottleDuration as a Go duration, `python_image` the base of the images
    ("" means the one made here with debootstrap).
    """

    cache: Path
    state: Path
    nonce_reject: int = 5
    retry_after: int = 0
    throttle: str = "2s"
    python_image: str = ""
    mirror: str = ""

    @property
    def tools(self) -> Path:
        return self.cache / "tools"

    @property
    def cgroup(self) -> str:
        """The name of the control groups; clusters with other state directories have others."""
        if self.state == self.cache / "cluster":
            return "certjob-cluster"
        return f"certjob-{hashlib.sha256(bytes(self.state)).hexdigest()[:8]}"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def binaries(self) -> Path:
        """Links to everything that runs, first on PATH inside the cluster."""
        return self.state / "bin"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the CERTJOB_* variables; raises ClusterError with the variable's name."""
    home = Path(environment.get("HOME") or "/root")
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "certjob"
    state = Path(environment.get("CERTJOB_CLUSTER_STATE") or cache / "cluster")
    if not state.is_absolute() or len(str(state)) > LONGEST_STATE_PATH:
        raise ClusterError(
            f"CERTJOB_CLUSTER_STATE must be an absolute path of at most {LONGEST_STATE_PATH} characters: {state}"
        )
    return Settings(
        cache=cache,
        state=state,
        nonce_reject=_number(environment, "CERTJOB_PEBBLE_NONCEREJECT", default=5, most=100),
        retry_after=_number(environment, "CERTJOB_PEBBLE_RETRYAFTER", default=0, most=3600),
        throttle=environment.get("CERTJOB_TRAEFIK_THROTTLE") or "2s",
        python_image=environment.get("CERTJOB_PYTHON_IMAGE", ""),
        mirror=environment.get("CERTJOB_DEBIAN_MIRROR", ""),
    )


def _number(environment: Mapping[str, str], name: str, *, default: int, most: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or int(text) > most:
        raise ClusterError(f"{name} must be a whole number from 0 to {most}, not {text!r}")
    return int(text)
