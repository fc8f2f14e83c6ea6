"""One ACME order (RFC 8555, section 7.4), from newOrder to a verified certificate, resumable after any step."""

from __future__ import annotations

from certs.csr import build_csr
from certs.errors import CertError
from certs.keys import KeyAlgorithm, PrivateKey, generate_key, key_from_pem, key_to_pem
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeClient, AcmeError, AcmeUnavailable, Order
from issuer_job.attempt.attempt import Attempt, Later, OtherPod, Resolved
from issuer_job.cluster import bodies
from issuer_job.cluster.api import SECRETS, AlreadyExists, Json
from issuer_job.issue import new_order
from issuer_job.issue.authorize import authorize, poll_until
from issuer_job.issue.obtaining.registry import Obtained, accepted
from issuer_job.issue.solvers import AttemptSolvers
from issuer_job.record import renewal, transitions
from issuer_job.record.record import Problem, Record

MOST_DROPS = 2


class OrderUseless(Exception):
    """The order is invalid, expired or another's: forget it and order again."""


def complete_order(attempt: Attempt, resolved: Resolved, client: AcmeClient, solvers: AttemptSolvers) -> Obtained:
    """Complete one order. Raises AuthorizationFailed, Later, OtherPod, AcmeError, KubeError."""
    account = client.account_url or ""
    solvers.use(resolved.issuer)
    maybe_ordered = transitions.attempt_of(attempt.record).ordered
    if not maybe_ordered:
        new_order.check_clock(attempt, client)
    attempt.advance(transitions.ordering, directory=resolved.issuer.server, account=account)
    replaces = _replaceable(attempt, client)
    while transitions.attempt_of(attempt.record).orders_dropped <= MOST_DROPS:
        try:
            order = _former(attempt, client, maybe_ordered=maybe_ordered)
            if order is None:
                order, replaces = _new(attempt, resolved, client, replaces=replaces)
            return _complete(attempt, resolved, client, order, solvers)
        except OrderUseless as useless:
            maybe_ordered = False
            _drop(attempt, str(useless))
    detail = "every order turned out invalid or another's"
    raise Later(Problem(type="orderDropped", detail=detail, step="order"))


def _former(attempt: Attempt, client: AcmeClient, *, maybe_ordered: bool) -> Order | None:
    """The order of an earlier pod or attempt, if there is one of use. Raises OrderUseless."""
    url = transitions.attempt_of(attempt.record).order_url
    if url:
        try:
            order = client.order(url)
        except AcmeUnavailable:
            raise
        except AcmeError as gone:
            raise OrderUseless(f"the CA does not show it: {gone.problem}") from None
        attempt.step("order-resumed", order=order.url, status=order.status)
        _remember(attempt, order)
        return order
    if not maybe_ordered:
        return None
    found = client.find_pending_order(attempt.record.intent.hosts, client.account())
    if found is not None:
        attempt.step("order-found", order=found.url, status=found.status)
        _remember(attempt, found)
    return found


def _new(attempt: Attempt, resolved: Resolved, client: AcmeClient, *, replaces: str) -> tuple[Order, str]:
    order, replaces = new_order.place(attempt, resolved, client, replaces=replaces)
    attempt.step(
        "order-created", order=order.url, hosts=list(order.identifiers), status=order.status, replaces=replaces
    )
    _remember(attempt, order, replaces=replaces)
    return order, replaces


def _replaceable(attempt: Attempt, client: AcmeClient) -> str:
    if client.directory.renewal_info is None:
        return ""
    state = transitions.attempt_of(attempt.record)
    return renewal.replaceable(attempt.record, directory=state.directory, account=state.account)


