"""Families of metrics: what docs/metrics.md is made from. Pure; each process has a table of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

PREFIX = "certjob_"
OTHER = "other"
"""Stands in a label for words that are on no list: strangers must not make series."""


class Kind(StrEnum):
    """Of a family; as Prometheus calls it."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Family:
    """`name` is without the prefix; `buckets` are the upper bounds of a histogram's. Units are in the name."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus has it."""
        return PREFIX + self.name


Sample = tuple[tuple[str, ...], float]
"""The values of a family's labels, and its own."""
Samples = Iterable[tuple[Family, Iterable[Sample]]]
"""Gauges as they are now; a family that has no sample is left out."""

BUILD_INFO = Family("build_info", Kind.GAUGE, "1, with the version of certjob that runs", ("version",))
