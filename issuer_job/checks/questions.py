"""What can be wrong with an issuer that no schema shows. One function for each question; none asks the CA.

They look at the issuer, at what is mounted of its credentials, and at the ConfigMaps beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from certs.errors import CertError
from certs.signing import read_authority
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.account import account
from issuer_job.account.keys import read_existing
from issuer_job.acme_client.keys import decode_hmac_key
from issuer_job.acme_client.transport import tls_context
from issuer_job.attempt.attempt import Attempt
from issuer_job.cluster.api import CONFIGMAPS
from issuer_job.issue.sign import CA_CERTIFICATE, CA_KEY
from issuer_job.issuers.load import IssuerError, is_issuer, parse_issuer
from issuer_job.issuers.schema import Issuer, PathType, Solver
from issuer_job.issuers.state import TAKEN_OVER, IssuerState, load_state
from issuer_job.issuers.types import CA, directory_of

MAX_FALLBACKS = 10


class CheckReason(StrEnum):
    """Why an issuer is not ready, or may be not what was meant."""

    BROKEN = "Broken"
    BUNDLE = "BundleUnreadable"
    EAB = "ExternalAccountKey"
    EXISTING_KEY = "ExistingAccountKey"
    DNS = "DnsProvider"
    SOLVERS = "Solvers"
    FALLBACK = "Fallback"
    ROUTES = "RouteNotAllowed"
    AUTHORITY = "AuthorityUnusable"
    UNREACHABLE = "DirectoryUnreachable"
    EAB_NEEDED = "ExternalAccountNeeded"
    EAB_REFUSED = "ExternalAccountRefused"
    TERMS = "TermsNotAccepted"
    CONTACT = "ContactRefused"
    ACCOUNT = "AccountUnusable"
    PROFILE = "ProfileNotOffered"
    ROLLOVER = "RolloverFailed"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong, and the path of the field. A `warning` keeps no issuer from working."""

    reason: CheckReason
    message: str
    path: str = "$"
    warning: bool = False


@dataclass(frozen=True)
class Context:
    """The issuer under test, in the pod that has its credentials mounted."""

    attempt: Attempt
    name: str
    issuer: Issuer

    @property
    def keys(self) -> frozenset[str]:
        """Names of the keys in the issuer's credentials; a Secret volume also has hidden entries of the kubelet's."""
        directory = self.attempt.mounts / "credentials"
        if not directory.is_dir():
            return frozenset()
        return frozenset(entry.name for entry in directory.iterdir() if not entry.name.startswith(".."))

    @property
    def now(self) -> datetime:
        return self.attempt.clock()

    @property
    def state(self) -> IssuerState:
        """What is known of its account now."""
        return load_state(self.attempt.cluster, self.name, directory_of(self.issuer))

    def credential(self, key: str) -> bytes | None:
        return self.attempt.mounted("credentials", key)

    @property
    def secret(self) -> str:
        """For messages: the Secret with the credentials, and whether it is there at all."""
        name = f"Secret {names.credentials(self.name)} in namespace {v.NAMESPACE}"
        return name if self.keys else f"{name}, which is not there or is empty"


Check = Callable[[Context], Iterator[Finding]]


def bundle_is_readable(context: Context) -> Iterator[Finding]:
    issuer = context.issuer
    if issuer.ca_bundle:
        try:
            tls_context(issuer.ca_bundle.encode())
        except ValueError as problem:
            path = "$.caBundleKey" if issuer.ca_bundle_key else "$.caBundle"
            yield Finding(reason=CheckReason.BUNDLE, message=str(problem), path=path)


def external_account_key_is_there(context: Context) -> Iterator[Finding]:
    """Once there is an account it is needed no more; CAs let it end."""
    if context.issuer.external_account is None:
        return
    try:
        key = account.read_eab(context.issuer, context.name, context.credential(account.EAB_HMAC_KEY))
        if key is not None:
            decode_hmac_key(key.hmac_key)
    except ValueError as problem:
        what, made = f"{problem}: see {context.secret}", bool(context.state.account_url)
        yield Finding(reason=CheckReason.EAB, message=what, path="$.externalAccount", warning=made)


def existing_account_key_is_usable(context: Context) -> Iterator[Finding]:
    name = context.issuer.existing_account_key
    if not name:
        return
    found = context.credential(name)
    if found is None and context.state.data.get(TAKEN_OVER):
        return  # it was taken over, and is needed no more
    try:
        read_existing(found, context.name, name)
    except ValueError as problem:
        yield Finding(reason=CheckReason.EXISTING_KEY, message=str(problem), path="$.existingAccountKey")


def dns_providers_are_known(context: Context) -> Iterator[Finding]:
    if not any(solver.dns01 for solver in context.issuer.solvers):
        return
    from issuer_job.dns01.providers import registry  # a quarter of a second, for those who use it

    for number, solver in enumerate(context.issuer.solvers):
        if solver.dns01 is not None:
            path = f"$.solvers[{number}].dns01"
            for what, where in registry.check(solver.dns01, context.keys, path=path):
                yield Finding(reason=CheckReason.DNS, message=f"{what} ({context.secret})", path=where)


