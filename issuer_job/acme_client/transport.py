"""One TLS connection to a CA: signed requests, nonces, bounded answers (RFC 8555 6)."""

from __future__ import annotations

import json
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Required, TypedDict, TypeVar

import requests
from requests import adapters
from requests.utils import get_environ_proxies

from issuer_job.acme_client.answers import Answer, checked, origin_of, url_host
from issuer_job.acme_client.keys import AccountKey, decode_nonce
from issuer_job.acme_client.problems import (
    MAX_DETAIL,
    AcmeError,
    AcmeProblem,
    AcmeUnavailable,
    CaSilent,
    ForeignUrl,
    clean_text,
    unavailable,
    unusable,
)

T = TypeVar("T")

MAX_BODY = 1 << 20
MAX_ANSWER = MAX_BODY + (256 << 10)  # with its headers, and whatever else a server may send before and after them
LONGEST_ANSWER = timedelta(seconds=30)  # to its end: each wait for data is bounded by the timeout alone
MAX_NONCES = 16
MAX_REDIRECTS = 5
POST_AS_GET = b""  # RFC 8555 6.3
NONCE_TRIES = 24  # half of the nonces rejected: one request in 17 million fails
EAGER_NONCE_TRIES = 10  # without a pause
NONCE_PAUSE = timedelta(milliseconds=50)

_CHUNK = 16384
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NONCE_HEADER = "Replay-Nonce"


@dataclass
class _Allowance:
    """What one answer may still cost: bytes, and time until a time.monotonic(). `spent` says which ran out."""

    octets: int
    until: float
    spent: str = ""

    def require(self) -> None:
        """Raises TimeoutError."""
        if self.octets <= 0 or time.monotonic() >= self.until:
            self.spent = "too big" if self.octets <= 0 else "too slow"
            raise TimeoutError(f"the answer is {self.spent}")


_ALLOWANCE: ContextVar[_Allowance] = ContextVar("allowance")


class _BoundedSocket(ssl.SSLSocket):
    """Bounds all that is received for a request: http.client and urllib3 bound single lines, not how many come."""

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """See socket.socket. Raises TimeoutError, too, when the request's allowance is spent."""
        return self._allowed(lambda: super(_BoundedSocket, self).recv_into(buffer, nbytes, flags), int)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """See recv_into: so is read what comes by TLS within the TLS of a proxy."""
        return self._allowed(lambda: super(_BoundedSocket, self).recv(buflen, flags), len)

    def _allowed(self, receive: Callable[[], T], size: Callable[[T], int]) -> T:
        allowance = _ALLOWANCE.get(None)
        if allowance is None:
            return receive()
        allowance.require()
        left = allowance.until - time.monotonic()
        self.settimeout(max(min(self.gettimeout() or left, left), 0.001))
        try:
            received = receive()
        except TimeoutError:
            allowance.require()
            raise
        allowance.octets -= size(received)
        return received


def _bounded_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _BoundedSocket
    return context


