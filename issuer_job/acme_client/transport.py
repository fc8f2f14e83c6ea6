"""One TLS connection to a CA: signed requests, nonces, bounded answers (RFC 8555 6)."""

from __future__ import annotations

import json
import random
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Required, TypedDict

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from issuer_job.acme_client.answers import Answer, checked, is_https, url_host
from issuer_job.acme_client.keys import AccountKey, decode_nonce
from issuer_job.acme_client.problems import (
    NO_TYPE,
    AcmeError,
    AcmeProblem,
    AcmeUnavailable,
    clean_text,
    unavailable,
)

MAX_BODY = 1 << 20
LONGEST_ANSWER = timedelta(seconds=30)  # from its head to its end: each wait for data is bounded by the timeout alone
MAX_NONCES = 16
MAX_REDIRECTS = 5
POST_AS_GET = b""  # RFC 8555 6.3
NONCE_TRIES = 24  # half of the nonces rejected: one request in 17 million fails
EAGER_NONCE_TRIES = 10  # without a pause
NONCE_PAUSE = timedelta(milliseconds=50)

_CHUNK = 16384
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NONCE_HEADER = "Replay-Nonce"


def tls_context(ca_bundle_pem: bytes) -> ssl.SSLContext:
    """Trust exactly the certificates of this bundle. Raises ValueError if it holds none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
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


class _PinnedAdapter(HTTPAdapter):
    """Verifies with one SSLContext and nothing else, whatever the session or the environment say."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
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
    server_time: datetime | None = None
    _nonces: deque[bytes] = field(default_factory=lambda: deque(maxlen=MAX_NONCES))
    _session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        # REQUESTS_CA_BUNDLE would replace `verify`, .netrc would add credentials; proxies come explicitly.
        self._session.trust_env = False
        self._session.headers["User-Agent"] = self.user_agent
        self._session.headers["Accept-Encoding"] = "identity"
        if self.ca_bundle_pem is not None:
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
        host = url_host(url)
        if not is_https(url):
            raise unavailable(f"{host} has no usable https URL", step=step)
        timeout = min(self.timeout, self._time_left()).total_seconds()
        if timeout <= 0:
            raise unavailable(f"no time left to ask {host}", step=step)
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
                proxies=get_environ_proxies(url),
            ) as response:
                body_read = self._read(response, step=step)
                answer = Answer(url, response.status_code, response.headers, body_read, step, self.now())
        except requests.exceptions.Timeout:
            raise unavailable(f"{host} did not answer within {timeout:.0f} s", step=step) from None
        except requests.exceptions.SSLError as error:
            raise unavailable(f"the TLS connection to {host} failed: {_reason(error)}", step=step) from None
        except requests.exceptions.RequestException as error:
            sentence = f"the connection to {host} failed: {_reason(error)}"
            lost = isinstance(error, requests.exceptions.ConnectionError)
            kind = _ConnectionLost if lost else AcmeUnavailable
            raise kind(AcmeProblem(NO_TYPE, sentence), step=step) from None
        self._remember(answer)
        return answer

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


class _ConnectionLost(AcmeUnavailable):
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
