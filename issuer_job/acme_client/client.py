"""The requests for one certificate (RFC 8555 7.4, 7.5; RFC 9773), a method each. The flow is the caller's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from certs.chain import choose_chain, leads_to
from issuer_job.acme_client import orders
from issuer_job.acme_client.accounts import AccountClient
from issuer_job.acme_client.answers import Answer
from issuer_job.acme_client.directory import Directory, read_directory
from issuer_job.acme_client.keys import encode_base64url
from issuer_job.acme_client.problems import AcmeError, AcmeUnavailable, unavailable
from issuer_job.acme_client.transport import POST_AS_GET, AcmeTransport, json_payload
from issuer_job.polling import clamp_wait

MAX_ORDER_PAGES = 20
MAX_ORDERS_SEARCHED = 100
MAX_CHAIN = 128 * 1024  # bytes of PEM
MAX_ALTERNATES = 8
PEM_CHAIN = "application/pem-certificate-chain"
ARI_DEFAULT = timedelta(hours=6)  # RFC 9773 4.3
ARI_SHORTEST, ARI_LONGEST = timedelta(minutes=1), timedelta(days=1)


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
        answer = self._transport.post(self.directory.new_order, json_payload(payload), step="newOrder")
        return self._order(answer, url=answer.location(step="newOrder"), step="newOrder")

    def order(self, url: str) -> orders.Order:
        return self._order(self._transport.post(url, POST_AS_GET, step="order"), url=url, step="order")

    def find_pending_order(self, hosts: Sequence[str], account: orders.Account) -> orders.Order | None:
        """The newest open order for exactly these names, if the CA lists orders (7.1.2.1).

        At most 20 pages and the last 100 orders on them are looked at. `account` may lack its
        `orders_url`: it is asked for then.
        """
        listed = account.orders_url or self.account().orders_url
        wanted = frozenset(host.lower() for host in hosts)
        for url in reversed(self._order_urls(listed)[-MAX_ORDERS_SEARCHED:]):
            try:
                order = self.order(url)
            except AcmeUnavailable:
                raise
            except AcmeError:
                continue  # expired and gone meanwhile
            if order.status in ("pending", "ready", "processing") and frozenset(order.identifiers) == wanted:
                return order
        return None

    def finalize(self, order: orders.Order, csr_der: bytes) -> orders.Order:
        """Send the CSR, in DER (7.4). The order may be `processing` after that: poll it."""
        payload = json_payload({"csr": encode_base64url(csr_der)})
        answer = self._transport.post(order.finalize_url, payload, step="finalize")
        return self._order(answer, url=order.url, step="finalize")

    def certificate(self, order: orders.Order, *, preferred_chain: str | None = None) -> bytes:
        """The chain (PEM, leaf first) of a valid order; not verified. See `choose_chain` for the preference."""
        if order.certificate_url is None:
            raise unavailable("the order names no certificate", step="certificate")
        answer, default = self._chain(order.certificate_url)
        if preferred_chain is None or leads_to(default, preferred_chain):
            return default
        alternates = answer.links("alternate")[:MAX_ALTERNATES]
        return choose_chain([default, *(self._chain(url)[1] for url in alternates)], preferred_chain)

    def _chain(self, url: str) -> tuple[Answer, bytes]:
        answer = self._transport.post(url, POST_AS_GET, step="certificate", accept=PEM_CHAIN)
        if len(answer.body) > MAX_CHAIN:
            raise answer.unusable("is too big for a chain", step="certificate")
        if not answer.body.lstrip().startswith(b"-----BEGIN CERTIFICATE-----"):
            raise answer.unusable("is not a PEM chain", step="certificate")
        return answer, answer.body

    def _order(self, answer: Answer, *, url: str, step: str) -> orders.Order:
        wait = self._retry_after(answer)
        return answer.read(lambda body: orders.read_order(body, url=url, retry_after=wait), step=step)

    def _order_urls(self, page: str | None) -> list[str]:
        urls: list[str] = []
        for _ in range(MAX_ORDER_PAGES):
            if page is None:
                break
            answer = self._transport.post(page, POST_AS_GET, step="orders")
            urls += answer.read(orders.read_order_urls, step="orders")
            page = next(iter(answer.links("next")), None)
        return urls

    # Authorizations (7.5)

    def authorization(self, url: str) -> orders.Authorization:
        answer = self._transport.post(url, POST_AS_GET, step="authorization")
        wait = self._retry_after(answer)
        return answer.read(
            lambda body: orders.read_authorization(body, url=url, retry_after=wait), step="authorization"
        )

    def answer(self, challenge: orders.Challenge) -> orders.Challenge:
        """Tell the CA that the challenge can be validated (7.5.1): publish its key authorization before."""
        answer = self._transport.post(challenge.url, json_payload({}), step="challenge")
        return answer.read(orders.read_challenge, step="challenge")

    # Renewal information (RFC 9773)

    def renewal_info(self, cert_id: str) -> orders.RenewalInfo | None:
        """The suggested window of a certificate, None if the CA has none to tell."""
        return _renewal_info(self._transport, self.directory, cert_id)

    def _retry_after(self, answer: Answer) -> timedelta | None:
        return answer.retry_after(now=self._transport.now())


class RenewalClient:
    """A CA's renewal information (RFC 9773), which needs no account; made by `connect`."""

    def __init__(self, *, transport: AcmeTransport, directory: Directory) -> None:
        """Use `connect`."""
        self._transport = transport
        self._directory = directory

    @classmethod
    def connect(
        cls,
        server_url: str,
        *,
        ca_bundle_pem: bytes | None,
        user_agent: str,
        timeout: timedelta,
        deadline: datetime,
        now: Callable[[], datetime],
    ) -> Self:
        """Fetch the directory, see `AcmeClient.connect`. Raises AcmeError, ValueError for a bad bundle."""
        transport = AcmeTransport(
            key=None,
            ca_bundle_pem=ca_bundle_pem,
            user_agent=user_agent,
            timeout=timeout,
            deadline=deadline,
            now=now,
            sleep=time.sleep,
        )
        try:
            answer = transport.get(server_url, step="directory")
            return cls(transport=transport, directory=answer.read(read_directory, step="directory"))
        except BaseException:
            transport.close()
            raise

    def close(self) -> None:
        self._transport.close()

    def renewal_info(self, cert_id: str) -> orders.RenewalInfo | None:
        """The suggested window of a certificate, None if the CA has none to tell. Raises AcmeError."""
        return _renewal_info(self._transport, self._directory, cert_id)


def _renewal_info(transport: AcmeTransport, directory: Directory, cert_id: str) -> orders.RenewalInfo | None:
    if directory.renewal_info is None:
        return None
    url = f"{directory.renewal_info.rstrip('/')}/{cert_id}"
    answer = transport.get(url, step="renewalInfo")
    asked = answer.retry_after(now=transport.now())
    wait = clamp_wait(ARI_DEFAULT if asked is None else asked, shortest=ARI_SHORTEST, longest=ARI_LONGEST)
    return answer.read(lambda body: orders.read_renewal_info(body, retry_after=wait), step="renewalInfo")
