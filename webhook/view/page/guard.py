"""What every answer of the page says, and who is not answered."""

from __future__ import annotations

import re
from collections.abc import Iterable

LOCAL = ("localhost", "127.0.0.1", "[::1]")
"""What a browser at the end of `kubectl port-forward` calls this."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
METHODS = ("GET", "HEAD")
_PORT = re.compile(r":\d{1,5}\Z")


class KnownHosts:
    """The names that the page may be called by.

    A stranger's site can lead its own name to the forwarded port on the user's machine (DNS rebinding), and would
    then read the page as its own: the name gives it away.
    """

    def __init__(self, configured: Iterable[str] = ()) -> None:
        self._names = frozenset(name.lower() for name in (*LOCAL, *configured))

    def knows(self, host: str) -> bool:
        """Whether a Host header, with or without a port, is one of them."""
        return _PORT.sub("", host.lower()) in self._names
