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
        told = _Told()
        own = ["".join(lines).encode(errors="replace") for now in self._gauges for lines in _families(now(), told)]
        return b"".join([generate_latest(self._registry), *own])


def _families(samples: Samples, told: _Told) -> Iterator[list[str]]:
    for family, found in samples:
        name, keys = family.full_name, family.labels
        lines = [f"{name}{told[keys, values]} {value:.15g}\n" for values, value in found]
        if lines:
            yield [f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n", *lines]


class _Told(dict[tuple[tuple[str, ...], tuple[str, ...]], str]):
    """Labels with their values as text, by both: many families have the same ones."""

    def __missing__(self, wanted: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
        pairs = (f'{key}="{value.translate(_ESCAPED)}"' for key, value in zip(*wanted, strict=True))
        self[wanted] = text = f"{{{','.join(pairs)}}}" if wanted[0] else ""
        return text
