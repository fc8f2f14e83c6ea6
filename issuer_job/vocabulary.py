"""Every label, annotation, well-known name and exit code of certjob. Nothing else spells them."""

from __future__ import annotations

import os
import re
from enum import IntEnum, StrEnum

VERSION = "0.1.0"
"""Of certjob, as its package has it."""
CANARY_NAMESPACE = "default"
SYSTEM_NAMESPACE = "kube-system"


def own_namespace(given: str) -> str:
    """`given` if certjob can have that namespace for itself; in two others it tries what it must not be able to do.

    Ends the process with a sentence otherwise: nothing may go on with what is named after it.
    """
    tried = {CANARY_NAMESPACE, SYSTEM_NAMESPACE}
    if given not in tried and re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", given):
        return given
    raise SystemExit(f"CERTJOB_NAMESPACE: certjob can have no namespace {given[:100]!r} for itself")


NAMESPACE = own_namespace(os.environ.get("CERTJOB_NAMESPACE") or "certjob")
"""certjob's own namespace: pods are told theirs. The admission policies name it, too: see `supply.elsewhere`.

A command that people run may find it later, and write it here: nothing but what only pods run keeps a copy.
"""


def is_excluded(namespace: str) -> bool:
    """Whether nothing there gets certificates, whoever asks."""
    return namespace in {NAMESPACE, SYSTEM_NAMESPACE}


PREFIX = "certjob.io/"
CONTROLLER = "certjob.io/issuer-job"

# What a user may write on what asks: `record.annotations` reads and documents it.
TLS_ACME = "kubernetes.io/tls-acme"
ISSUER = "certjob.io/issuer"
KEY_ALGORITHM = "certjob.io/key-algorithm"
PROFILE = "certjob.io/profile"
PREFERRED_CHAIN = "certjob.io/preferred-chain"
RENEW_BEFORE = "certjob.io/renew-before"
RETRY = "certjob.io/retry"
RENEW = "certjob.io/renew"
"""On a record, too, and on an issuer, for all that it has given: an operator's."""
FORMATS = "certjob.io/formats"
INGRESS_CLASS = "kubernetes.io/ingress.class"
NAMESPACE_ENABLED = "certjob.io/enabled"
"""Label on a namespace: every Ingress in it is opted in."""
REQUEST = "certjob.io/request"
"""Label "true" on a user's own TLS Secret: a certificate without an Ingress. The annotation `HOSTS` and those above,
which are the user's there, say which."""

# What certjob writes on a user's Ingress.
TLS_ENTRY = "certjob.io/tls-entry"
"""`SECRETNAME HASH`: the spec.tls entry that certjob added, and the hash of the hosts it put there."""

# What a move from or to another tool writes where it is under way: see `migrate`.
MOVING = "certjob.io/moving"
"""On an Ingress or a Secret that has no master for the moment: from where, or to which issuer."""
REPLICAS = "certjob.io/replicas"
"""On another tool's Deployment that was stopped: how many replicas it had."""

# Labels and annotations of certjob's own objects. `ISSUER` is a label there: "true" on an issuer's
# ConfigMap, the issuer's name on a Job.
MANAGED = "certjob.io/managed"
STATE = "certjob.io/state"
RECORD = "certjob.io/record"
"""Label "true" on a record; on a Job's pod the annotation with the record's name."""
RECORD_UID = "certjob.io/record-uid"
EPOCH = "certjob.io/epoch"
EPOCH_PREFIX = "epoch.certjob.io/"
"""On a challenge route: one annotation for each record that holds it, named by its uid, with that record's epoch."""
RECORD_NAMESPACE = "certjob.io/namespace"
SECRET = "certjob.io/secret"  # noqa: S105 - a label
"""Beside it on a Job and its pods: the Secret's name, cut if it is longer than a label may be."""
AT_WORK = "certjob.io/at-work"
CHALLENGE = "certjob.io/challenge"
DNS_CHALLENGE = "certjob.io/dns-challenge"
"""Label "true" on the ConfigMap that says which TXT records a record's attempts have put into DNS."""
REVOCATION = "certjob.io/revocation"
"""Label "true" on the ConfigMap that says which certificate is to be revoked, and what became of that."""
ROUTE = "certjob.io/route"
CLAIM = "certjob.io/claim"
CLAIM_PARENT = "certjob.io/claim-parent"
"""Label on a claim: stands for the domain directly above its host."""
CHECKED = "certjob.io/checked"
"""Annotation on a claim: since when it holds against everybody."""
UNNAMED_SINCE = "certjob.io/unnamed-since"
UNNAMED_SEEN = "certjob.io/unnamed-seen"
"""Annotations on a claim: since when nothing of its namespace names the host, and when a sweep last saw that."""
FORMER = "certjob.io/former"
"""Annotation on a claim that an operator moved: the namespace that had the host before."""
PENDING = "certjob.io/pending"
ACCOUNT = "certjob.io/account"
ISSUER_STATE = "certjob.io/issuer-state"
IN_FORCE = "certjob.io/options-in-force"
"""Label "true" on the ConfigMap that remembers the options."""
DEFAULT_ISSUER = "certjob.io/default"
"""Annotation "true" on the ConfigMap of the default issuer."""
CHECK = "certjob.io/check"
"""Annotation on an issuer: any new value has it checked; `never` keeps the sweep from checking it by itself."""
ROLLOVER = "certjob.io/rollover"
"""Annotation on an issuer: any new value gives its account a new key."""
RESET = "certjob.io/reset-account"
"""Annotation on an issuer: any new value gives it another account."""
HOSTS = "certjob.io/hosts"
TTL_AFTER_FINISHED = "certjob.io/ttl-seconds-after-finished"
"""On the PodTemplate: seconds after which a finished issue Job is deleted."""
CERT_MANAGER = "cert-manager.io/certificate-name"
"""cert-manager's annotation on each Secret that it writes."""
NOT_AFTER = "certjob.io/not-after"
EVENT_SECRET = "certjob.io/secret"  # noqa: S105 - a name, not a secret
EVENT_PROBLEM = "certjob.io/problem"
EVENT_NEXT = "certjob.io/next"
"""Annotations on an Event, for programs: which Secret it is about, the type of the problem, and when it is tried
again; without that only after a change.
"""
NOTED_TIME = "%Y-%m-%dT%H:%M:%SZ"
"""How times are noted on Secrets (RFC 3339, UTC)."""
LOOK = "certjob.io/look"
WRITTEN_BY = "certjob.io/written-by"
"""In the answer to a look: who has written the certificate, by `metadata.managedFields`."""
KEEP = "certjob.io/keep"
"""Label "true" on policies that stay when the rest of certjob is deleted."""
APP_NAME = "app.kubernetes.io/name"
APP_COMPONENT = "app.kubernetes.io/component"
APP_VERSION = "app.kubernetes.io/version"
"""On bootstrap's Jobs, so that one can wait for those of a version."""
MANAGED_BY = "app.kubernetes.io/managed-by"

