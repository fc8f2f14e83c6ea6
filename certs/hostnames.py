"""Which host names a public CA can certify, and which names of a certificate cover which host."""

import ipaddress
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_NAME = 253
MAX_LABEL = 63

PRIVATE_SUFFIXES = frozenset(
    {
        # RFC 6761 and RFC 2606
        "test",
        "localhost",
        "invalid",
        "example",
        "example.com",
        "example.net",
        "example.org",
        "local",  # RFC 6762
        "onion",  # RFC 7686
        "home.arpa",  # RFC 8375
        "in-addr.arpa",
        "ip6.arpa",
        "alt",  # RFC 9476
        "internal",  # reserved by ICANN in 2024
        # Never to be delegated (ICANN), and in wide private use (RFC 6762, appendix G)
        "corp",
        "home",
        "mail",
        "intranet",
        "lan",
        "private",
    }
)
"""Names that nobody can prove to a public CA. An issuer with a private CA takes its own out of this set."""

_LABEL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class HostReason(StrEnum):
    """Why a host cannot be certified."""

    EMPTY = "Empty"
    TOO_LONG = "TooLong"
    IP_ADDRESS = "IPAddress"
    BAD_CHARACTER = "BadCharacter"
    UNDERSCORE = "Underscore"
    BAD_LABEL = "BadLabel"
    BAD_PUNYCODE = "BadPunycode"
    MISPLACED_WILDCARD = "MisplacedWildcard"
    WILDCARD_NOT_ALLOWED = "WildcardNotAllowed"
    SINGLE_LABEL = "SingleLabel"
    NUMERIC_TLD = "NumericTLD"
    PRIVATE_NAME = "PrivateName"


@dataclass(frozen=True)
class HostProblem:
    """A host that cannot be certified: a reason for machines, and one sentence of at most 120 characters."""

    host: str
    reason: HostReason
    message: str


def normalize(host: str) -> str:
    """The host in lower case (ASCII letters only) and without one trailing dot."""
    lowered = host.lower() if host.isascii() else host
    return lowered.removesuffix(".")


def check_host(
    host: str, *, allow_wildcard: bool, private_suffixes: Collection[str] = PRIVATE_SUFFIXES
) -> HostProblem | None:
    """What keeps a CA from certifying this host; None if nothing does.

    Expects the form that `normalize` gives: labels as in RFC 1123, at most 63 characters each and 253 together.
    """
    found = _spelling(host) or _wildcard(host, allow_wildcard) or _place(host, private_suffixes)
    if found is None:
        return None
    reason, clause = found
    return HostProblem(host=host, reason=reason, message=f"{_shown(host)} {clause}.")


def covers(names: Collection[str], host: str) -> bool:
    """Whether a certificate with these DNS names is good for the host (RFC 9525, section 6.3).

    A wildcard stands for exactly one whole left-most label. A wildcard host is covered by itself only.
    """
    wanted = normalize(host)
    have = {normalize(name) for name in names}
    if wanted in have:
        return True
    label, _, parent = wanted.partition(".")
    return bool(label and parent) and not _is_ip(wanted) and f"*.{parent}" in have


def without_redundant(hosts: Iterable[str]) -> tuple[str, ...]:
    """Those of the hosts (normalized) that no wildcard among them covers: what a certificate for all has to name.

    CAs refuse an order that names both (Let's Encrypt: "redundant with a wildcard domain in the same request").
    """
    wanted = dict.fromkeys(hosts)
    return tuple(host for host in wanted if host.startswith("*.") or f"*.{host.partition('.')[2]}" not in wanted)


def first_few(hosts: Sequence[str]) -> str:
    """The first three for a message, and how many more there are."""
    first = ", ".join(hosts[:3])
    return first if len(hosts) <= 3 else f"{first} and {len(hosts) - 3} more"


_Finding = tuple[HostReason, str]


def _spelling(host: str) -> _Finding | None:
    if not host:
        return HostReason.EMPTY, "is not a host name"
    if len(host) > MAX_NAME:
        return HostReason.TOO_LONG, f"is longer than {MAX_NAME} characters"
    if _is_ip(host):
        return HostReason.IP_ADDRESS, "is an IP address, not a host name"
    if "_" in host:
        return HostReason.UNDERSCORE, "has an underscore, which no certificate may have"
    for label in host.split("."):
        if label != "*" and (found := _label(label)):
            return found
    return None


def _label(label: str) -> _Finding | None:
    if not label:
        return HostReason.BAD_LABEL, "has an empty label"
    if len(label) > MAX_LABEL:
        return HostReason.TOO_LONG, f"has a label longer than {MAX_LABEL} characters"
    if "*" in label:
        return HostReason.MISPLACED_WILDCARD, "has a wildcard that is not the whole first label"
    if not _LABEL_CHARACTERS.issuperset(label):
        return HostReason.BAD_CHARACTER, "has characters other than a-z, 0-9, hyphen and dot"
    if label.startswith("-") or label.endswith("-"):
        return HostReason.BAD_LABEL, "has a label that begins or ends with a hyphen"
    if label[2:4] == "--" and not _is_a_label(label):
        return HostReason.BAD_PUNYCODE, "has a label with -- that is not valid punycode"
    return None


def _wildcard(host: str, allowed: bool) -> _Finding | None:
    if "*" not in host:
        return None
    if not host.startswith("*.") or "*" in host[1:]:
        return HostReason.MISPLACED_WILDCARD, "has a wildcard that is not the whole first label"
    if not allowed:
        return HostReason.WILDCARD_NOT_ALLOWED, "is a wildcard, which needs an issuer with a DNS-01 solver"
    return None


def _place(host: str, private_suffixes: Collection[str]) -> _Finding | None:
    labels = host.removeprefix("*.").split(".")
    if labels[-1].isdigit():
        return HostReason.NUMERIC_TLD, "ends in a number"
    # Before the single label, so that "localhost" is named for what it is.
    for start in range(len(labels)):
        if (suffix := ".".join(labels[start:])) in private_suffixes:
            return HostReason.PRIVATE_NAME, f"is a private name (.{suffix}), which no public CA certifies"
    if len(labels) == 1:
        return HostReason.SINGLE_LABEL, "has no domain"
    return None


def _is_a_label(label: str) -> bool:
    """Only the shape of an A-label (RFC 5890): it decodes, and encodes back to the same."""
    body = label.removeprefix("xn--")
    if body == label:
        return False
    try:
        return body.encode("ascii").decode("punycode").encode("punycode").decode("ascii") == body
    except UnicodeError:
        return False


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _shown(host: str) -> str:
    """The host for a message: printable ASCII and short, whatever a tenant wrote."""
    plain = host if host.isascii() and host.isprintable() else ascii(host)[1:-1]
    return f'"{plain}"' if len(plain) <= 48 else f'"{plain[:22]}...{plain[-22:]}"'
