"""What can be wrong with an issuer that no schema shows, whatever its type. One function for each question.

They look at the issuer, at what is mounted of its credentials, and at the ConfigMaps beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from issuer_job import vocabulary as v
from issuer_job.attempt.findings import CheckReason, Finding, MountedIssuer
from issuer_job.cluster.api import CONFIGMAPS
from issuer_job.issuers.load import IssuerError, is_issuer, parse_issuer
from issuer_job.issuers.options import HostPolicy, OptionsError, read_options
from issuer_job.issuers.schema import PathType, Solver
from issuer_job.record.renewal import too_short

MAX_FALLBACKS = 10

Question = Callable[[MountedIssuer], Iterator[Finding]]


def dns_providers_are_known(mounted: MountedIssuer) -> Iterator[Finding]:
    if not any(solver.dns01 for solver in mounted.issuer.solvers):
        return
    from issuer_job.dns01.providers import registry  # a quarter of a second, for those who use it

    for number, solver in enumerate(mounted.issuer.solvers):
        if solver.dns01 is not None:
            path = f"$.solvers[{number}].dns01"
            for what, where in registry.check(solver.dns01, mounted.keys, path=path):
                yield Finding(reason=CheckReason.DNS, message=f"{what} ({mounted.secret_or_none})", path=where)


def solvers_are_of_use(mounted: MountedIssuer) -> Iterator[Finding]:
    """Warnings: two solvers for the same hosts, or one for classes that may not use the issuer."""
    issuer, seen = mounted.issuer, dict[object, int]()
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


def somebody_says_who_may_have_which_host(mounted: MountedIssuer) -> Iterator[Finding]:
    """A warning: over DNS a CA learns that the operator has the zone, and nothing of the tenant."""
    issuer = mounted.issuer
    if issuer.allowed_hosts or issuer.allowed_namespaces:
        return
    open_to_all = [
        number
        for number, solver in enumerate(issuer.solvers)
        if solver.dns01 and not (solver.selector.dns_names or solver.selector.dns_zones)
    ]
    if not open_to_all or _is_listed(mounted):
        return
    what = "every namespace may have every host of the provider's zones that no other has: set allowedHosts"
    for number in open_to_all:
        yield _solver_warning(what, f"$.solvers[{number}]")


def _is_listed(mounted: MountedIssuer) -> bool:
    try:
        return read_options(mounted.attempt.cluster).host_policy is HostPolicy.ALLOW_LIST
    except OptionsError:
        return True  # nothing is launched


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


def fallback_exists(mounted: MountedIssuer) -> Iterator[Finding]:
    """The fallback, and its fallback, and so on: each an issuer, and none of them this one again."""
    issuer, seen = mounted.issuer, [mounted.name]
    while issuer.fallback is not None and len(seen) < MAX_FALLBACKS:
        name = issuer.fallback.issuer
        if name in seen:
            what = f"it goes round in a circle: {', '.join([*seen, name])}"
            yield Finding(reason=CheckReason.FALLBACK, message=what, path="$.fallback.issuer", warning=True)
            return
        seen.append(name)
        found = mounted.attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, name)
        if found is None or not is_issuer(found):
            what = f"there is no issuer {name}"
            yield Finding(reason=CheckReason.FALLBACK, message=what, path="$.fallback.issuer")
            return
        try:
            issuer = parse_issuer(found)
        except IssuerError as problem:
            yield Finding(reason=CheckReason.FALLBACK, message=str(problem), path="$.fallback.issuer")
            return


def route_settings_are_allowed(mounted: MountedIssuer) -> Iterator[Finding]:
    """What an issuer asks of challenge routes beyond the fixed annotations, the operator allows in a ConfigMap."""
    issuer = mounted.issuer
    plain = issuer.path_type is PathType.PREFIX
    if plain and not issuer.route_annotations:
        return
    data = (mounted.attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, v.ROUTE_POLICY) or {}).get("data") or {}
    allowed = data.get("annotations", "").split("\n")
    for key, value in issuer.route_annotations.items():
        if f"{key}={value}" not in allowed and v.ROUTE_ANNOTATIONS.get(key) != value:
            what = f"ConfigMap {v.ROUTE_POLICY} does not have the line {key}={value} in annotations"
            yield Finding(reason=CheckReason.ROUTES, message=what, path=f"$.routeAnnotations.{key}")
    if not plain and str(issuer.path_type) not in data.get("pathTypes", "").split("\n"):
        what = f"ConfigMap {v.ROUTE_POLICY} does not have the line {issuer.path_type} in pathTypes"
        yield Finding(reason=CheckReason.ROUTES, message=what, path="$.pathType")


def certificates_live_long_enough(mounted: MountedIssuer) -> Iterator[Finding]:
    """A warning: what it asks for, or what came of the like before, is too short for the sweeps."""
    issuer, state = mounted.issuer, mounted.former_state
    life = state.life_of(issuer, issuer.profile)
    wrong = "" if life is None else too_short(life, state.interval)
    if wrong:
        path = "$.lifetime" if issuer.lifetime else "$.profile" if issuer.profile else "$"
        yield Finding(reason=CheckReason.LIFE, message=wrong, path=path, warning=True)


QUESTIONS: tuple[Question, ...] = (
    dns_providers_are_known,
    solvers_are_of_use,
    somebody_says_who_may_have_which_host,
    fallback_exists,
    route_settings_are_allowed,
    certificates_live_long_enough,
)
"""All of them, in the order in which their findings are told, faults first. Of a field that a type lacks none is."""