# Well-known objects in the namespace.
POD_TEMPLATE = "certjob-issue"
ROUTE_POLICY = "certjob-route-policy"
OPTIONS_CONFIG_MAP = "certjob-options"
OPTIONS_IN_FORCE = "certjob-options-in-force"
"""What the operator's options were when a sweep last read them."""
RESPONDER_SERVICE = "certjob-responder"
WEBHOOK_SERVICE = "certjob-webhook"
SWEEP_CRON_JOB = "certjob-sweep"
WEBHOOK_CONFIGURATION = "certjob-webhook"
FORMER_WEBHOOK_CONFIGURATION = "certjob"
"""Of 0.1.0."""
WEBHOOK_CA_SECRET = "certjob-webhook-ca"  # noqa: S105 - a name, not a secret
WEBHOOK_TLS_SECRET = "certjob-webhook-tls"  # noqa: S105 - a name, not a secret
RESPONDER_PORT_NAME = "http"
RESPONDER_PORT = 8080
CHALLENGE_PATH = "/.well-known/acme-challenge/"
OWN_POLICIES = "certjob-"
"""How the names of certjob's admission policies begin."""
CANARY_DENIAL = "denied request: certjob-shape"

TLS_SECRET_TYPE = "kubernetes.io/tls"  # noqa: S105 - a type, not a secret
ACCOUNT_KEY = "key.pem"
ACCOUNT_NUMBER = "number"
PENDING_KEY = "key.pem"
PENDING_OWNER = "record-uid"
"""Beside a pending key: the uid of the record whose attempt made it."""
ISSUER_KEY = "issuer.yaml"
OPTIONS_KEY = "options.yaml"
RECORD_KEY = "record.json"
REVOCATION_KEY = "revocation.json"
TXT_RECORDS_KEY = "txt-records.json"

ROUTE_ANNOTATIONS = {
    "nginx.ingress.kubernetes.io/ssl-redirect": "false",
    "nginx.ingress.kubernetes.io/force-ssl-redirect": "false",
    "nginx.ingress.kubernetes.io/whitelist-source-range": "0.0.0.0/0,::/0",
    "haproxy.org/ssl-redirect": "false",
    "haproxy-ingress.github.io/ssl-redirect": "false",
    "ingress.cilium.io/force-https": "disabled",
    "traefik.ingress.kubernetes.io/router.priority": "1000000000",
    "external-dns.alpha.kubernetes.io/controller": "certjob",
    "external-dns.kubernetes.io/controller": "certjob",
}
"""Fixed and harmless: they keep redirects and allow-lists of the user's Ingress away from the challenge, and
external-dns (before and from 0.22) from the route, which says nothing of where the host's name is to lead."""


class SecretState(StrEnum):
    """Value of the label `certjob.io/state` on a managed Secret."""

    PLACEHOLDER = "placeholder"
    ISSUED = "issued"


class ExitCode(IntEnum):
    """How an issue Job's process ends; the Job's podFailurePolicy acts on it."""

    DONE = 0
    RETRY = 1
    """A bug or a lost connection: the Job starts another pod, up to its backoffLimit."""
    PERMANENT = 10
    LATER = 11
    SUPERSEDED = 12
    OTHER_POD = 13
    """Another pod holds the attempt, or the next pod will find a Secret mounted: it does not count."""
