"""What is wrong with an issuer's configuration beyond its types. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from urllib.parse import urlsplit

from certs.duration import parse_duration
from certs.errors import CertError
from certs.hostnames import HostReason, check_host
from issuer_job import names
from issuer_job.issuers.schema import DATA_KEY, Dns01, Issuer, Solver, nameserver
from issuer_job.issuers.solvers import CLASS

MAX_PROPAGATION = timedelta(minutes=4)
"""The Job has four and a half minutes for everything."""
MAX_CONTACTS = 10
MAX_TEXT = 1000
PEM_BEGIN = "-----BEGIN CERTIFICATE-----"
FOR_WHOM = frozenset({"allowedNamespaces", "allowedHosts", "ingressClasses", "dnsNames", "dnsZones"})
_SECRET_WORD = re.compile(r"(^|_)(token|password|passwd|passphrase|secret|private_key|keyring)(_|$)")
_ANNOTATION = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?")

PathProblem = tuple[str, str]
"""What is wrong, and the path of the field."""


def empty_list_problems(given: Mapping[str, object]) -> Iterator[PathProblem]:
    """Lists that say for whom something is, written out and empty: of the document as it was `given`.

    They would stand for everybody, where a template that has rendered nothing meant somebody.
    """
    for path, part in _parts_with_lists(given):
        for name in FOR_WHOM & part.keys():
            if part[name] == []:
                yield "it is empty: leave it out if everybody is meant", f"{path}.{name}"


def _parts_with_lists(given: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    yield "$", given
    solvers = given.get("solvers")
    for number, solver in enumerate(solvers if isinstance(solvers, list) else ()):
        if isinstance(solver, dict) and isinstance(selector := solver.get("selector"), dict):
            yield f"$.solvers[{number}].selector", selector


def common_problems(issuer: Issuer, name: str) -> Iterator[PathProblem]:
    """In the fields that issuers of every type may have; `name` is the issuer's own."""
    yield from _bundle_problems(issuer)
    if issuer.lifetime:
        yield from _duration_problems(issuer.lifetime, "$.lifetime")
    for number, pattern in enumerate(issuer.allowed_namespaces):
        if not re.fullmatch(r"[-a-z0-9*?\[\]!]{1,63}", pattern):
            yield f"{pattern[:63]!r} matches no namespace", f"$.allowedNamespaces[{number}]"
    yield from _class_problems(issuer.ingress_classes, "$.ingressClasses")
    yield from _fallback_problems(issuer, name)


def acme_problems(issuer: Issuer) -> Iterator[PathProblem]:
    """In the fields that only issuers of type acme have."""
    if issuer.server and not _is_https_url(issuer.server):
        yield "server must be an https URL of an ACME directory", "$.server"
    yield from _account_problems(issuer)
    yield from _text_problems(issuer)
    for number, solver in enumerate(issuer.solvers):
        yield from _solver_problems(solver, f"$.solvers[{number}]")
    for key, value in issuer.route_annotations.items():
        yield from _annotation_problems(key, value, f"$.routeAnnotations.{key[:100]}")


def _is_https_url(server: str) -> bool:
    try:
        url = urlsplit(server)
        wrong = url.scheme != "https" or not url.hostname or url.username or url.fragment or url.port == 0
    except ValueError:
        return False
    return not wrong and server.isascii() and not any(c.isspace() for c in server)


def _account_problems(issuer: Issuer) -> Iterator[PathProblem]:
    if len(issuer.contacts) > MAX_CONTACTS:
        yield f"there are more than {MAX_CONTACTS} addresses", "$.email"
    for contact in issuer.contacts:
        if contact.startswith("mailto:"):
            yield f"{contact[:100]!r}: leave out mailto:", "$.email"
        elif not _is_address(contact):
            yield f"{contact[:100]!r} is not a mail address", "$.email"
    if issuer.existing_account_key and not _whole(DATA_KEY, issuer.existing_account_key):
        yield f"{issuer.existing_account_key[:63]!r} cannot be a key of a Secret", "$.existingAccountKey"


def _bundle_problems(issuer: Issuer) -> Iterator[PathProblem]:
    if issuer.ca_bundle and PEM_BEGIN not in issuer.ca_bundle:
        yield "caBundle holds no PEM certificate", "$.caBundle"
    if issuer.ca_bundle and issuer.ca_bundle_key:
        yield "caBundle is given, too", "$.caBundleKey"
    if issuer.ca_bundle_key and not _whole(DATA_KEY, issuer.ca_bundle_key):
        yield f"{issuer.ca_bundle_key[:63]!r} cannot be a key of a ConfigMap", "$.caBundleKey"


def _is_address(contact: str) -> bool:
    """One address without header fields (RFC 8555, section 7.3), which is all that CAs take."""
    local, at, domain = contact.partition("@")
    whole = bool(local and at and "." in domain.strip(".")) and contact.isascii() and contact.isprintable()
    return whole and "@" not in domain and not any(c in contact for c in ' ?<>"')


def _text_problems(issuer: Issuer) -> Iterator[PathProblem]:
    if not issuer.profile.isprintable() or " " in issuer.profile:
        yield f"{issuer.profile!r} cannot be the name of a profile", "$.profile"
    if not issuer.preferred_chain.isprintable():
        yield f"{issuer.preferred_chain!r} cannot be a common name", "$.preferredChain"
    if issuer.external_account is not None and not issuer.external_account.key_id.strip().isprintable():
        yield "it has characters that no key identifier has", "$.externalAccount.keyId"


