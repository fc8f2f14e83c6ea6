"""Names of certjob's objects: deterministic, within Kubernetes' limits.

What belongs to a certificate record is named by the record's uid, which the API server makes: nobody can aim at it,
as one can at a hash of names. Hashes of fewer than 80 bits stand for what no tenant chooses, or for one tenant's own.
Of the uid a Job's name has the first half: whoever wants another's has the API server make 2^60 records.
"""

from __future__ import annotations

import hashlib
import re

_NAME_MAX = 253
_LABEL_MAX = 63
_JOB_MAX = 57  # what of it is longer the API server leaves out of the pods' names, to which it adds six characters
_UID_PART = 16


def digest(*parts: str, length: int = 10) -> str:
    """The first `length` hex digits of SHA-256 over the parts, each ended by a NUL so that none run together."""
    return hashlib.sha256(b"".join(part.encode() + b"\0" for part in parts)).hexdigest()[:length]


def fit(name: str, limit: int, *, unique: str) -> str:
    """`name` if it fits, else its beginning and a hash of `unique`."""
    if len(name) <= limit:
        return name
    return name[: limit - 11].rstrip("-.") + "-" + digest(unique)


def number(text: str, *, default: int = 0) -> int:
    """A whole number in the name, labels, annotations or data of an object; `default` if people made something else
    of it.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else default


def epoch_of(name: str) -> int:
    """The epoch, in unix seconds, that an object's name ends with; 0 if it has none: as old as can be."""
    return number(name.rpartition("-")[2])


def record(namespace: str, secret_name: str) -> str:
    """ConfigMap of a certificate record: `NAMESPACE.SECRETNAME`. A namespace has no dot, so it is unambiguous."""
    full = f"{namespace}.{secret_name}"
    return fit(full, _NAME_MAX, unique=full)


def old_hash(namespace: str, secret_name: str) -> str:
    """Stood for a record in names until 0.1.0: two tenants can choose names that share it."""
    return digest(namespace, secret_name)


def job(namespace: str, secret_name: str, uid: str, epoch: int) -> str:
    """`<namespace>-<secretName>-<half of the record's uid>-<epoch>`, at most 57 characters, without dots.

    Namespace and Secret have 29 of them: the longer one gives way, the namespace down to half of that. The pods'
    names begin with it, and their tokens say the pod's name: so policies know whose work a token is for.
    """
    tail = f"-{uid.replace('-', '')[:_UID_PART]}-{epoch}"
    room, secret = _JOB_MAX - len(tail), secret_name.replace(".", "-")
    first = namespace[: max(room // 2, room - 1 - len(secret))].rstrip("-")
    return f"{first}-{secret}"[:room].rstrip("-") + tail


def label(name: str) -> str:
    """A name as the value of a label: cut, if it is longer than one may be."""
    return fit(name, _LABEL_MAX, unique=name)


def check_job(issuer: str, epoch: int) -> str:
    """`check-<issuer, cut>-<hash>-<epoch>`, at most 57 characters."""
    tail = f"-{digest(issuer)}-{epoch}"
    return f"check-{issuer}"[: _JOB_MAX - len(tail)].rstrip("-") + tail


def challenge(uid: str, epoch: int) -> str:
    """ConfigMap with the key authorizations of one attempt of the record with that uid."""
    return f"challenge-{uid}-{epoch}"


def pending_key(uid: str, epoch: int) -> str:
    """Secret with the key that one attempt's order is finalized with. `uid` is the record's, or its old hash."""
    return f"pending-{uid}-{epoch}"


def dns_trace(uid: str) -> str:
    """ConfigMap with the TXT records that the attempts of the record with that uid have put into DNS."""
    return f"dns-{uid}"


def route(class_id: str, host: str) -> str:
    """Challenge route of one host in one Ingress class; `class_id` says which, and whether by field or annotation."""
    return f"route-{digest(class_id, host, length=20)}"


def claim(host: str) -> str:
    """ConfigMap that says which namespace holds a host."""
    return f"claim-{digest(host, length=32)}"


def claim_parent(host: str) -> str:
    """Stands for the domain directly above a host, the same for a wildcard as for what it covers."""
    return digest(host.partition(".")[2], length=32)


def revocation(namespace: str, secret_name: str, which: str) -> str:
    """ConfigMap of one revocation; `which` is the certificate's serial number, or tells one request from others."""
    return f"revocation-{digest(namespace, secret_name, which, length=32)}"


def directory_hash(server: str) -> str:
    """Ten hex digits that stand for an ACME directory URL."""
    return digest(server)


def account(issuer: str, server: str, number: int) -> str:
    """Secret with an issuer's account key at one directory."""
    return fit(f"account-{issuer}", 200, unique=issuer) + f"-{directory_hash(server)}-{number}"


def issuer_state(issuer: str, server: str) -> str:
    """ConfigMap with what is known of an issuer's account at one directory."""
    return fit(f"issuer-state-{issuer}", 200, unique=issuer) + f"-{directory_hash(server)}"


def credentials(issuer: str) -> str:
    """Secret with an issuer's DNS and EAB credentials, made by the operator."""
    return f"credentials-{issuer}"


def added_secret(hosts: tuple[str, ...], wanted: str) -> str:
    """secretName of the spec.tls entry that certjob adds: `<first host>-<hash>-tls`; `wanted` stands for the intent.

    All that want the same in a namespace share one, and nobody else's Secret is called so by chance.
    """
    tail = f"-{digest(*sorted(hosts), wanted)}-tls"
    first = min(hosts, key=lambda host: (host.startswith("*."), host)).replace("*", "wildcard")
    return first[: _NAME_MAX - len(tail)].rstrip("-.") + tail


def event(object_name: str, *unique: str) -> str:
    """Deterministic name of an Event, so that writing it twice is a 409."""
    return fit(object_name, 230, unique=object_name) + "." + digest(*unique, length=16)


ISSUER_NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
"""Of an issuer's ConfigMap: it becomes part of others' names."""
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def is_dns_subdomain(name: str) -> bool:
    """Whether Kubernetes takes `name` for a Secret (RFC 1123 subdomain, at most 253 characters)."""
    return len(name) <= _NAME_MAX and _SUBDOMAIN.fullmatch(name) is not None


def is_issuer_name(name: str) -> bool:
    """Whether a ConfigMap of this name can be an issuer."""
    return re.fullmatch(ISSUER_NAME, name) is not None
