"""One ACME order (RFC 8555, section 7.4), from newOrder to a verified certificate, resumable after any step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from certs.chain import choose_chain, issuer_names
from certs.csr import build_csr
from certs.errors import CertError
from certs.hostnames import first_few
from certs.keys import KeyAlgorithm
from issuer_job.acme_client import AcmeClient, AcmeError, AcmeProblem, AcmeUnavailable, CaSilent, Order
from issuer_job.attempt.attempt import Attempt, HeldBack, Later, Resolved
from issuer_job.attempt.findings import MountedIssuer
from issuer_job.hosts.limits import planned_order
from issuer_job.hosts.order_book import enter
from issuer_job.issue.authorize import OrderUseless, authorize, poll_until
from issuer_job.issue.obtaining.pending_key import pending_key
from issuer_job.issue.obtaining.registry import Obtained, accepted
from issuer_job.issue.solvers import AttemptSolvers
from issuer_job.record import renewal, transitions
from issuer_job.record.record import AttemptState, Problem, Record

MOST_DROPS = 2
FINALIZED = frozenset({"processing", "valid"})
"""Status of an order whose key is settled."""
CLOCK_SKEW = "clockSkew"
CLOCK_TOLERANCE = timedelta(minutes=10)


@dataclass
class Before:
    """What went before in this attempt: `lost`, if a pod may have ordered and have died before it knew the order's
    URL; `said`, the CA's words about the last finalize that failed; `made`, the URLs of this pod's own orders.
    """

    lost: bool = False
    said: AcmeProblem | None = None
    made: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Ordering:
    """An attempt that obtains its certificate with one order, or a few if they turn out useless."""

    mounted: MountedIssuer
    resolved: Resolved
    client: AcmeClient
    solvers: AttemptSolvers
    before: Before

    @property
    def attempt(self) -> Attempt:
        """What it is made for."""
        return self.mounted.attempt

    def complete(self) -> Obtained:
        """Raises AuthorizationFailed, HeldBack, Later, OtherPod, AcmeError, KubeError."""
        self.solvers.use(self.resolved.issuer)
        state, account, terms = self._state, self.client.account_url or "", self._terms
        place = {"directory": self.resolved.issuer.server, "account": account, "terms": terms}
        inherits = transitions.inherits(state, **place)
        if not (inherits and (self.before.lost or state.order_url)):
            check_clock(self.attempt, self.client)
        if not inherits:
            self.before.lost = False  # this account has ordered nothing for it, or not this
            if state.order_url:
                was = f"it is of account {state.account}, {state.terms}"
                self.attempt.step("order-dropped", reason=f"{was}; now {account}, {terms}")
        self.attempt.advance(transitions.ordering, **place)
        replaces, reason = self._replaceable(), ""
        while self._state.orders_dropped <= MOST_DROPS:
            try:
                order = self._former()
                inherited = order is not None and order.url not in self.before.made
                if order is None:
                    order, replaces = self._new(replaces)
                return self._obtained(order, inherited=inherited)
            except OrderUseless as useless:
                reason = str(useless)
                self.attempt.step("order-dropped", reason=reason)
                self.attempt.advance(transitions.order_dropped, reason=reason)
        detail = f"every order turned out to be of no use, the last one because: {reason}"
        raise Later(Problem(type="orderDropped", detail=detail, step="order"))

    @property
    def _state(self) -> AttemptState:
        return transitions.attempt_of(self.attempt.record)

    @property
    def _terms(self) -> str:
        """What its order asks for besides the hosts. The issuer may have been edited since an earlier one."""
        profile, lifetime = self.resolved.settings.profile, self.resolved.issuer.wanted_lifetime
        return f"profile {profile or '-'}, lifetime {lifetime or '-'}"

    def _replaceable(self) -> str:
        if self.client.directory.renewal_info is None:
            return ""
        state = self._state
        return renewal.replaceable(self.attempt.record, directory=state.directory, account=state.account)

    def _former(self) -> Order | None:
        """The order of an earlier pod or attempt, if there is one of use. Raises OrderUseless.

        The account's list of orders is asked for once, and only after a crash: of some CAs that list them otherwise
        than RFC 8555, section 7.1.2.1, has it, the account is of no more use once its list was asked for.
        """
        if url := self._state.order_url:
            try:
                order = self.client.order(url)
            except AcmeUnavailable:
                raise
            except AcmeError as gone:
                raise OrderUseless(f"the CA does not show it: {gone.problem}") from None
            self.attempt.step("order-resumed", order=order.url, status=order.status)
            self._remember(order)
            return order
        if not self.before.lost:
            return None
        self.before.lost = False
        try:
            found = self.client.find_pending_order(self.attempt.record.intent.hosts)
        except AcmeError as unusable:  # then it is ordered anew
            self.attempt.step("orders-list-unusable", problem=str(unusable))
            return None
        if found is not None:
            self.attempt.step("order-found", order=found.url, status=found.status)
            self._remember(found)
        return found

    def _new(self, replaces: str) -> tuple[Order, str]:
        order, replaces = self._placed(replaces)
        hosts = list(order.identifiers)
        self.attempt.step("order-created", order=order.url, hosts=hosts, status=order.status, replaces=replaces)
        self.before.made.add(order.url)
        self._remember(order, replaces=replaces)
        return order, replaces

    def _placed(self, replaces: str) -> tuple[Order, str]:
        """newOrder; the order, and the CertID that it names: none if the CA would not have it.

        Refused for anything but a limit it is tried once more without (RFC 9773, section 5). Raises AcmeError.
        """
        client, profile = self.client, self.resolved.settings.profile or None
        hosts, lifetime = self.attempt.record.intent.identifiers, self.resolved.issuer.wanted_lifetime
        not_after = (client.server_time or self.attempt.clock()) + lifetime if lifetime else None
        self._require_room(replaces)
        try:
            order = client.new_order(hosts, profile=profile, replaces=replaces or None, not_after=not_after)
            return order, replaces
        except AcmeError as refusal:
            # A CA may also have an internal error over what is replaced. It would have it again and again.
            unavailable = isinstance(refusal, AcmeUnavailable) and refusal.problem.type != "serverInternal"
            if not replaces or unavailable or refusal.is_rate_limited:
                raise
            self.attempt.step("replaces-refused", replaces=replaces, problem=str(refusal.problem))
        self._require_room("")
        return client.new_order(hosts, profile=profile, not_after=not_after), ""

    def _require_room(self, replaces: str) -> None:
        """The last word on the issuer's limits: the order is in the book from here on. Raises HeldBack, KubeError."""
        attempt, name, issuer, now = self.attempt, self.resolved.name, self.resolved.issuer, self.attempt.clock()
        record = attempt.record
        order = planned_order(record, name, issuer, now=now)
        if not replaces and order.exempt:
            order = dataclasses.replace(order, exempt=False)
        pressing = renewal.is_pressing(record, now=now, interval=self._state.interval)
        state = self.mounted.former_state
        over = enter(attempt.cluster, record, order, state, now, pressing=pressing)
        if over is not None:
            raise HeldBack(over.problem, over.until)

    def _remember(self, order: Order, *, replaces: str | None = None) -> None:
        arrow = transitions.authorizing
        self.attempt.advance(arrow, order_url=order.url, expires=order.expires, replaces=replaces)

    def _obtained(self, order: Order, *, inherited: bool) -> Obtained:
        """By the order's status: prove the hosts, finalize, download; what is done already is skipped."""
        hosts = order.identifiers
        if not order.is_for(self.attempt.record.intent.hosts):
            raise OrderUseless("it is for other hosts")
        if order.status == "pending":
            issuer, solvers = self.resolved.issuer, self.solvers
            authorize(self.attempt, self.client, order, issuer, solvers, inherited=inherited)
            order = self._polled(self.client.order(order.url), awaiting="pending")
        if order.status == "invalid":
            raise self._of_no_use(order, self.before.said and (order.error or self.before.said))
        algorithm = KeyAlgorithm(self.resolved.settings.key_algorithm)
        key, pending = pending_key(self.attempt, algorithm, finalized=order.status in FINALIZED)
        self.attempt.advance(transitions.finalizing, pending_key=pending)
        if order.status == "ready":
            order = self._finalized(order, build_csr(key, hosts))
        order = self._polled(order, awaiting="processing")
        if order.status != "valid":
            raise self._of_no_use(order, order.error or self.before.said)
        self.before.said = None
        preferred = self.resolved.settings.preferred_chain
        chains = self.client.chains(order, preferred=preferred)
        try:
            obtained = accepted(self.attempt, key, choose_chain(chains, preferred), hosts)
        except CertError as problem:
            # For instance a certificate for another's key: two records with the same names can get one order.
            raise OrderUseless(str(problem)) from None
        self._note_what_was_not_given(obtained, chains)
        return obtained

    def _note_what_was_not_given(self, obtained: Obtained, chains: list[bytes]) -> None:
        """CAs leave out in silence what they have not."""
        preferred, wanted = self.resolved.settings.preferred_chain, self.resolved.issuer.wanted_lifetime
        notes = []
        if preferred and preferred not in issuer_names(obtained.chain_pem):
            tops = first_few(sorted({name for pem in chains for name in issuer_names(pem)[-1:]}))
            notes.append(f"the CA offers no chain to {preferred}, only to {tops}")
        end, begin = obtained.certificate.not_after, obtained.certificate.not_before
        # CAs let it begin earlier; and the order may be older than this attempt.
        given = (end - begin, end - self.attempt.clock())
        if wanted and all(abs(life - wanted) > wanted / 10 + timedelta(minutes=1) for life in given):
            notes.append(
                f"the CA lets it live for {given[0]}, not {self.resolved.issuer.lifetime} as its issuer asks"
            )
        for note in notes:
            self.attempt.step("not-given", what=note)
        self.attempt.notes += notes

    def _finalized(self, order: Order, csr: bytes) -> Order:
        try:
            order = self.client.finalize(order, csr)
        except AcmeError as problem:
            if problem.problem.type != "orderNotReady":
                self.before.said = None if isinstance(problem, CaSilent) else problem.problem
                raise
            # Finalized already, by another pod with our key or for another record: the certificate will tell.
            order = self.client.order(order.url)
        self.attempt.step("finalized", order=order.url, status=order.status)
        return order

    @staticmethod
    def _of_no_use(order: Order, said: AcmeProblem | None) -> OrderUseless | AcmeError:
        """What an order that will not be valid means. Where the CA has `said` why it did not issue, again would end
        the same.
        """
        if said is not None and order.status == "invalid":
            return AcmeError(said, step="finalize")
        return OrderUseless(f"it is {order.status}: {order.error or 'the CA gave no reason'}")

    def _polled(self, order: Order, *, awaiting: str) -> Order:
        """The order once it has left the status `awaiting`."""
        again, left = (lambda seen: self.client.order(seen.url)), (lambda seen: seen.status != awaiting)
        return poll_until(self.attempt, again, left, [order], what="order")[0]


def check_clock(attempt: Attempt, client: AcmeClient) -> None:
    """Raise Later for a renewal that is due only because the cluster's clock is ahead of the CA's."""
    ca_time = client.server_time
    if ca_time is None:
        return
    early = too_early(attempt.record, now=attempt.clock(), ca_time=ca_time)
    if early is None:
        return
    ahead = timedelta(seconds=int((attempt.clock() - ca_time).total_seconds()))
    detail = f"the cluster's clock is ahead of the CA's by {ahead}: by the CA's clock the renewal is not due yet"
    raise Later(Problem(type=CLOCK_SKEW, detail=detail, step="newOrder"), wait=early)


def too_early(record: Record, *, now: datetime, ca_time: datetime) -> timedelta | None:
    """How long a renewal has to wait by the CA's clock; None if it need not, or if it is not for its age."""
    attempt = transitions.attempt_of(record)
    if not attempt.renews or record.issued is None or now - ca_time <= CLOCK_TOLERANCE:
        return None
    due = renewal.due_at(record, interval=attempt.interval)
    return due - ca_time if due <= now and due - ca_time > CLOCK_TOLERANCE else None
