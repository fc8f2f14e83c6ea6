"""What users are told, and records keep, of a write that was refused. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from issuer_job.cluster.refusals import RefusedBy, exempt, refusal
from issuer_job.record.record import Problem

_TYPES = {RefusedBy.QUOTA: "quotaExceeded", RefusedBy.NAMESPACE: "namespaceTerminating"}
REFUSALS = frozenset({*_TYPES.values(), "writeRefused", "secretRefused", "foreignMetadata"})
"""Types of problems whose text has the words of who refused."""
_OBJECTS = {
    "ingresses": "a challenge route",
    "jobs": "its Job",
    "configmaps": "a ConfigMap",
    "leases": "a Lease",
    "secrets": "a Secret",
}
_ROUTE = (
    ", or see that the issuer's `pathType` and `routeAnnotations` are what it wants; if it wants each host "
    "only once, the option `routes: job` may help"
)


def refused_problem(error: Exception, *, step: str) -> Problem | None:
    """In the words of who refused; and if that is not certjob itself, with what helps. None if nobody refused."""
    refused = refusal(error)
    if refused is None:
        return None
    where = f" in namespace {refused.namespace}" if refused.namespace else ""
    what = f"{_OBJECTS.get(refused.resource, refused.resource)}{where} is refused"
    hint = exempt() + (_ROUTE if refused.resource == "ingresses" else "")
    detail = f"{what} by {refused.brief}; {hint}" if refused.is_others else f"{what}: {refused.brief}"
    problem = Problem(type="writeRefused", detail=detail, step=step)
    return replace(problem, type=_TYPES.get(refused.by, problem.type))
