"""Whether the policies are in force: what they have to refuse, and to answer, tried as certjob's own identities."""

from __future__ import annotations

from collections.abc import Iterator

from issuer_job.background import at_once
from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.base.session import Session
from issuer_job.cli.doctoring.facts import MayNotRead, read
from issuer_job.cli.doctoring.judge import POLICIES
from issuer_job.cli.out.verdicts import Judged, counted, fail, ok, unknown
from issuer_job.cluster.api import Cluster, Json

IDENTITIES = ("webhook", "job", "sweep")
"""Those that may write."""
DOCS = "docs/security.md#the-canaries"


def judge_in_force(session: Session, *, looks: bool) -> Iterator[Judged]:
    """Raises KubeError."""
    where = session.certjob_namespace  # first: what is tried is in certjob's namespace
    from issuer_job.upkeep import self_test

    missing = [name for name in IDENTITIES if not _may_act_as(session.cluster, where, name)]
    if missing:
        right = f"impersonate serviceaccounts in {where}"
        yield unknown(POLICIES, f"canary and look not tried: you may not {right}; the sweeps do it before they begin")
        return

    def tried(identity: str) -> list[tuple[str, str]] | MayNotRead | CommandError:
        user = f"system:serviceaccount:{where}:{identity}"
        try:
            cluster = session.acting_as(user)
            return read(lambda: list(self_test.in_force(cluster, identity, looks=looks)))
        except CommandError as problem:
            return problem

    done, wrong = 0, dict[str, None]()
    for identity, outcome in zip(IDENTITIES, at_once(tried, IDENTITIES), strict=True):
        if not isinstance(outcome, list):
            why = outcome.why if isinstance(outcome, MayNotRead) else str(outcome)
            yield unknown(POLICIES, f"not tried as {identity}: {why}")
            continue
        done += len(outcome)
        wrong |= dict.fromkeys(problem for _, problem in outcome if problem)
    for problem in wrong:
        yield fail(POLICIES, problem, docs=DOCS)
    if done and not wrong:
        look = "look answered" if looks else "no look before Kubernetes 1.36"
        yield ok(POLICIES, f"in force: {counted(done, 'canary').replace('canarys', 'canaries')} refused, {look}")


def _may_act_as(cluster: Cluster, namespace: str, name: str) -> bool:
    from issuer_job.upkeep.self_test import ACCESS_REVIEWS

    about = {"verb": "impersonate", "resource": "serviceaccounts", "namespace": namespace, "name": name}
    body: Json = {
        "apiVersion": ACCESS_REVIEWS.api_version,
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": about},
    }
    answer = cluster.create(ACCESS_REVIEWS, None, body)
    return bool((answer.get("status") or {}).get("allowed"))
