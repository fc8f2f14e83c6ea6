"""The requests for one certificate (RFC 8555 7.4, 7.5), a method each. The flow is the caller's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from josepy.json_util import encode_b64jose

from certs.chain import leads_to
from issuer_job.acme_client import orders
from issuer_job.acme_client.accounts import AccountClient
from issuer_job.acme_client.answers import Answer
from issuer_job.acme_client.problems import NO_TYPE, AcmeError, AcmeProblem, AcmeUnavailable, unavailable

MAX_ORDER_PAGES = 20
MAX_ORDERS_SEARCHED = 100
MAX_CHAIN = 128 * 1024  # bytes of PEM
MAX_ALTERNATES = 8
PEM_CHAIN = "application/pem-certificate-chain"
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")


class AcmeClient(AccountClient):
    """A CA seen by one account; made by `connect`. Every request may raise AcmeError or its kind AcmeUnavailable."""

    # Orders (7.4)

    def new_order(
        self,
        hosts: Sequence[str],
        *,
        profile: str | None = None,
        replaces: str | None = None,
        not_after: datetime | None = None,
    ) -> orders.Order:
        """Order a certificate for DNS names. CAs may answer with an equal order that is still open.

        `replaces` is the CertID of what this renews (RFC 9773 5), left out if the CA has no ARI;
        `AcmeError.is_already_replaced` asks to order again without. `not_after` (aware) is the end of the
        certificate's life, for CAs that let it be chosen (7.1.3).
        """
        payload: dict[str, Any] = {"identifiers": [{"type": "dns", "value": host} for host in hosts]}
        if profile is not None:
            self.directory.require_profile(profile)
            payload["profile"] = profile
        if replaces is not None and self.directory.renewal_info is not None:
            payload["replaces"] = replaces
        if not_after is not None:
            payload["notAfter"] = f"{not_after.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        answer = self._transport.post(self.directory.new_order, payload, step="newOrder")
        url = self._transport.own_location(answer)
        return answer.read(orders.read_order, url=url, retry_after=answer.retry_after)

    def order(self, url: str) -> orders.Order:
        answer = self._transport.post(url, step="order")
        return answer.read(orders.read_order, url=url, retry_after=answer.retry_after)

    def find_pending_order(self, hosts: Sequence[str]) -> orders.Order | None:
        """The newest open order for exactly these names, if the account names its list of orders (7.1.2.1).

        At most 20 pages and the last 100 orders on them are looked at.
        """
        for url in reversed(self._order_urls(self.account().orders_url)[-MAX_ORDERS_SEARCHED:]):
            try:
                order = self.order(url)
            except AcmeUnavailable:
                raise
            except AcmeError:
                continue  # expired and gone meanwhile
            if order.status in ("pending", "ready", "processing") and order.is_for(hosts):
                return order
        return None

    def finalize(self, order: orders.Order, csr_der: bytes) -> orders.Order:
        """Send the CSR, in DER (7.4). The order may be `processing` after that: poll it."""
        answer = self._transport.post(order.finalize_url, {"csr": encode_b64jose(csr_der)}, step="finalize")
        return answer.read(orders.read_order, url=order.url, retry_after=answer.retry_after)

    def chains(self, order: orders.Order, *, preferred: str = "") -> list[bytes]:
        """The chains (PEM, leaf first) of a valid order, the CA's default first; not verified.

        The others are asked for only if there is a preference that the default does not meet, see `choose_chain`.
        """
        if order.certificate_url is None:
            raise unavailable("the order names no certificate", step="certificate")
        answer, default = self._chain(order.certificate_url)
        if not preferred or leads_to(default, preferred):
            return [default]
        return [default, *(self._chain(url)[1] for url in answer.links("alternate")[:MAX_ALTERNATES])]

    def _chain(self, url: str) -> tuple[Answer, bytes]:
        answer = self._transport.post(url, step="certificate", accept=PEM_CHAIN)
        if len(answer.body) > MAX_CHAIN:
            raise answer.unusable("is too big for a chain")
        # Some servers write text before and between the certificates, which RFC 8555, section 9.1, forbids.
        body = answer.body.replace(b"\r\n", b"\n")
        certificates = _CERTIFICATE.findall(body)
        if not certificates or body.index(b"-----BEGIN") != body.index(certificates[0]):
            raise answer.unusable("is not a PEM chain")
        return answer, b"".join(certificate + b"\n" for certificate in certificates)

    def _order_urls(self, page: str | None) -> list[str]:
        urls: list[str] = []
        for _ in range(MAX_ORDER_PAGES):
            if page is None:
                break
            answer = self._transport.post(page, step="orders list")
            urls += answer.read(orders.read_order_urls)
            page = next(iter(answer.links("next")), None)
        return urls

    def revoke(self, certificate_der: bytes, *, reason: int = 0) -> bool:
        """Revoke a certificate (DER) that this account ordered, or whose names it has proven (7.6).

        `reason` is a code of RFC 5280 5.3.1; 0, unspecified, is left out, and so is one that the CA does not take
        (`badRevocationReason`). False if it was revoked before.
        """
        url = self.directory.revoke_cert
        if url is None:
            detail = "the CA's directory offers no revocation"
            raise AcmeError(AcmeProblem(NO_TYPE, detail), step="revokeCert")
        payload = {"certificate": encode_b64jose(certificate_der), **({"reason": reason} if reason else {})}
        try:
            self._transport.post(url, payload, step="revokeCert")
        except AcmeError as refusal:
            if refusal.problem.type == "badRevocationReason" and reason:
                return self.revoke(certificate_der)
            if refusal.problem.type != "alreadyRevoked":
                raise
            return False
        return True

    # Authorizations (7.5)

    def authorization(self, url: str) -> orders.Authorization:
        answer = self._transport.post(url, step="authorization")
        return answer.read(orders.read_authorization, url=url, retry_after=answer.retry_after)

    def answer(self, challenge: orders.Challenge) -> orders.Challenge:
        """Tell the CA that the challenge can be validated (7.5.1): publish its key authorization before."""
        return self._transport.post(challenge.url, {}, step="challenge").read(orders.read_challenge)
