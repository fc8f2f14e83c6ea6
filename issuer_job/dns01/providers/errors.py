"""What a DNS provider's failure tells its users, without what it must not tell them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

LONGEST_DETAIL = 300
SHORTEST_SECRET = 4
"""What is shorter is no secret, and replacing it would garble every message."""
LONGEST_CHAIN = 10
TSIG_REFUSED = frozenset({"PeerBadKey", "PeerBadSignature", "PeerBadTime", "PeerBadTruncation"})
"""What dnspython calls a server's refusal of a signature (RFC 8945, section 5.3)."""


class ProviderError(Exception):
    """A DNS provider could not be asked, or said no. `passes`: the same may work in a moment."""

    def __init__(self, detail: str, *, passes: bool = False) -> None:
        super().__init__(detail)
        self.passes = passes


class Scrubber:
    """Takes secrets out of texts, in the forms in which they get into URLs and headers."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST_SECRET}
        self._forms = sorted(found, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without secrets, on one line and not too long."""
        for form in self._forms:
            text = text.replace(form, "***")
        return " ".join(text.split())[:LONGEST_DETAIL]


def explain(error: BaseException, scrub: Scrubber) -> ProviderError:
    """Say what an exception of a provider's library means. Pure."""
    status = next(filter(None, map(_status, _chain(error))), None)
    words = scrub(f"{type(error).__name__}: {error}")
    said = next(filter(None, map(_body, _chain(error))), "")
    if said:
        words = scrub(f"{words} ({said})")
    if status in (401, 403) or type(error).__name__ in TSIG_REFUSED:
        return ProviderError(f"it refused the credentials: {words}")
    if status is not None:
        return ProviderError(words, passes=status in (408, 409, 425, 429) or status >= 500)
    name = type(error).__name__  # botocore's and dnspython's are no OSErrors
    lost = isinstance(error, OSError | EOFError) or "Timeout" in name or "Connection" in name
    return ProviderError(words, passes=lost)


def _forms(secret: str) -> Iterator[str]:
    for part in {secret, secret.strip(), *secret.split(":"), *secret.split()}:
        yield from (part, quote(part), quote(part, safe=""), quote_plus(part))
        yield b64encode(part.encode()).decode().rstrip("=")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those in whose handling it was raised: libraries trip over answers that they did not expect."""
    for _ in range(LONGEST_CHAIN):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """HTTP status of the answer that requests' or botocore's exceptions carry."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        response = response.get("ResponseMetadata") or {}
        status = response.get("HTTPStatusCode") if isinstance(response, dict) else None
    else:
        status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def _body(error: BaseException) -> str:
    text = getattr(getattr(error, "response", None), "text", "")
    return text[:10_000] if isinstance(text, str) else ""
