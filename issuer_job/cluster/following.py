"""Keeps something equal to a collection: list, then watch, in a thread.

A list is asked for at the start and after an error, 410 among them; a watch that ends goes on where it was. A watch
can freeze: the connection stands and nothing comes. So watches are short: the read timeout is their length and 5 s,
thus at most 40 s after the last event the connection counts as lost, and a list mends what was missed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from issuer_job import log
from issuer_job.cluster.api import Cluster, Json, KubeError, Resource


@dataclass(frozen=True)
class Timing:
    """Seconds. The backoff doubles from `backoff` to `backoff_max`, each wait a random half to whole of it."""

    watch: tuple[int, int] = (25, 35)
    """Shortest and longest life of a watch: random, so that those who watch do not ask in step."""
    backoff: float = 0.5
    backoff_max: float = 10.0


class Keeper(Protocol):
    """What is kept equal. Called in the thread that follows; what it raises besides KubeError ends that."""

    def replace(self, objects: Iterable[Json]) -> None:
        """Exactly these are there. They come page by page; KubeError in between: nothing is to change."""

    def put(self, changed: Json) -> None:
        """This one is there, or is another now."""

    def drop(self, gone: Json) -> None:
        """This one is not there any more."""


class Follower:
    """List and watch of the objects with these labels in a namespace. What is kept stays while it is away."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        namespace: str,
        keeper: Keeper,
        *,
        labels: str,
        timing: Timing | None = None,
    ) -> None:
        self.listed = threading.Event()
        """Set by the first complete list, for good."""
        self.heard_at = 0.0
        """When the keeper was known to be equal last, in seconds since 1970; 0 before the first list."""
        self._cluster, self._resource, self._namespace = cluster, resource, namespace
        self._keeper, self._labels = keeper, labels
        self._timing = timing or Timing()
        self._stopped = threading.Event()
        self._again = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"follow-{resource.plural}", daemon=True)

    def start(self) -> None:
        """Starts the thread; it is a daemon."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread with the watch that is open, or with the process."""
        self._stopped.set()

    def alive(self) -> bool:
        """Whether the thread runs: false after a bug, and then only a restart helps."""
        return self._thread.is_alive()

    def list_again(self) -> None:
        """Have everything put anew as soon as the watch that is open ends."""
        self._again.set()

    def _follow(self) -> None:
        version = ""
        failures = 0
        while not self._stopped.is_set():
            begun = time.monotonic()
            try:
                if not version or self._again.is_set():
                    self._again.clear()
                    version = self._list()
                for event in self._events(version):
                    self._apply(event)
                    version = event["object"]["metadata"]["resourceVersion"]
                    failures = 0
                    self.heard_at = time.time()
                self.heard_at = time.time()  # it ended in the regular way: nothing else has happened
            except (KubeError, ValueError) as problem:
                about = f"{self._resource.plural} {self._labels}"
                log.warning("watch-interrupted", about=about, problem=str(problem), failures=failures)
                version = ""
            # A watch that ends at once counts as a failure too, or it would be asked for in a hot loop.
            failures = failures + 1 if time.monotonic() - begun < 5 else 0
            if failures:
                self._pause(failures)

    def _pause(self, failures: int) -> None:
        longest = min(self._timing.backoff * 2.0 ** min(failures - 1, 10), self._timing.backoff_max)
        self._stopped.wait(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _list(self) -> str:
        """Fills the keeper; returns the resourceVersion from which to watch."""
        versions: list[str] = []

        def objects() -> Iterator[Json]:
            for page in self._cluster.pages(self._resource, self._namespace, labels=self._labels):
                versions.append(page.version)
                yield from page.objects()

        self._keeper.replace(objects())
        self.heard_at = time.time()
        self.listed.set()
        return versions[0]

    def _events(self, version: str) -> Iterator[Json]:
        return self._cluster.watch(
            self._resource,
            self._namespace,
            labels=self._labels,
            resource_version=version,
            seconds=random.randint(*self._timing.watch),  # noqa: S311 - jitter
        )

    def _apply(self, event: Json) -> None:
        if event["type"] in ("ADDED", "MODIFIED"):
            self._keeper.put(event["object"])
        elif event["type"] == "DELETED":
            self._keeper.drop(event["object"])
