"""Keys, certificates and tokens of the cluster, made anew at every start with openssl."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import settings as s
from tests.cluster.shell import run

DAYS = "365"
API_NAMES = (
    f"IP:{s.NODE_IP}",
    f"IP:{s.API_SERVICE_IP}",
    "IP:127.0.0.1",
    "DNS:kubernetes",
    "DNS:kubernetes.default",
    "DNS:kubernetes.default.svc",
    "DNS:kubernetes.default.svc.cluster.local",
    f"DNS:{s.NODE_NAME}",
)
PEBBLE_NAMES = (f"DNS:{s.PEBBLE_HOST}", "DNS:pebble", "DNS:localhost", f"IP:{s.NODE_IP}", "IP:127.0.0.1")

# User, groups: the identities of the parts, as in a cluster made by kubeadm.
USERS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{s.NODE_NAME}", "system:nodes"),
    "traefik": ("traefik", ""),
}


def make_all(directory: Path) -> None:
    """Write the CAs, the serving certificates, the service account key and the kubelet client certificate."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for authority in ("cluster-ca", "pebble-ca"):
        _key(directory / f"{authority}.key")
        _self_signed(directory, authority)
    _signed(directory, "apiserver", authority="cluster-ca", subject="/CN=kube-apiserver", names=API_NAMES)
    _signed(directory, "kubelet", authority="cluster-ca", subject=f"/CN={s.NODE_NAME}", names=(f"IP:{s.NODE_IP}",))
    _signed(
        directory,
        "apiserver-to-kubelet",
        authority="cluster-ca",
        subject="/O=system:masters/CN=kube-apiserver-kubelet-client",
        names=("DNS:kube-apiserver",),
    )
    _signed(directory, "pebble", authority="pebble-ca", subject=f"/CN={s.PEBBLE_HOST}", names=PEBBLE_NAMES)
    _key(directory / "service-accounts.key")


def _key(path: Path) -> None:
    run(["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", path], doing="make a key")
    path.chmod(0o600)


def _self_signed(directory: Path, name: str) -> None:
    extensions = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
    # -config /dev/null: the machine's openssl.cnf would add its own extensions.
    command: list[str | Path] = ["openssl", "req", "-x509", "-new", "-key", directory / f"{name}.key", "-days", DAYS]
    command += [
        "-subj",
        f"/CN=certjob local {name}",
        "-out",
        directory / f"{name}.pem",
        "-config",
        _config(directory),
    ]
    for extension in extensions:
        command += ["-addext", extension]
    run(command, doing=f"make the certificate of {name}")


def _config(directory: Path) -> Path:
    path = directory / "openssl.cnf"
    path.write_text("[req]\ndistinguished_name = name\n[name]\n")
    return path


def _signed(directory: Path, name: str, *, authority: str, subject: str, names: Sequence[str]) -> None:
    key, request, extensions = directory / f"{name}.key", directory / f"{name}.csr", directory / f"{name}.ext"
    _key(key)
    extensions.write_text(leaf_extensions(names))
    configured: list[str | Path] = ["-config", _config(directory)]
    doing = f"make the certificate of {name}"
    run(["openssl", "req", "-new", "-key", key, "-subj", subject, "-out", request, *configured], doing=doing)
    command: list[str | Path] = ["openssl", "x509", "-req", "-in", request, "-days", DAYS, "-extfile", extensions]
    command += ["-CA", directory / f"{authority}.pem", "-CAkey", directory / f"{authority}.key"]
    command += ["-set_serial", f"0x{secrets.token_hex(16)}", "-out", directory / f"{name}.pem"]
    run(command, doing=doing)


def leaf_extensions(names: Sequence[str]) -> str:
    """openssl's extension file of a certificate for servers and clients."""
    return (
        "basicConstraints=critical,CA:FALSE\n"
        "keyUsage=critical,digitalSignature\n"
        "extendedKeyUsage=serverAuth,clientAuth\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        f"subjectAltName={','.join(names)}\n"
    )


def make_tokens(directory: Path) -> dict[str, str]:
    """Write the API server's token file and return the token of every part."""
    tokens = {part: secrets.token_hex(24) for part in USERS}
    lines = [token_line(tokens[part], part, user, group) for part, (user, group) in USERS.items()]
    write_private(directory / "tokens.csv", "\n".join(lines) + "\n")
    return tokens


def token_line(token: str, uid: str, user: str, group: str) -> str:
    """One line of the static token file: token,user,uid,"groups"."""
    return f'{token},{user},{uid},"{group}"' if group else f"{token},{user},{uid}"


def write_private(path: Path, text: str) -> None:
    """Write a file that only root may read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(text)
