"""A webhook before a fake API server: what is created and updated is decided as by the real one, dry runs too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import jsonpatch
import msgspec

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, Json, Response
from issuer_job.demand import secret
from issuer_job.issuers.load import Issuers
from tests.fakes.api import Attempt, FakeApi, status
from tests.fakes.store import answer
from tests.worlds.reviews import BY_ITSELF, decision_on, read
from webhook.decide_secret import SecretPolicy
from webhook.policy import AdmissionPolicy
from webhook.review import warning_lines


def admit(api: FakeApi, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> FakeApi:
    """Every Ingress, and the Secrets that ask. Nothing is launched; `now` is the webhook's clock."""
    api.hooks["ingresses"] = lambda attempt: _admitted(api, attempt, BY_ITSELF, now())
    api.hooks["secrets"] = lambda attempt: _admitted(api, attempt, SecretPolicy(), now())
    return api


def _admitted(api: FakeApi, attempt: Attempt, policy: AdmissionPolicy, now: datetime) -> Json | Response | None:
    if attempt.new is None or (isinstance(policy, SecretPolicy) and not secret.opts_in(attempt.new)):
        return None
    issuers = [one for one in api.all(CONFIGMAPS, v.NAMESPACE) if v.ISSUER in (one["metadata"].get("labels") or {})]
    request = {
        "uid": "u",
        "kind": msgspec.to_builtins(policy.kind),
        "operation": "CREATE" if attempt.old is None else "UPDATE",
        "namespace": attempt.namespace,
        "dryRun": attempt.dry_run,
        "object": attempt.new,
        "oldObject": attempt.old,
    }
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    review = read(msgspec.json.encode(body), policy)
    decision = decision_on(review, policy, issuers=Issuers.from_config_maps(issuers), now=now)
    if decision.refused:
        text = f'admission webhook "request.certjob.io" denied the request: certjob: {decision.refused}'
        return status(403, "Forbidden", text)
    patched: Json = jsonpatch.apply_patch(attempt.new, list(decision.patch))
    if not attempt.dry_run:
        return patched
    lines = ", ".join(f'299 - "{line}"' for line in warning_lines(decision.warnings))
    made = answer(200, patched)
    return Response(made.status, {**made.headers, "warning": lines}, made.body)
