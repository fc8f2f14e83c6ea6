"""acme-dns: a small DNS server that serves nothing but challenges, with an account per host (its API is one POST)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

import msgspec

from issuer_job.dns01.providers.errors import ProviderError, Scrubber
from issuer_job.dns01.providers.provider import DnsProvider, Scope
from issuer_job.issuers.schema import Dns01

TIMEOUT = 10.0
MAX_ANSWER = 64 * 1024
PREFIX = "_acme-challenge."


class AcmeDnsAccount(msgspec.Struct, frozen=True):
    """What acme-dns answered to `/register`. Challenges of the host are read at `fulldomain`."""

    username: str
    password: str
    fulldomain: str
    subdomain: str

    def __repr__(self) -> str:
        return f"Account({self.fulldomain})"


class AcmeDns:
    """Publishes values. acme-dns keeps the last two of an account, and forgets the oldest by itself."""

    def __init__(self, server: str, accounts: Mapping[str, AcmeDnsAccount]) -> None:
        self._server = urlsplit(server)
        self._accounts = accounts
        secrets = (secret for account in accounts.values() for secret in (account.username, account.password))
        self._scrub = Scrubber(secrets)

    def add(self, name: str, value: str) -> None:
        """`name` is where the host's alias leads. Raises ProviderError."""
        account = self._account(name)
        body = msgspec.json.encode({"subdomain": account.subdomain, "txt": value})
        headers = {"X-Api-User": account.username, "X-Api-Key": account.password, "Content-Type": "application/json"}
        status, said = self._post(body, headers)
        if status == 401:
            raise ProviderError(f"acme-dns refused the credentials of {account.fulldomain}")
        if status != 200:
            raise ProviderError(self._scrub(f"acme-dns answered {status}: {said}"), passes=status >= 500)

    def remove(self, name: str, value: str) -> None:
        """Nothing: acme-dns has no such call, and the next values take this one's place."""

    def _account(self, name: str) -> AcmeDnsAccount:
        for account in self._accounts.values():
            if account.fulldomain.rstrip(".").lower() == name:
                return account
        host = name.removeprefix(PREFIX)
        known = self._accounts.get(host)
        if known is None:
            raise ProviderError(f"none of the accounts has the fulldomain {name}, and none is for {host}")
        raise ProviderError(f"{PREFIX}{host} must be a CNAME of {known.fulldomain}")

    def _post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        url = self._server
        connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
        try:
            with closing(connect(url.netloc, timeout=TIMEOUT)) as connection:
                connection.request("POST", f"{url.path.rstrip('/')}/update", body, dict(headers))
                answer = connection.getresponse()
                return answer.status, answer.read(MAX_ANSWER).decode(errors="replace")
        except (OSError, HTTPException) as problem:
            raise ProviderError(self._scrub(f"acme-dns: {type(problem).__name__}: {problem}"), passes=True) from None


def _open(dns01: Dns01, zone: str, secrets: Mapping[str, str]) -> AcmeDns:
    """`accounts` is a registration file: `{"www.example.org": {"username": ..., "password": ..., ...}}`."""
    try:
        accounts = msgspec.json.decode(secrets.get("accounts", "{}"), type=dict[str, AcmeDnsAccount])
    except (msgspec.DecodeError, RecursionError) as problem:
        raise ProviderError(f"the accounts of acme-dns cannot be read: {problem}") from None
    return AcmeDns(str(dns01.options.get("server", "")), accounts)


PROVIDER = DnsProvider(
    name="acme-dns",
    options=("server", "accounts"),
    secrets=frozenset({"accounts"}),
    open=_open,
    required=("server", "accounts"),
    scope=Scope.VALUE,
    keeps=2,
    by_name=True,
)
