"""Keeps a ChallengeIndex equal to the challenge ConfigMaps of the namespace: list, then watch, in a thread.

A watch can freeze: the connection stands and nothing comes. The read timeout ends that, but only after minutes, and
a validation would fail meanwhile. So a request for an unknown token is a reason to doubt: a list, at most one every
two seconds whatever is requested, tells whether the index lacks something; then a new watch takes over.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from issuer_job.challenge_index import ChallengeIndex, Challenges, read_challenges
from issuer_job.kube import CONFIGMAPS, Cluster, Gone, Json, KubeError
from issuer_job.vocabulary import CHALLENGE, NAMESPACE

log = logging.getLogger("issuer_job.responder")

SELECTOR = f"{CHALLENGE}=true"
_PAGE = 100
_MAX_SESSIONS = 8
"""A frozen watch's thread lives until its read timeout; more than this many at once are not started."""


@dataclass(frozen=True)
class Timing:
    """Seconds. The backoff doubles from `backoff` to `backoff_max`, each wait a random half to whole of it."""

    watch: tuple[int, int] = (240, 300)
    backoff: float = 0.5
    backoff_max: float = 10.0
    doubt_grace: float = 0.3
    """How long a token may be on its way through the watch before its absence is doubted."""
    doubt_interval: float = 2.0


class ChallengeWatch:
    """List and watch of the challenge ConfigMaps. The index keeps answering while the API server is away."""

    def __init__(self, cluster: Cluster, index: ChallengeIndex, *, timing: Timing | None = None) -> None:
        self.index = index
        self.listed = threading.Event()
        """Set by the first complete list, for good."""
        self._cluster = cluster
        self._timing = timing or Timing()
        self._stopped = threading.Event()
        self._doubted = threading.Event()
        self._lock = threading.Lock()
        self._session = 0
        self._threads: list[threading.Thread] = []
        self._checker = threading.Thread(target=self._check, name="challenge-check", daemon=True)

    def start(self) -> None:
        """Starts the threads; they are daemons."""
        self._start_session()
        self._checker.start()

    def stop(self) -> None:
        """Ends the threads soon; one that reads from a silent watch ends with the process."""
        self._stopped.set()
        self._doubted.set()

    def alive(self) -> bool:
        """Whether the threads run: false after a bug, and then only a restart helps."""
        return self._threads[-1].is_alive() and self._checker.is_alive()

    def doubt(self) -> None:
        """A token was asked for that the index does not have. Returns at once."""
        self._doubted.set()

    def _start_session(self) -> None:
        with self._lock:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) >= _MAX_SESSIONS:
                return
            self._session += 1
            name = f"challenge-watch-{self._session}"
            thread = threading.Thread(target=self._follow, args=(self._session,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _follow(self, session: int) -> None:
        version: str | None = None
        failures = 0
        while self._current(session):
            begun = time.monotonic()
            try:
                if version is None:
                    version = self._list(session)
                for event in self._events(version):
                    if not self._apply(session, event):
                        return
                    version = event["object"]["metadata"]["resourceVersion"]
                    failures = 0
            except Gone:
                version = None
            except (KubeError, ValueError) as problem:
                log.warning("watch-interrupted", extra={"fields": {"problem": str(problem), "failures": failures}})
            # A watch that ends at once counts as a failure too, or it would be asked for in a hot loop.
            failures = failures + 1 if time.monotonic() - begun < 5 else 0
            if failures:
                self._pause(failures)

    def _pause(self, failures: int) -> None:
        longest = min(self._timing.backoff * 2.0 ** min(failures - 1, 10), self._timing.backoff_max)
        self._stopped.wait(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _current(self, session: int) -> bool:
        return session == self._session and not self._stopped.is_set()

    def _fetch(self) -> tuple[list[Challenges], str]:
        """All challenges, and the resourceVersion from which to watch. Raises Gone when a page expired."""
        found: list[Challenges] = []
        token = version = ""
        while True:
            answer = self._cluster.list_page(CONFIGMAPS, NAMESPACE, labels=SELECTOR, limit=_PAGE, token=token)
            version = version or answer["metadata"]["resourceVersion"]
            found += [_read(item) for item in answer.get("items") or []]
            token = answer["metadata"].get("continue") or ""
            if not token:
                return found, version

    def _list(self, session: int) -> str:
        found, version = self._fetch()
        with self._lock:
            if self._current(session):
                _warn_full(self.index.replace(found))
                self.listed.set()
        log.info("challenges-listed", extra={"fields": {"configmaps": len(found), "tokens": len(self.index)}})
        return version

    def _events(self, version: str) -> Iterator[Json]:
        seconds = random.randint(*self._timing.watch)  # noqa: S311 - jitter
        return self._cluster.watch(CONFIGMAPS, NAMESPACE, labels=SELECTOR, resource_version=version, seconds=seconds)

    def _apply(self, session: int, event: Json) -> bool:
        """False if another session has taken over."""
        with self._lock:
            if not self._current(session):
                return False
            if event["type"] in ("ADDED", "MODIFIED"):
                _warn_full(self.index.put(_read(event["object"])))
            elif event["type"] == "DELETED":
                self.index.drop(event["object"]["metadata"]["uid"])
            return True

    def _check(self) -> None:
        while self._doubted.wait() and not self._stopped.wait(self._timing.doubt_grace):
            self._doubted.clear()
            if self.listed.is_set() and self._lacks_something() and not self._stopped.is_set():
                log.warning("watch-stale", extra={"fields": {"tokens": len(self.index)}})
                self._start_session()
            self._stopped.wait(self._timing.doubt_interval)

    def _lacks_something(self) -> bool:
        try:
            found, _ = self._fetch()
        except (KubeError, ValueError) as problem:
            log.info("check-failed", extra={"fields": {"problem": str(problem)}})
            return False
        # What was created during the list may still be on its way through the watch.
        return self._absent(found) and not self._stopped.wait(self._timing.doubt_grace) and self._absent(found)

    def _absent(self, found: list[Challenges]) -> bool:
        if self.index.full():
            return False
        return any(self.index.lookup(token) is None for challenges in found for token in challenges.tokens)


def _read(configmap: Json) -> Challenges:
    challenges = read_challenges(configmap)
    if challenges.invalid or challenges.cut:
        fields = {"configmap": challenges.name, "invalid": challenges.invalid, "cut": challenges.cut}
        log.warning("challenges-ignored", extra={"fields": fields})
    return challenges


def _warn_full(left_out: int) -> None:
    if left_out:
        log.error("index-full", extra={"fields": {"left_out": left_out}})
