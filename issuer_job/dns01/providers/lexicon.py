"""lexicon's DNS providers, bounded and quiet. The only module that imports lexicon; orders without DNS-01 need none.

Its provider classes are used without its Client: that looks for the zone itself, through a list of public suffixes
from the Internet, and certjob knows the zone.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from issuer_job.dns01.providers.errors import ProviderError, Scrubber, explain
from issuer_job.dns01.providers.provider import DnsProvider, Scope
from issuer_job.issuers.schema import Dns01

HTTP_TIMEOUT = (5.0, 20.0)
"""Seconds to connect, and for each read, where a provider's code has no bound of its own."""
MAX_ANSWER = 8 * 1024 * 1024
"""Bytes of one answer of a provider."""
_CHUNK = 65536
_NO_TIMEOUT = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
_bounded: ContextVar[bool] = ContextVar("bounded", default=False)
LEFT_OUT = frozenset({"auto", "localzone"})
"""One guesses the provider, the other edits a file."""


_AMBIENT = frozenset({"route53", "oci"})
_REQUIRED = {
    "cloudflare": ("auth_token",),
    "ddns": ("auth_token", "ddns_server"),
    "powerdns": ("auth_token", "pdns_server"),
}
_SCOPES = {
    "cloudflare": Scope.VALUE,
    "ddns": Scope.VALUE,
    "joker": Scope.ZONE,
    "namecheap": Scope.ZONE,
    "online": Scope.ZONE,
    "sakuracloud": Scope.ZONE,
    "valuedomain": Scope.ZONE,
}
"""All of a name's values unless something else is known."""
_SECRET = re.compile(r"token|secret|pass|psw|phrase|2fa|totp|service_account|key")
_NO_SECRET = re.compile(r"_id$|_is_global$|_file$|access_key$")


@cache
def names() -> dict[str, bool]:
    """Every provider's name, and whether the packages that it needs are there."""
    from lexicon._private.discovery import find_providers

    return {name: there for name, there in find_providers().items() if name not in LEFT_OUT}


def describe(provider: str) -> DnsProvider:
    """What is known of a provider. Raises LookupError if there is none, ProviderError if it cannot be used here."""
    known = tuple(options(provider))
    return DnsProvider(
        name=provider,
        options=known,
        secrets=frozenset(filter(is_secret, known)),
        open=Lexicon,
        required=_REQUIRED.get(provider, ()),
        ambient=provider in _AMBIENT,
        scope=_SCOPES.get(provider, Scope.NAME),
        lacks=lambda: lacks_packages(provider),
    )


def is_secret(option: str) -> bool:
    """Whether an option belongs into the Secret with credentials, by its name. Pure."""
    return bool(_SECRET.search(option)) and not _NO_SECRET.search(option)


def lacks_packages(provider: str) -> str:
    """Says so if the image has not all that a provider's code needs; empty if it has."""
    return "" if names().get(provider) else f"{provider} needs packages that this image lacks: see docs/dns.md"


def options(provider: str) -> dict[str, argparse.Action]:
    """A provider's options by name, as its own parser knows them. Raises LookupError, ProviderError."""
    parser = argparse.ArgumentParser(add_help=False)
    _module(provider).Provider.configure_parser(parser)
    return {action.dest: action for action in parser._actions}


def _module(provider: str) -> Any:
    """lexicon's code for a provider. Raises LookupError if there is none, ProviderError if it cannot be used here."""
    # A list of public suffixes comes with the package: nothing is to be fetched, or kept elsewhere.
    os.environ.setdefault("TLDEXTRACT_PUBLIC_SUFFIX_LIST_URLS", "")
    os.environ.setdefault("TLDEXTRACT_CACHE", "/tmp/tldextract")  # noqa: S108 - a cache of public data
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # boto3 wants one; Route 53 is the same in all
    if not provider.isidentifier() or provider in LEFT_OUT:
        raise LookupError(provider)
    try:
        return importlib.import_module(f"lexicon._private.providers.{provider}")
    except ModuleNotFoundError:
        raise LookupError(provider) from None
    except ImportError as problem:
        raise ProviderError(f"{provider} cannot be used in this image: {problem}") from None


class _SaidNo(ProviderError):
    """A provider's code returned False."""