def solvers_are_of_use(context: Context) -> Iterator[Finding]:
    """Warnings: two solvers for the same hosts, or one for classes that may not use the issuer."""
    issuer, seen = context.issuer, dict[object, int]()
    for number, solver in enumerate(issuer.solvers):
        path = f"$.solvers[{number}]"
        first = seen.setdefault(solver.selector, number)
        same_kind = (issuer.solvers[first].dns01 is None) is (solver.dns01 is None)
        if first != number and same_kind:
            yield _solver_warning(f"it is never used: solver {first} has the same selector", f"{path}.selector")
        for index, name in enumerate(solver.selector.ingress_classes):
            if not issuer.allows_class(name):
                at = f"{path}.selector.ingressClasses[{index}]"
                yield _solver_warning(f"class {name!r} is not among the issuer's ingressClasses", at)
        yield from _zone_warnings(solver, path)


def _zone_warnings(solver: Solver, path: str) -> Iterator[Finding]:
    zone = solver.dns01.zone if solver.dns01 else ""
    if not zone:
        return
    for index, name in enumerate(solver.selector.dns_zones):
        if name != zone and not name.endswith(f".{zone}") and not zone.endswith(f".{name}"):
            at = f"{path}.selector.dnsZones[{index}]"
            yield _solver_warning(f"{name} is not in the zone {zone}, which the records are put into", at)


def _solver_warning(what: str, path: str) -> Finding:
    return Finding(reason=CheckReason.SOLVERS, message=what, path=path, warning=True)


def fallback_exists(context: Context) -> Iterator[Finding]:
    """The fallback, and its fallback, and so on: each an issuer, and none of them this one again."""
    issuer, seen = context.issuer, [context.name]
    while issuer.fallback is not None and len(seen) < MAX_FALLBACKS:
        name = issuer.fallback.issuer
        if name in seen:
            what = f"it goes round in a circle: {', '.join([*seen, name])}"
            yield Finding(reason=CheckReason.FALLBACK, message=what, path="$.fallback.issuer", warning=True)
            return
        seen.append(name)
        found = context.attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, name)
        if found is None or not is_issuer(found):
            what = f"there is no issuer {name}"
            yield Finding(reason=CheckReason.FALLBACK, message=what, path="$.fallback.issuer")
            return
        try:
            issuer = parse_issuer(found)
        except IssuerError as problem:
            yield Finding(reason=CheckReason.FALLBACK, message=str(problem), path="$.fallback.issuer")
            return


def route_settings_are_allowed(context: Context) -> Iterator[Finding]:
    """What an issuer asks of challenge routes beyond the fixed annotations, the operator allows in a ConfigMap."""
    issuer = context.issuer
    plain = issuer.path_type is PathType.PREFIX
    if plain and not issuer.route_annotations:
        return
    data = (context.attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, v.ROUTE_POLICY) or {}).get("data") or {}
    allowed = data.get("annotations", "").split("\n")
    for key, value in issuer.route_annotations.items():
        if f"{key}={value}" not in allowed and v.ROUTE_ANNOTATIONS.get(key) != value:
            what = f"ConfigMap {v.ROUTE_POLICY} does not have the line {key}={value} in annotations"
            yield Finding(reason=CheckReason.ROUTES, message=what, path=f"$.routeAnnotations.{key}")
    if not plain and str(issuer.path_type) not in data.get("pathTypes", "").split("\n"):
        what = f"ConfigMap {v.ROUTE_POLICY} does not have the line {issuer.path_type} in pathTypes"
        yield Finding(reason=CheckReason.ROUTES, message=what, path="$.pathType")


def authority_can_sign(context: Context) -> Iterator[Finding]:
    if context.issuer.type != CA.name:
        return
    certificate, key = context.credential(CA_CERTIFICATE), context.credential(CA_KEY)
    missing = [name for name, found in ((CA_CERTIFICATE, certificate), (CA_KEY, key)) if found is None]
    if certificate is None or key is None:
        what = f"there is no key {' and no key '.join(missing)} in {context.secret}"
        yield Finding(reason=CheckReason.AUTHORITY, message=what, path="$.type")
        return
    try:
        authority = read_authority(certificate, key, now=context.now)
    except CertError as problem:
        yield Finding(reason=CheckReason.AUTHORITY, message=f"{problem} ({context.secret})", path="$.type")
        return
    lifetime = context.issuer.wanted_lifetime
    if lifetime is not None and context.now + lifetime > authority.not_after:
        what = f"the CA itself ends at {authority.not_after:%Y-%m-%d %H:%M} UTC: certificates cannot live longer"
        yield Finding(reason=CheckReason.AUTHORITY, message=what, path="$.lifetime", warning=True)


CHECKS: tuple[Check, ...] = (
    bundle_is_readable,
    external_account_key_is_there,
    existing_account_key_is_usable,
    dns_providers_are_known,
    solvers_are_of_use,
    fallback_exists,
    route_settings_are_allowed,
    authority_can_sign,
)
"""All of them, in the order in which their findings are told. What only ACME issuers have finds nothing in others."""
NO_CA = frozenset({CheckReason.BUNDLE, CheckReason.EAB, CheckReason.EXISTING_KEY})
"""With these the CA need not be asked: there is nothing to ask it with."""