def tls_context(ca_bundle_pem: bytes | None) -> ssl.SSLContext:
    """Trust exactly the certificates of this bundle, None: the public roots. Raises ValueError if it holds none."""
    context = _bounded_context()
    if ca_bundle_pem is None:
        context.load_verify_locations(adapters.DEFAULT_CA_BUNDLE_PATH)
        return context
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a bundle may name an intermediate only
    try:
        context.load_verify_locations(cadata=ca_bundle_pem.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise ValueError("the issuer's CA bundle holds no readable PEM certificate") from None
    return context


class Connection(TypedDict, total=False):
    """How a CA is asked.

    `ca_bundle_pem` replaces the public roots, and nothing in the environment replaces it; proxies do come from the
    environment. `timeout` bounds the connection and each wait for data, and no request starts after `deadline`.
    """

    ca_bundle_pem: Required[bytes | None]
    user_agent: Required[str]
    timeout: timedelta
    deadline: datetime | None
    now: Callable[[], datetime]
    sleep: Callable[[float], None]


class _Session(requests.Session):
    """Follows no redirect: requests would read the answer's body for that, however long it is once it is unpacked."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """See requests.Session: there is none."""


class _PinnedAdapter(adapters.HTTPAdapter):
    """Verifies with one SSLContext and nothing else, whatever the session or the environment say."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        if proxy.lower().startswith("https:"):  # it is not the CA: the machine's own roots count
            kwargs["proxy_ssl_context"] = context = _bounded_context()
            context.load_default_certs()
        return super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        # The parent would load the public roots into the context, beside the bundle.
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = None


@dataclass
class AcmeTransport:
    """Sends requests, see Connection, and turns every failure into an AcmeError. May be shared by threads."""

    key: AccountKey | None
    ca_bundle_pem: bytes | None
    user_agent: str
    timeout: timedelta = timedelta(seconds=15)
    deadline: datetime | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    new_nonce_url: str = ""
    kid: str | None = None
    origins: Collection[str] = ()
    """Whom anything may be asked of, see `origin_of`; empty until the directory says so."""
    server_time: datetime | None = None
    _nonces: deque[bytes] = field(default_factory=lambda: deque(maxlen=MAX_NONCES))
    _session: requests.Session = field(default_factory=_Session)
    _proxies: dict[str | None, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # REQUESTS_CA_BUNDLE would replace `verify`, .netrc would add credentials; proxies come explicitly.
        self._session.trust_env = False
        self._session.headers["User-Agent"] = self.user_agent
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.mount("https://", _PinnedAdapter(tls_context(self.ca_bundle_pem)))

    def close(self) -> None:
        self._session.close()

    def _time_left(self) -> timedelta:
        return self.timeout if self.deadline is None else self.deadline - self.now()

    def pause(self, wait: timedelta) -> None:
        """Sleep, but never beyond the time left."""
        seconds = min(wait, self._time_left()).total_seconds()
        if seconds > 0:
            self.sleep(seconds)

    def get(self, url: str, *, step: str) -> Answer:
        """An unsigned GET of the directory or of renewal information; follows a few redirects."""
        for _ in range(MAX_REDIRECTS):
            answer = self._send_again("GET", url, step=step)
            if answer.status not in _REDIRECTS:
                return checked(answer)
            url = answer.location()
        raise unavailable(f"{url_host(url)} redirects without an end", step=step)

    def post(
        self,
        url: str,
        payload: dict[str, Any] | bytes = POST_AS_GET,
        *,
        step: str,
        embed_key: bool = False,
        accept: str = "application/json",
    ) -> Answer:
        """A signed POST of JSON; the empty payload is POST-as-GET (RFC 8555 6.3). Rejected nonces are replaced."""
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        for attempt in range(NONCE_TRIES):
            if attempt >= EAGER_NONCE_TRIES:
                self.pause(NONCE_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - spreading, not secrecy
            try:
                return checked(self._post_once(url, data, step=step, embed_key=embed_key, accept=accept))
            except AcmeError as error:
                if error.problem.type != "badNonce" or attempt == NONCE_TRIES - 1:
                    raise
                # The older ones are likely as dead; the one of this answer is fresh.
                with suppress(IndexError):
                    fresh = self._nonces.pop()
                    self._nonces.clear()
                    self._nonces.append(fresh)
        raise AssertionError("unreachable")

    def _post_once(self, url: str, payload: bytes, *, step: str, embed_key: bool, accept: str) -> Answer:
        kid = None if embed_key else self.kid
        if self.key is None or (kid is None and not embed_key):
            raise ValueError(f"{step}: no account yet")
        headers = {"Content-Type": "application/jose+json", "Accept": accept}
        for again in (not payload, False):  # POST-as-GET is a read
            body = self.key.sign(payload, url=url, nonce=self._nonce(), kid=kid)
            try:
                return self._send("POST", url, step=step, body=body, headers=headers)
            except _ConnectionLost:
                if not again:
                    raise
        raise AssertionError("unreachable")

    def _nonce(self) -> bytes:
        while True:  # another thread may have taken the one that was just fetched
            with suppress(IndexError):
                return self._nonces.pop()
            answer = self._send_again("HEAD", self.new_nonce_url, step="newNonce")
            checked(answer)
            if decode_nonce(answer.headers.get(_NONCE_HEADER, "")) is None:
                raise answer.unusable("holds no usable nonce")

    def require_own(self, url: str, *, step: str) -> None:
        """Raise ForeignUrl for a URL that is not of the CA: of the directory's host and port, or of one it names.

        Whoever could lead certjob elsewhere, with an answer or with what a record remembers, would have it ask
        others in its name, or sign requests for them (RFC 8555 6.4 binds a signature to its URL). Raises
        AcmeUnavailable for what is no https URL.
        """
        origin, host = origin_of(url), url_host(url)
        if origin is None:
            raise unavailable(f"{host} has no usable https URL", step=step)
        if self.origins and origin not in self.origins:
            own = ", ".join(sorted(self.origins))
            detail = f"a URL leads to {host}, which is not the CA's: its directory is of and names {own}"
            raise ForeignUrl(AcmeProblem("foreignUrl", clean_text(detail, limit=MAX_DETAIL)), step=step)

    def own_location(self, answer: Answer) -> str:
        """Where the answer says that something was made. Raises AcmeError, see `require_own`."""
        url = answer.location()
        self.require_own(url, step=answer.step)
        return url

    def _send_again(self, method: str, url: str, *, step: str) -> Answer:
        """Reads may be sent twice: a kept-alive connection can end just when it is used."""
        try:
            return self._send(method, url, step=step)
        except _ConnectionLost:
            return self._send(method, url, step=step)

    def _send(
        self,
        method: str,
        url: str,
        *,
        step: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        self.require_own(url, step=step)
        host = url_host(url)
        timeout = min(self.timeout, self._time_left()).total_seconds()
        if timeout <= 0:
            raise CaSilent(unusable(f"no time left to ask {host}"), step=step)
        longest = min(LONGEST_ANSWER, self._time_left() if self.deadline else LONGEST_ANSWER)
        allowance = _Allowance(MAX_ANSWER, time.monotonic() + longest.total_seconds())
        _ALLOWANCE.set(allowance)
        try:
            with self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
                verify=True,
                proxies=self._proxies_for(url),
            ) as response:
                body_read = self._read(response, step=step)
                answer = Answer(url, response.status_code, response.headers, body_read, step, self.now())
        except requests.exceptions.RequestException as error:
            if allowance.spent:
                kind = AcmeUnavailable if allowance.octets <= 0 else CaSilent
                raise kind(unusable(f"the answer of {host} is {allowance.spent}"), step=step) from None
            raise self._failed(error, host, step=step, timeout=timeout) from None
        self._remember(answer)
        return answer

    def _proxies_for(self, url: str) -> dict[str, str]:
        """As the environment says, which is looked through once for each of the CA's origins."""
        origin = origin_of(url)
        if origin not in self._proxies:
            self._proxies[origin] = get_environ_proxies(url)
        return self._proxies[origin]

    def _failed(
        self, error: requests.exceptions.RequestException, host: str, *, step: str, timeout: float
    ) -> CaSilent:
        if isinstance(error, requests.exceptions.Timeout):
            return CaSilent(unusable(f"{host} did not answer within {timeout:.0f} s"), step=step)
        if isinstance(error, requests.exceptions.SSLError):
            return CaSilent(unusable(f"the TLS connection to {host} failed: {_reason(error)}"), step=step)
        lost = isinstance(error, requests.exceptions.ConnectionError)
        kind = _ConnectionLost if lost else CaSilent
        return kind(unusable(f"the connection to {host} failed: {_reason(error)}"), step=step)

    def _read(self, response: requests.Response, *, step: str) -> bytes:
        body = bytearray()
        end = self.now() + min(LONGEST_ANSWER, self._time_left() if self.deadline else LONGEST_ANSWER)
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > MAX_BODY or self.now() >= end:
                what = "too big" if len(body) > MAX_BODY else "too slow"
                raise unavailable(
                    f"the answer of {url_host(response.url)} is {what}", step=step, status=response.status_code
                )
        return bytes(body)

    def _remember(self, answer: Answer) -> None:
        self.server_time = answer.date or self.server_time
        nonce = decode_nonce(answer.headers.get(_NONCE_HEADER, ""))
        if nonce is not None:
            self._nonces.append(nonce)


class _ConnectionLost(CaSilent):
    """The connection could not be made or broke; for a read, once more may help."""


def _reason(error: BaseException) -> str:
    """The innermost cause in few words, without URLs: the outer texts of requests quote the whole path."""
    for _ in range(10):
        causes = (getattr(error, "reason", None), *error.args, error.__cause__)
        inner = next((cause for cause in causes if isinstance(cause, BaseException)), None)
        if inner is None:
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return clean_text(error.strerror, limit=200)
    return clean_text(str(error.args[-1]) if error.args else type(error).__name__, limit=200)