def _complete(
    attempt: Attempt, resolved: Resolved, client: AcmeClient, order: Order, solvers: AttemptSolvers
) -> Obtained:
    """By the order's status: prove the hosts, finalize, download; what is done already is skipped."""
    hosts = order.identifiers
    if not order.is_for(attempt.record.intent.hosts):
        raise OrderUseless("it is for other hosts")
    if order.status == "pending":
        try:
            authorize(attempt, client, order, resolved.issuer, solvers)
        finally:
            solvers.release()
        order = _polled(attempt, client, client.order(order.url), awaiting="pending")
    if order.status == "invalid":
        raise OrderUseless(f"it is invalid: {order.error or 'the CA gave no reason'}")
    key = _pending_key(attempt, resolved)
    attempt.advance(transitions.finalizing, pending_key=_pending_name(attempt))
    if order.status == "ready":
        order = _finalize(attempt, client, order, build_csr(key, hosts))
    order = _polled(attempt, client, order, awaiting="processing")
    if order.status == "invalid" and order.error is not None:
        raise AcmeError(order.error, step="finalize")  # the CA says why it does not sign: again would end the same
    if order.status != "valid":
        raise OrderUseless(f"it is {order.status}: {order.error or 'the CA gave no reason'}")
    return _download(attempt, resolved, client, order, key, hosts)


def _finalize(attempt: Attempt, client: AcmeClient, order: Order, csr: bytes) -> Order:
    try:
        order = client.finalize(order, csr)
    except AcmeError as problem:
        if problem.problem.type != "orderNotReady":
            raise
        # Finalized already, by another pod with our key or for another record: the certificate will tell.
        order = client.order(order.url)
    attempt.step("finalized", order=order.url, status=order.status)
    return order


def _download(
    attempt: Attempt, resolved: Resolved, client: AcmeClient, order: Order, key: PrivateKey, hosts: tuple[str, ...]
) -> Obtained:
    chain = client.certificate(order, preferred_chain=resolved.settings.preferred_chain or None)
    try:
        return accepted(attempt, key, chain, hosts)
    except CertError as problem:
        # For instance a certificate for another's key: two records with the same names can get one order.
        raise OrderUseless(str(problem)) from None


def _pending_key(attempt: Attempt, resolved: Resolved) -> PrivateKey:
    """The order's key: mounted, or made now and stored before it is used. Raises OtherPod."""
    mounted = attempt.mounted("pending", v.PENDING_KEY)
    if mounted is not None:
        return key_from_pem(mounted)
    key = generate_key(KeyAlgorithm(resolved.settings.key_algorithm))
    pem = key_to_pem(key)
    secret = pending_secret(attempt.record, pem, name=_pending_name(attempt))
    try:
        attempt.cluster.create(SECRETS, v.NAMESPACE, secret)
    except AlreadyExists:
        raise OtherPod("the pending key was stored meanwhile: the next pod has it") from None
    attempt.made["pending"] = pem
    return key


def pending_secret(record: Record, key_pem: bytes, *, name: str) -> Json:
    """The key of an attempt's order, kept until the certificate is installed."""
    metadata = {
        "name": name,
        "namespace": v.NAMESPACE,
        "labels": {v.PENDING: "true", v.RECORD_HASH: record.hash, v.MANAGED_BY: "certjob"},
        "ownerReferences": [record.owner_reference],
    }
    return bodies.secret(metadata, "Opaque", {v.PENDING_KEY: key_pem}) | {"immutable": True}


def _pending_name(attempt: Attempt) -> str:
    """As the launcher mounted it: the inherited key, or this attempt's own."""
    record = attempt.record
    inherited = transitions.attempt_of(record).pending_key
    return inherited or names.pending_key(record.namespace, record.secret_name, record.epoch)


def _polled(attempt: Attempt, client: AcmeClient, order: Order, *, awaiting: str) -> Order:
    """The order once it has left the status `awaiting`."""
    return poll_until(
        attempt, lambda: client.order(order.url), lambda seen: seen.status != awaiting, what="order", first=order
    )


def _remember(attempt: Attempt, order: Order, *, replaces: str | None = None) -> None:
    attempt.advance(transitions.authorizing, order_url=order.url, expires=order.expires, replaces=replaces)


def _drop(attempt: Attempt, reason: str) -> None:
    attempt.step("order-dropped", reason=reason)
    attempt.advance(transitions.order_dropped, reason=reason)