class Lexicon:
    """One of lexicon's providers, logged in to one zone."""

    def __init__(self, dns01: Dns01, zone: str, secrets: Mapping[str, str]) -> None:
        """Raises ProviderError."""
        from lexicon.config import ConfigResolver

        self._name = dns01.provider
        self._scrub = Scrubber(secrets.values())
        self._words = _listen()
        _bound_http()
        known = options(dns01.provider)
        defaults = {name: action.default for name, action in known.items() if action.default is not None}
        own: dict[str, Any] = defaults | {"domain": zone}  # where `ddns` looks for it
        for name, value in {**dns01.options, **secrets}.items():
            own[name] = own[name.replace("_", "-")] = _typed(value, known.get(name))
        if dns01.provider == "ddns" and own.get("auth_token", "").count(":") != 2:
            raise ProviderError("ddns: auth_token is not ALGORITHM:KEYNAME:SECRET")
        config = {"provider_name": dns01.provider, "domain": zone, "ttl": dns01.ttl, dns01.provider: own}
        module = _module(dns01.provider)
        kind = _checked_ddns(module) if dns01.provider == "ddns" else module.Provider
        self._provider = self._ask(lambda: kind(ConfigResolver().with_dict(config)))  # type: ignore[no-untyped-call]
        self._ask(self._provider.authenticate)

    def add(self, name: str, value: str) -> None:
        """See OpenZone. Some code says no, without an error, to a value that is there."""
        try:
            self._change(self._provider.create_record, name, value)
        except _SaidNo:
            if not self._has(name, value, unknown=False):
                raise

    def remove(self, name: str, value: str) -> None:
        """See OpenZone. Some code refuses to remove what is not there, other code just logs a failure."""
        try:
            self._change(self._provider.delete_record, name, value)
        except ProviderError:
            if self._has(name, value, unknown=True):
                raise
            return
        said = self._scrub(self._words.last)
        if said and self._has(name, value, unknown=True):
            raise ProviderError(f"{self._name}: {said}", passes=True)

    def _has(self, name: str, value: str, *, unknown: bool) -> bool:
        """Whether the value is there, `unknown` if that cannot be asked."""
        try:
            found = self._ask(lambda: self._provider.list_records(rtype="TXT", name=name))
            return any(value in str(record.get("content")) for record in found)
        except ProviderError:
            return unknown

    def _change(self, change: Callable[..., Any], name: str, value: str) -> None:
        if self._ask(lambda: change(rtype="TXT", name=name, content=value)) is False:
            said = self._scrub(self._words.last) or "it did not say why"
            raise _SaidNo(f"{self._name}: {said}", passes=True)

    def _ask(self, call: Callable[[], Any]) -> Any:
        from lexicon.exceptions import AuthenticationError

        self._words.last = ""
        try:
            with bounded():
                return call()
        except ProviderError:
            raise
        except AuthenticationError as error:
            detail = f"it refused the credentials, or has no such zone: {self._scrub(str(error))}"
            raise ProviderError(f"{self._name}: {detail}") from None
        except Exception as error:  # noqa: BLE001 - what ninety providers' code may raise
            if isinstance(error, NameError):  # modules that could not be imported are left out silently
                raise ProviderError(lacks_packages(self._name) or f"{self._name}: {error}") from None
            known = explain(error, self._scrub)
            raise ProviderError(f"{self._name}: {known}", passes=known.passes) from None


def _typed(value: str | int | bool, action: argparse.Action | None) -> Any:
    """As the provider's code expects it from its command line: text, but for switches and what has a type."""
    if action is not None and action.nargs == 0:
        return str(value).lower() in ("true", "yes", "1")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    convert = action.type if action is not None else None
    return convert(text) if callable(convert) else text


def _checked_ddns(module: Any) -> Any:
    """lexicon's RFC 2136 provider, but it sees when the server refuses, and takes a host name and a port."""
    import dns.query
    import dns.rcode

    class CheckedDdns(module.Provider):  # type: ignore[misc]
        def _run_query(self, message: Any) -> Any:
            host, _, port = self.endpoint.partition(":") if self.endpoint.count(":") == 1 else (self.endpoint, "", "")
            found = socket.getaddrinfo(host, int(port or 53), type=socket.SOCK_STREAM)
            address, number = found[0][4][:2]
            answer = dns.query.tcp(message, str(address), port=int(number), timeout=10)
            code = answer.rcode()
            if code != dns.rcode.NOERROR:
                said = f"the server answered the update with {dns.rcode.to_text(code)}"
                if code in (dns.rcode.REFUSED, dns.rcode.NOTAUTH, dns.rcode.NOTZONE):
                    said += ": it does not let this key change that name, or does not have the zone"
                raise ProviderError(f"ddns: {said}", passes=code == dns.rcode.SERVFAIL)
            return answer

    return CheckedDdns


class _LastWords(logging.Handler):
    """Keeps the last error that lexicon logged, since some providers report nothing else. Nothing is written."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def _listen() -> _LastWords:
    """lexicon's log lines may hold tokens: none gets into ours."""
    words = _LastWords(logging.ERROR)
    logger = logging.getLogger("lexicon")
    logger.handlers, logger.propagate = [words], False
    logger.setLevel(logging.ERROR)
    return words


@contextmanager
def bounded() -> Iterator[None]:
    """A provider's code runs: its HTTP requests and connections, and nobody else's in this process, have bounds."""
    token = _bounded.set(True)
    try:
        yield
    finally:
        _bounded.reset(token)


def _bound_http() -> None:
    """Providers give their HTTP requests no timeout, which means: wait for ever. Nor do they give any bound to what
    they read.
    """
    from requests import RequestException
    from requests.adapters import HTTPAdapter

    plain, connect = HTTPAdapter.send, socket.create_connection
    if getattr(plain, "bounded", False):
        return

    def send(self: HTTPAdapter, *args: Any, **kwargs: Any) -> Any:
        if not _bounded.get():
            return plain(self, *args, **kwargs)
        kwargs["timeout"] = kwargs.get("timeout") or HTTP_TIMEOUT
        answer: Any = plain(self, *args, **kwargs)
        body = bytearray()
        for chunk in answer.iter_content(_CHUNK):
            body += chunk
            if len(body) > MAX_ANSWER:
                answer.close()
                raise RequestException(f"the provider's answer is larger than {MAX_ANSWER} bytes")
        answer._content = bytes(body)
        return answer

    def create_connection(address: Any, timeout: Any = _NO_TIMEOUT, *args: Any, **kwargs: Any) -> Any:
        own = timeout is not _NO_TIMEOUT or not _bounded.get()
        return connect(address, timeout if own else HTTP_TIMEOUT[1], *args, **kwargs)

    send.bounded = True  # type: ignore[attr-defined]
    HTTPAdapter.send = send  # type: ignore[method-assign]
    socket.create_connection = create_connection