def _fallback_problems(issuer: Issuer, name: str) -> Iterator[PathProblem]:
    if issuer.fallback is None:
        return
    if not names.is_issuer_name(issuer.fallback.issuer):
        yield f"{issuer.fallback.issuer[:63]!r} cannot be the name of an issuer", "$.fallback.issuer"
    elif issuer.fallback.issuer == name:
        yield "an issuer cannot be its own fallback", "$.fallback.issuer"
    yield from _duration_problems(issuer.fallback.after, "$.fallback.after")


def _solver_problems(solver: Solver, path: str) -> Iterator[PathProblem]:
    if (solver.http01 is None) is (solver.dns01 is None):
        yield "a solver has exactly one of http01 and dns01", path
    for number, name in enumerate(solver.selector.dns_names):
        at = f"{path}.selector.dnsNames[{number}]"
        if (wrong := _wrong_name(name.removeprefix("*."))) is not None:
            yield f"{name[:100]!r} is not a host name{wrong}", at
        elif name.startswith("*.") and solver.dns01 is None:
            yield f"{name[:100]!r} is a wildcard, which needs dns01", at
    for number, zone in enumerate(solver.selector.dns_zones):
        yield from _zone_problems(zone, f"{path}.selector.dnsZones[{number}]")
    yield from _class_problems(solver.selector.ingress_classes, f"{path}.selector.ingressClasses")
    if solver.http01 is not None and not _whole(CLASS, solver.http01.ingress_class):
        yield f"{solver.http01.ingress_class[:63]!r} is no Ingress class", f"{path}.http01.ingressClass"
    if solver.dns01 is not None:
        yield from _dns01_problems(solver.dns01, f"{path}.dns01")


def _dns01_problems(dns01: Dns01, path: str) -> Iterator[PathProblem]:
    if not re.fullmatch(r"[a-z0-9][-a-z0-9]*", dns01.provider):
        yield f"{dns01.provider!r} is no provider: their names are in lower case", f"{path}.provider"
    for option, value in dns01.options.items():
        yield from _option_problems(option, value, f"{path}.options.{option[:100]}")
    if dns01.zone:
        yield from _zone_problems(dns01.zone, f"{path}.zone")
    for number, zone in enumerate(dns01.alias_zones):
        yield from _zone_problems(zone, f"{path}.aliasZones[{number}]")
    for number, server in enumerate(dns01.nameservers):
        try:
            nameserver(server)
        except ValueError:
            yield f"{server[:100]!r} is no IP address, nor one with a port", f"{path}.nameservers[{number}]"
    wrong = list(_duration_problems(dns01.propagation_timeout, f"{path}.propagationTimeout"))
    if not wrong and dns01.patience > MAX_PROPAGATION:
        wrong = [(f"{dns01.propagation_timeout[:40]} is longer than 4m", f"{path}.propagationTimeout")]
    yield from wrong


def _option_problems(option: str, value: str | int | bool, path: str) -> Iterator[PathProblem]:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", option):
        yield f"{option[:100]!r} is no option: their names are as auth_username", path
    elif _SECRET_WORD.search(option):
        yield f"{option} is a secret: it belongs in Secret credentials-ISSUER", path
    elif isinstance(value, str) and len(value) > MAX_TEXT:
        yield f"it is longer than {MAX_TEXT} characters", path


def _annotation_problems(key: str, value: str, path: str) -> Iterator[PathProblem]:
    if not _ANNOTATION.fullmatch(key):
        yield f"{key[:100]!r} cannot be an annotation", path
    elif key.partition("/")[0].endswith("certjob.io") or key == "kubernetes.io/ingress.class":
        yield f"{key[:100]!r} is certjob's own to set", path
    elif len(value) > MAX_TEXT or "\n" in value:
        yield f"its value is longer than one line of {MAX_TEXT} characters", path


def _class_problems(classes: Iterable[str], path: str) -> Iterator[PathProblem]:
    for number, name in enumerate(classes):
        if not _whole(CLASS, name):
            yield f"{name[:63]!r} is no Ingress class", f"{path}[{number}]"


def _zone_problems(zone: str, path: str) -> Iterator[PathProblem]:
    if (wrong := _wrong_name(zone)) is not None:
        hint = ", a zone has all names below it" if zone.startswith("*.") else wrong
        yield f"{zone[:100]!r} is not the name of a zone{hint}", path


def _duration_problems(text: str, path: str) -> Iterator[PathProblem]:
    try:
        parse_duration(text)
    except CertError as problem:
        yield str(problem), path


def _wrong_name(name: str) -> str | None:
    """A hint if it is no DNS name, else None. A single label will do: `internal` can be a zone."""
    problem = check_host(name, allow_wildcard=False, private_suffixes=())
    if problem is None or problem.reason is HostReason.SINGLE_LABEL:
        return None
    return ", write it in Punycode (xn--...)" if name and not name.isascii() else ""


def _whole(pattern: str, text: str) -> bool:
    """Unlike with `search`, a newline at the end is no part of the match."""
    return re.fullmatch(pattern, text) is not None and not text.endswith("\n")
