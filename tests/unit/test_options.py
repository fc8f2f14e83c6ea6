"""The operator's options."""

from __future__ import annotations

import pytest

from issuer_job import vocabulary as v
from issuer_job.options import MAX_DOCUMENT, Options, OptionsError, Routes, parse


def parsed(text: str) -> Options:
    return parse({"data": {v.OPTIONS_KEY: text}})


@pytest.mark.parametrize("text", ["", "  \n", "{}"])
def test_everything_is_optional(text: str) -> None:
    assert parsed(text) == Options() == parse(None)
    assert (Options().routes, Options().complete_tls) == (Routes.ADMISSION, False)


def test_every_field() -> None:
    text = "routes: job\nlaunchesPerSweep: 7\nactiveOrdersPerNamespace: 3\ncompleteTls: true\n"
    assert parsed(text) == Options(
        routes=Routes.JOB, launches_per_sweep=7, active_orders_per_namespace=3, complete_tls=True
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("routes: nowhere", r"\$\.routes"),
        ("launchesPerSweep: 0", r"\$\.launchesPerSweep"),
        ("launchesPerSweep: 10001", r"\$\.launchesPerSweep"),
        ("activeOrdersPerNamespace: 0", r"\$\.activeOrdersPerNamespace"),
        ("activeOrdersPerNamespace: many", r"\$\.activeOrdersPerNamespace"),
        ("completeTls: sometimes", r"\$\.completeTls"),
        ("launches_per_sweep: 5", "launches_per_sweep"),
        ("[]", "object"),
        ("a: [", "certjob-options"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str) -> None:
    with pytest.raises(OptionsError, match=named):
        parsed(text)


@pytest.mark.parametrize(("field", "value"), [("launchesPerSweep", 1), ("activeOrdersPerNamespace", 10_000)])
def test_the_bounds_themselves_are_allowed(field: str, value: int) -> None:
    assert parsed(f"{field}: {value}") != Options()


@pytest.mark.parametrize("config_map", [{}, {"data": None}, {"data": {"other": ""}}])
def test_a_config_map_without_the_key(config_map: dict[str, object]) -> None:
    with pytest.raises(OptionsError, match=v.OPTIONS_KEY):
        parse(config_map)


def test_a_document_has_a_bound() -> None:
    with pytest.raises(OptionsError, match="larger"):
        parsed("#" * (MAX_DOCUMENT + 1))
