"""Takes out of texts what does not have to leave the house: hosts and addresses are hashed; keys, tokens,
certificates and mail addresses are left out. Pure, for one key.

The key is made anew for each bundle, so that a name is the same all over it and cannot be guessed from it. Labels are
hashed one by one, with what stands behind them: what is below one domain still shows.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from certs.hostnames import normalize

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL)
_MAIL = re.compile(r"[\w.+%-]{1,64}@[\w.-]{1,253}")
_HEX = re.compile(r"(?<!sha256:)(?<![0-9A-Za-z])[0-9A-Fa-f]{24,}(?![0-9A-Za-z])")
_SHORT = re.compile(r"(?<![0-9A-Za-z])(?=\d*[a-f])[0-9a-f]{10}(?![0-9A-Za-z])")
"""What names of objects end in, made of hosts."""
_WORD = re.compile(r"[A-Za-z0-9+/_=-]{28,}")
_V4 = re.compile(r"(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w.-])")
_V6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f:.]{2,45}(?![\w:]))[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:[\d.]{7,15})?"
)
_NAME = re.compile(r"(?<![\w.@-])(?:\*\.)?[A-Za-z0-9_](?:[\w-]{0,62})(?:\.[A-Za-z0-9_][\w-]{0,62})+")
_ADDED = re.compile(r"(.+)(-[0-9a-f]{10}-tls)")
"""How Secrets are called that certjob has named after their first host."""
_TOP = re.compile(r"[a-z]{2,24}|xn--[a-z0-9-]{1,59}")
_FILES = frozenset({"crt", "jks", "json", "key", "log", "md", "p12", "pem", "py", "sh", "txt", "yaml", "yml"})
_KNOWN = (
    "cert-manager.io",
    "certjob.io",
    "cluster.local",
    "coreos.com",
    "digicert.com",
    "googleapis.com",
    "k8s.io",
    "kubernetes.io",
    "letsencrypt.org",
    "pki.goog",
    "svc",
    "traefik.io",
    "zerossl.com",
)
"""Whose names tell nothing of whoever runs certjob."""


@dataclass(frozen=True)
class BundleScrubber:
    """`hosts` are known to be such; what looks like one is taken for one, too."""

    key: bytes
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, key: bytes, hosts: Iterable[str]) -> BundleScrubber:
        """For these hosts."""
        return cls(key, frozenset(normalize(host).removeprefix("*.") for host in hosts))

    def text(self, text: str) -> str:
        """The text without all that."""
        text = _PEM.sub("[PEM]", text)
        text = _MAIL.sub("[mail]", text)
        text = _HEX.sub("[hex]", text)
        text = _WORD.sub(lambda found: "[token]" if _is_token(found[0]) else found[0], text)
        text = _V6.sub(lambda found: self._address(found[0]), text)
        text = _V4.sub(lambda found: self._address(found[0]), text)
        text = _NAME.sub(lambda found: self._name(found[0]), text)
        return _SHORT.sub(lambda found: self._digest(found[0]), text)

    def _name(self, name: str, *, guessing: bool = True) -> str:
        """A name with dots: hashed if it is a host, or a Secret's that is called after one."""
        bare = normalize(name).removeprefix("*.")
        if bare in self.hosts or (guessing and _looks_like_host(bare)):
            return self._hashed(name)
        if (added := _ADDED.fullmatch(bare)) and (added[1] in self.hosts or _looks_like_host(added[1])):
            return self._hashed(added[1]) + added[2]
        for cut in (at for at in range(len(bare) - 1, 0, -1) if bare[at] in "-_"):
            if bare[:cut] in self.hosts:
                return self._hashed(bare[:cut]) + bare[cut:]
        namespace, _, rest = bare.partition(".")  # a record's name
        return f"{namespace}.{self._name(rest, guessing=False)}" if "." in rest else name

    def _hashed(self, name: str) -> str:
        labels = normalize(name).split(".")
        hidden = [
            label
            if label == "*" or (number == len(labels) - 1 and number)
            else self._digest(".".join(labels[number:]))
            for number, label in enumerate(labels)
        ]
        return ".".join(hidden)

    def _address(self, text: str) -> str:
        bare = text.removesuffix(":") if not text.endswith("::") else text
        try:
            address = ip_address(bare)
        except ValueError:
            return text
        kept = address.is_loopback or address.is_unspecified
        return text if kept else f"ip-{self._digest(str(address))}{text[len(bare) :]}"

    def _digest(self, text: str) -> str:
        return "h" + hmac.new(self.key, text.encode(), "sha256").hexdigest()[:8]


def _looks_like_host(name: str) -> bool:
    labels = name.split(".")
    if any("_" in label[1:] for label in labels):  # code
        return False
    if len(labels) < 2 or not _TOP.fullmatch(labels[-1]) or labels[-1] in _FILES:
        return False
    return not any(name == known or name.endswith(f".{known}") for known in _KNOWN)


def _is_token(word: str) -> bool:
    """Nothing that Kubernetes names has capital letters and digits both, and is that long."""
    kinds = (str.isupper, str.islower, str.isdigit)
    return all(any(kind(char) for char in word) for kind in kinds)
