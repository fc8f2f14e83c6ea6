"""The text that Prometheus reads: what goes in comes out, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from issuer_job.metrics.exposition import Exposition
from issuer_job.metrics.families import Family, Kind

GAUGE = Family("odd", Kind.GAUGE, "An odd one", ("namespace", "name"))
PLAIN = Family("plain", Kind.GAUGE, "Without labels")


@pytest.mark.exhaustive
@given(st.dictionaries(st.tuples(st.text(), st.text()), st.floats(allow_nan=False), max_size=5))
def test_whatever_labels_say_it_is_read_as_it_was_told(samples: dict[tuple[str, str], float]) -> None:
    exposition = Exposition()
    exposition.gauges(lambda: [(GAUGE, samples.items()), (PLAIN, [((), 1.5)])])
    families = {family.name: family for family in text_string_to_metric_families(exposition.text().decode())}
    assert families["certjob_plain"].samples[0].value == 1.5
    found = families["certjob_odd"].samples if samples else []
    assert ("certjob_odd" in families) is bool(samples)
    read = {(sample.labels["namespace"], sample.labels["name"]): sample.value for sample in found}
    assert read == {labels: float(f"{value:.15g}") for labels, value in samples.items()}


def test_what_is_no_text_is_told_as_something() -> None:
    exposition = Exposition()
    exposition.gauges(lambda: [(GAUGE, [(("\ud800", "x"), 1.0)])])
    assert b'certjob_odd{namespace="?",name="x"} 1' in exposition.text()


def test_counters_have_one_series_each() -> None:
    exposition = Exposition()
    counter = exposition.counter(Family("seen_total", Kind.COUNTER, "Seen", ("what",)))
    counter.labels("a").inc()
    own = [line for line in exposition.text().decode().splitlines() if line.startswith("certjob_seen")]
    assert own == ['certjob_seen_total{what="a"} 1.0']
