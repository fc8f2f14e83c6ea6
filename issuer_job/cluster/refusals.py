"""Why a write was refused, and by whom: the machine's words of the API server's answer first, and the words of who
refused. Everybody who writes anything asks here. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from issuer_job import vocabulary as v
from issuer_job.cluster.api import ApiError

MOST_WORDS = 300
"""Characters that are kept of what others say."""


def exempt() -> str:
    """What helps against somebody else's policy or webhook."""
    return f"exempt the group system:serviceaccounts:{v.NAMESPACE} there"


class RefusedBy(StrEnum):
    """Who, or what, refuses."""

    POLICY = "policy"
    """A ValidatingAdmissionPolicy or MutatingAdmissionPolicy."""
    WEBHOOK = "webhook"
    """An admission webhook, also one that cannot be reached and has to be asked."""
    QUOTA = "quota"
    NAMESPACE = "namespace"
    """It is being deleted, or is not there."""
    FIELD = "field"
    """The object as it is, or was, does not allow it."""
    OTHER = "other"
    """Rights, or another plugin of the API server."""


@dataclass(frozen=True)
class RefusedWrite:
    """`words` are the refuser's own, on one line; `name` is the policy's or the webhook's, `binding` the policy's.

    `resource` is the plural of what was to be written, `namespace` where; `fields` are the paths that are not valid.
    """

    by: RefusedBy
    words: str
    name: str = ""
    binding: str = ""
    resource: str = ""
    namespace: str = ""
    fields: frozenset[str] = frozenset()

    @property
    def brief(self) -> str:
        """Who refuses, in which words."""
        return f"{self.by} {self.name}: {self.words}" if self.name else self.words

    @property
    def is_others(self) -> bool:
        """Whether it is somebody else's policy or webhook, in which certjob can be exempted."""
        return bool(self.name) and not self.name.startswith(v.OWN_POLICIES)


# A MutatingAdmissionPolicy that fails is a "policy".
_POLICY = re.compile(
    r"(?:ValidatingAdmissionPolicy|[Pp]olicy) '([^']{1,253})' with binding '([^']{1,253})' "
    r"denied request: (.*)",
    re.DOTALL,
)
_WEBHOOK = re.compile(
    r'(?:admission webhook "([^"]{1,253})" denied the request:? |'
    r'(?:Internal error occurred: )?(?=failed calling webhook "([^"]{1,253})"))(.*)',
    re.DOTALL,
)
_QUOTA = re.compile(r"(?:exceeded|failed) quota: |status unknown for quota: ")
_PREFIX = re.compile(r'\A[^\s"]+ "[^"]*" is (?:forbidden|invalid): ')
_PATH = re.compile(r"/apis?/(?:[^/]+/)?v[^/]+(?:/namespaces/([^/]+)(?=/.))?/([^/]+)(?:/.*)?")
_DATA = re.compile(r"[A-Za-z0-9+/=]{40,}")
"""What may be a key that the refuser quotes: nothing that people need is that long without a dot or a dash."""


def refusal(problem: Exception) -> RefusedWrite | None:
    """Who refuses the write, and why; None if it is none, or no more than trouble that passes: a lost connection, a
    conflict, an API server that is busy.
    """
    if not isinstance(problem, ApiError) or problem.asked[0] == "GET":
        return None
    by, name, binding, words = _told_apart(problem)
    if by is RefusedBy.OTHER and (problem.status in _PASSES or problem.status >= 500):
        return None
    fields = frozenset(cause.field for cause in problem.causes if cause.field)
    path = _PATH.fullmatch(problem.asked[1].partition("?")[0])
    namespace, resource = path.groups(default="") if path else ("", problem.kind)
    return RefusedWrite(by, _plain(words), name, binding, resource, namespace, fields)


def _told_apart(problem: ApiError) -> tuple[RefusedBy, str, str, str]:
    """Who, the policy's or webhook's name, the binding's, the words."""
    plain = _PREFIX.sub("", problem.message, count=1)
    if (found := _WEBHOOK.match(problem.message)) is not None:  # first: the rest of its answer is the webhook's own
        return RefusedBy.WEBHOOK, found[1] or found[2], "", found[3]
    for said in (*(cause.message for cause in problem.causes if not cause.field), plain):
        if (found := _POLICY.match(said)) is not None:
            return RefusedBy.POLICY, found[1], found[2], found[3]
    terminating = any(cause.reason == "NamespaceTerminating" for cause in problem.causes)
    if terminating or (problem.status == 404 and problem.kind == "namespaces"):
        return RefusedBy.NAMESPACE, "", "", plain
    if problem.reason == "Forbidden" and _QUOTA.match(plain):
        return RefusedBy.QUOTA, "", "", plain
    by = RefusedBy.FIELD if problem.reason == "Invalid" and problem.causes else RefusedBy.OTHER
    return by, "", "", plain


_PASSES = frozenset({401, 404, 408, 409, 410, 429})


def _plain(words: str) -> str:
    """On one line, bounded, without what may be a key."""
    words = _DATA.sub("...", " ".join(words.split()))
    return words if len(words) <= MOST_WORDS else f"{words[: MOST_WORDS - 3]}..."
