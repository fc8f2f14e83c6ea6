"""The text that Prometheus scrapes. The only module that imports `prometheus_client`: no Job imports this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from issuer_job import vocabulary as v
from issuer_job.metrics.families import BUILD_INFO, Family, Samples

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the counters
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Exposition:
    """The metrics of one process, its own memory and CPU among them. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._gauges: list[Callable[[], Samples]] = [lambda: [(BUILD_INFO, [((v.VERSION,), 1.0)])]]

    def counter(self, family: Family) -> Counter:
        """Counts from 0 on; only goes up."""
        return Counter(family.full_name, family.help, family.labels, registry=self._registry)

    def histogram(self, family: Family) -> Histogram:
        """Counts into the family's buckets."""
        return Histogram(
            family.full_name, family.help, family.labels, registry=self._registry, buckets=family.buckets
        )

    def gauges(self, now: Callable[[], Samples]) -> None:
        """What `now` says at each scrape, and nothing that it does not say any more."""
        self._gauges.append(now)

    def text(self) -> bytes:
        """As it is now, in Prometheus' text format 0.0.4."""
        # The library takes a second for 50,000 samples, and ten times their size.
        own = [line for now in self._gauges for line in _lines(now())]
        return b"".join([generate_latest(self._registry), *own])


def _lines(samples: Samples) -> Iterator[bytes]:
    for family, found in samples:
        name, head = family.full_name, True
        for values, value in found:
            if head:
                yield f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n".encode()
                head = False
            yield f"{name}{_told(family.labels, values)} {value:.15g}\n".encode()


def _told(keys: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = (f'{key}="{value.translate(_ESCAPED)}"' for key, value in zip(keys, values, strict=True))
    return f"{{{','.join(pairs)}}}" if keys else ""
