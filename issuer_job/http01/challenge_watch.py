"""Keeps a ChallengeIndex equal to the challenge ConfigMaps of the namespace: list, then watch, in a thread.

A list is asked for at the start and after an error, 410 among them; a watch that ends goes on where it was. What
comes in at the challenge port never asks the API server.

A watch can freeze: the connection stands and nothing comes. So watches are short: the read timeout is their length
and 5 s, thus at most 40 s after the last event the connection counts as lost, and a list mends the index. Until then
this responder says 404 to new tokens (and still answers deleted ones, which harms nobody). A Job asks each responder
before it tells the CA, and waits for one that says 404 longer than that.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from issuer_job import log
from issuer_job.cluster.api import CONFIGMAPS, Cluster, Json, KubeError
from issuer_job.http01.challenge_index import ChallengeIndex, Challenges, read_challenges
from issuer_job.vocabulary import CHALLENGE, NAMESPACE

SELECTOR = f"{CHALLENGE}=true"


@dataclass(frozen=True)
class Timing:
    """Seconds. The backoff doubles from `backoff` to `backoff_max`, each wait a random half to whole of it."""

    watch: tuple[int, int] = (25, 35)
    """Shortest and longest life of a watch: random, so that the responders do not ask in step."""
    backoff: float = 0.5
    backoff_max: float = 10.0


class ChallengeWatch:
    """List and watch of the challenge ConfigMaps. The index keeps answering while the API server is away."""

    def __init__(self, cluster: Cluster, index: ChallengeIndex, *, timing: Timing | None = None) -> None:
        self.index = index
        self.listed = threading.Event()
        """Set by the first complete list, for good."""
        self._cluster = cluster
        self._timing = timing or Timing()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="challenge-watch", daemon=True)

    def start(self) -> None:
        """Starts the thread; it is a daemon."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread with the watch that is open, or with the process."""
        self._stopped.set()

    def alive(self) -> bool:
        """Whether the thread runs: false after a bug, and then only a restart helps."""
        return self._thread.is_alive()

    def _follow(self) -> None:
        version = ""
        failures = 0
        while not self._stopped.is_set():
            begun = time.monotonic()
            try:
                version = version or self._list()
                for event in self._events(version):
                    self._apply(event)
                    version = event["object"]["metadata"]["resourceVersion"]
                    failures = 0
            except (KubeError, ValueError) as problem:
                log.warning("watch-interrupted", problem=str(problem), failures=failures)
                version = ""
            # A watch that ends at once counts as a failure too, or it would be asked for in a hot loop.
            failures = failures + 1 if time.monotonic() - begun < 5 else 0
            if failures:
                self._pause(failures)

    def _pause(self, failures: int) -> None:
        longest = min(self._timing.backoff * 2.0 ** min(failures - 1, 10), self._timing.backoff_max)
        self._stopped.wait(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _list(self) -> str:
        """Fills the index; returns the resourceVersion from which to watch."""
        found: list[Challenges] = []
        version = ""
        for page in self._cluster.pages(CONFIGMAPS, NAMESPACE, labels=SELECTOR):
            version = version or page.version
            found += map(_read, page.objects())
        _warn_full(self.index.replace(found))
        self.listed.set()
        log.info("challenges-listed", configmaps=len(found), tokens=len(self.index))
        return version

    def _events(self, version: str) -> Iterator[Json]:
        seconds = random.randint(*self._timing.watch)  # noqa: S311 - jitter
        return self._cluster.watch(CONFIGMAPS, NAMESPACE, labels=SELECTOR, resource_version=version, seconds=seconds)

    def _apply(self, event: Json) -> None:
        if event["type"] in ("ADDED", "MODIFIED"):
            _warn_full(self.index.put(_read(event["object"])))
        elif event["type"] == "DELETED":
            self.index.drop(event["object"]["metadata"]["uid"])


def _read(configmap: Json) -> Challenges:
    challenges = read_challenges(configmap)
    if challenges.invalid or challenges.cut:
        log.warning("challenges-ignored", configmap=challenges.name, invalid=challenges.invalid, cut=challenges.cut)
    return challenges


def _warn_full(left_out: int) -> None:
    if left_out:
        log.error("index-full", left_out=left_out)
