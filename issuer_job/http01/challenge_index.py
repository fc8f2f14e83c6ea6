"""The responder's memory: which key authorization answers which token. Pure but for a lock.

Indexed by (ConfigMap uid, token): two records may hold one order and so one token, which dies with its last holder.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from issuer_job.cluster.api import Json

TOKEN = re.compile(r"[A-Za-z0-9_-]{22,128}")
"""RFC 8555, 8.3: base64url with at least 128 bits of entropy. The upper end is ours."""
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
MAX_PER_CONFIGMAP = 200
MAX_TOTAL = 20_000


@dataclass(frozen=True)
class Challenges:
    """What one ConfigMap says: key authorizations by token, and how many entries were left out, and why."""

    uid: str
    name: str
    tokens: Mapping[str, str]
    invalid: int = 0
    cut: int = 0


def read_challenges(configmap: Json, *, limit: int = MAX_PER_CONFIGMAP) -> Challenges:
    """The valid entries of a challenge ConfigMap's `data`, at most `limit`.

    A key authorization is the token, a dot, and the 43 characters of an account key's thumbprint (RFC 8555, 8.1).
    """
    metadata = configmap["metadata"]
    data = configmap.get("data") or {}
    valid = {token: value for token, value in data.items() if _valid(token, value)}
    kept = dict(list(valid.items())[:limit])
    return Challenges(metadata["uid"], metadata["name"], kept, len(data) - len(valid), len(valid) - len(kept))


def _valid(token: str, key_authorization: str) -> bool:
    head, _, thumbprint = key_authorization.partition(".")
    return head == token and bool(TOKEN.fullmatch(token)) and bool(_THUMBPRINT.fullmatch(thumbprint))


class ChallengeIndex:
    """Tokens of all orders. Thread-safe. Holds at most `limit` tokens; what comes later is left out."""

    def __init__(self, *, limit: int = MAX_TOTAL) -> None:
        self._limit = limit
        self._lock = threading.RLock()
        self._tokens: dict[str, dict[str, str]] = {}
        self._held: dict[str, tuple[str, ...]] = {}
        self._total = 0

    def __len__(self) -> int:
        """Tokens held; one with two holders counts twice."""
        return self._total

    def lookup(self, token: str) -> str | None:
        """The key authorization for a token, by its latest holder."""
        with self._lock:
            holders = self._tokens.get(token)
            return next(reversed(holders.values())) if holders else None

    def put(self, challenges: Challenges) -> int:
        """Replaces what one ConfigMap holds. Returns how many tokens found no room."""
        with self._lock:
            self.drop(challenges.uid)
            kept = tuple(challenges.tokens)[: self._limit - self._total]
            for token in kept:
                self._tokens.setdefault(token, {})[challenges.uid] = challenges.tokens[token]
            self._held[challenges.uid] = kept
            self._total += len(kept)
            return len(challenges.tokens) - len(kept)

    def drop(self, uid: str) -> None:
        """Forgets what one ConfigMap holds."""
        with self._lock:
            held = self._held.pop(uid, ())
            self._total -= len(held)
            for token in held:
                holders = self._tokens[token]
                del holders[uid]
                if not holders:
                    del self._tokens[token]

    def replace(self, everything: Iterable[Challenges]) -> int:
        """Holds exactly `everything` from now on. Returns how many tokens found no room."""
        listed = list(everything)
        with self._lock:
            self._tokens.clear()
            self._held.clear()
            self._total = 0
            return sum(self.put(challenges) for challenges in listed)
