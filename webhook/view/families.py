"""The metrics of the view, and from which closed lists their labels are. Pure."""

from __future__ import annotations

from issuer_job.metrics.families import Family, Kind
from issuer_job.record.phases import LaunchReason
from issuer_job.status.advice import ADVICE
from issuer_job.status.status import UNREADABLE

_G, _C, _H = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM
_CERTIFICATE = ("namespace", "name", "issuer_name")
SECONDS = (0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

READY = Family(
    "certificate_ready",
    _G,
    "Whether the Secret holds a trusted certificate, in date, for all its hosts; none where that is not known",
    _CERTIFICATE,
)
NOT_BEFORE = Family(
    "certificate_not_before_timestamp_seconds", _G, "When the certificate in the Secret begins", _CERTIFICATE
)
NOT_AFTER = Family(
    "certificate_not_after_timestamp_seconds", _G, "When the certificate in the Secret ends", _CERTIFICATE
)
RENEWAL = Family("certificate_renewal_timestamp_seconds", _G, "When its renewal is due", _CERTIFICATE)
FAILING = Family(
    "certificate_failures",
    _G,
    "Failures in a row, by the type of the last problem; none for what does not fail",
    (*_CERTIFICATE, "type"),
)
CERTIFICATES = Family("certificates", _G, "How many there are", ("issuer_name", "state", "ready"))
ATTEMPTS = Family(
    "attempts_total",
    _C,
    "Attempts that came to a result, by why they were launched: issued, kept (the Secret held a good certificate), "
    "waiting (tried again by itself), failed (only a change helps)",
    ("issuer_name", "reason", "outcome"),
)
PROBLEMS = Family("problems_total", _C, "Problems that certificates met", ("issuer_name", "type"))
ISSUANCE = Family(
    "issuance_seconds",
    _H,
    "From the launch of an attempt to the certificate in the Secret",
    ("issuer_name", "kind"),
    SECONDS,
)
STEPS = Family("issuance_step_seconds", _H, "What the Jobs that issued were at", ("step",), SECONDS)
ISSUER_READY = Family(
    "issuer_ready", _G, "Whether its last test found the issuer ready; none before the first", ("issuer_name",)
)
LIMIT = Family("issuer_limit", _G, "What certjob does not exceed at the issuer's CA", ("issuer_name", "limit"))
LIMIT_USED = Family(
    "issuer_limit_used",
    _G,
    "How much of that is used, by the domain, set of hosts or host that has most; of these 0 is less than half",
    ("issuer_name", "limit"),
)
SWEEP_SUCCESS = Family("sweep_last_success_timestamp_seconds", _G, "When a sweep ended last as it should")
SWEEP_SECONDS = Family("sweep_seconds", _G, "What the last sweep took")
SWEEP_INTERVAL = Family("sweep_interval_seconds", _G, "From one sweep to the next, as it is configured")
SWEEP_ITEMS = Family("sweep_items", _G, "What the last sweep counted, in the words of its log line swept", ("what",))
POLICIES = Family("policies_in_force", _G, "Whether the last sweep found all admission policies in force")
SNAPSHOT = Family("view_snapshot_timestamp_seconds", _G, "When all of this was known to be so")
TRUNCATED = Family(
    "view_truncated",
    _G,
    "Whether only certificates that fail or are in the last third of their life have series of their own",
)
FAMILIES = (
    READY,
    NOT_BEFORE,
    NOT_AFTER,
    RENEWAL,
    FAILING,
    CERTIFICATES,
    ATTEMPTS,
    PROBLEMS,
    ISSUANCE,
    STEPS,
    ISSUER_READY,
    LIMIT,
    LIMIT_USED,
    SWEEP_SUCCESS,
    SWEEP_SECONDS,
    SWEEP_INTERVAL,
    SWEEP_ITEMS,
    POLICIES,
    SNAPSHOT,
    TRUNCATED,
)

UNKNOWN_ISSUER = "unknown"
"""In counts: what is of no issuer that is there. Tenants may write any name."""
TYPES = frozenset({*ADVICE, UNREADABLE})
_NO_ATTEMPT = {
    LaunchReason.JOB_NEVER_CAME,  # the same one again
    LaunchReason.CRASHES_AGAIN,
    LaunchReason.LOOK_DUE,
    LaunchReason.NOT_WANTED,
    LaunchReason.SOURCE_GONE,
    LaunchReason.ASKS_NO_MORE,
    LaunchReason.IN_ORDER,
}
REASONS = {str(reason): str(reason) for reason in LaunchReason if reason not in _NO_ATTEMPT}
REASONS[LaunchReason.EDITED] = str(LaunchReason.CHANGED)
"""Why attempts are launched, as it is told, by the word of the record."""
ITEMS = (
    "records",
    "ingresses",
    "unreadable",
    "trouble",
    "looks",
    "renewal suggestions",
    "adopted",
    "orphaned",
    "retired",
    "forgotten",
    "held back",
    "put off",
    "put off for their namespace",
    "put off for want of Jobs",
    "put off for want of room on the nodes",
    "put off for want of time",
    "too many",
    "damaged",
    "overwritten",
    "keys shared",
    "stand still",
    "hosts contested",
    "not as asked",
    "revocations pending",
)
"""Of what a sweep counts."""
