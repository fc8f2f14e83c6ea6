"""What to do about a managed Secret that somebody deletes or empties. Pure.

The API server sends the Secret as it was, keys and all. Nothing of that is in the shape that is read: it is never
decoded, kept or logged.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from issuer_job.cluster.api import Json
from issuer_job.issuers.load import Issuers
from issuer_job.launch.outcome import SecretLoss
from webhook.policy import AdmissionPolicy, AdmissionReason, Decision
from webhook.review import Name, Review, ReviewedKind

_LOSSES = {"DELETE": SecretLoss.DELETED, "UPDATE": SecretLoss.EMPTIED}


class _Metadata(msgspec.Struct, omit_defaults=True):
    name: Name | None = None


class _Secret(msgspec.Struct):
    metadata: _Metadata


class LossPolicy(AdmissionPolicy):
    """Nobody is kept from it: what still wants the Secret has it made again."""

    kind = ReviewedKind("", "v1", "Secret")
    operations = frozenset(_LOSSES)
    shape = _Secret
    refuses = False

    def left_alone(self, review: Review) -> Decision:
        """See `AdmissionPolicy`. Which updates empty a Secret the webhook configuration says: no other is sent."""
        name = review.name or review.former["metadata"].get("name")  # of a collection only the object has it
        if review.dry_run or not name:
            return Decision(AdmissionReason.NOTHING_TO_CERTIFY)
        return Decision(AdmissionReason.LOST, lost=(name, _LOSSES[review.operation]))

    def decide(self, review: Review, *, issuers: Issuers, now: datetime) -> Decision:
        """See `AdmissionPolicy`."""
        return self.left_alone(review)

    def kept(self, review: Review) -> tuple[Json, ...]:
        """See `AdmissionPolicy`."""
        return ()
