"""The operator's options."""

from __future__ import annotations

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, Cluster
from issuer_job.issuers.host_rules import HostRule
from issuer_job.issuers.options import (
    MAX_DOCUMENT,
    HostPolicy,
    Options,
    OptionsError,
    Routes,
    parse_options,
    read_options,
    remember_options,
)
from tests.fakes.api import FakeApi, status

RULES = "allowedHosts: [{namespaces: [team-*], suffixes: [x.dev]}]\n"


def parsed(text: str) -> Options:
    return parse_options({"data": {v.OPTIONS_KEY: text}})


@pytest.mark.parametrize("text", ["", "  \n", "{}"])
def test_everything_is_optional(text: str) -> None:
    assert parsed(text) == Options() == parse_options(None)
    assert (Options().routes, Options().complete_tls) == (Routes.ADMISSION, False)


def test_every_field() -> None:
    text = (
        "routes: job\nlaunchesPerSweep: 7\nactiveOrdersPerNamespace: 3\ncompleteTls: true\nhostPolicy: allow-list\n"
        "claimGrace: 36h\n"
    )
    assert parsed(text + RULES) == Options(
        routes=Routes.JOB,
        launches_per_sweep=7,
        active_orders_per_namespace=3,
        complete_tls=True,
        host_policy=HostPolicy.ALLOW_LIST,
        claim_grace="36h",
        allowed_hosts=(HostRule(namespaces=("team-*",), suffixes=("x.dev",)),),
    )


def test_the_first_claim_counts_unless_the_operator_says_otherwise() -> None:
    assert Options().host_policy is HostPolicy.FIRST_CLAIM
    assert parsed("hostPolicy: open").host_policy is HostPolicy.OPEN


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
        ("hostPolicy: closed", r"\$\.hostPolicy"),
        ("hostPolicy: allow-list", r"\$\.allowedHosts"),
        ("hostPolicy: open\n" + RULES, "allowedHosts` and `hostPolicy"),
        (RULES, "allowedHosts` and `hostPolicy"),
        (
            "hostPolicy: allow-list\nallowedHosts: [{namespaces: [], suffixes: [x.dev]}]",
            r"\$\.allowedHosts\[0\]\.names",
        ),
        (
            "hostPolicy: allow-list\nallowedHosts: [{namespaces: [a], suffixes: ['*.x.dev']}]",
            r"suffixes\[0\].*\*\.x\.dev",
        ),
        ("allowedHosts: []", r"is empty: leave it out.*\$\.allowedHosts"),
        ("hostPolicy: allow-list\nallowedHosts: []", r"is empty: .*\$\.allowedHosts"),
        ("claimGrace: 9m", r"\$\.claimGrace` is from 10m to 6d"),
        ("claimGrace: 7d", r"\$\.claimGrace` is from 10m to 6d"),
        ("claimGrace: soon", r"\$\.claimGrace"),
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
        parse_options(config_map)


def test_a_document_has_a_bound() -> None:
    with pytest.raises(OptionsError, match="larger"):
        parsed("#" * (MAX_DOCUMENT + 1))


def put(api: FakeApi, text: str) -> None:
    body = {"metadata": {"name": v.OPTIONS_CONFIG_MAP}, "data": {v.OPTIONS_KEY: text}}
    api.add(CONFIGMAPS, v.NAMESPACE, body)


def test_without_any_the_defaults_hold() -> None:
    cluster = Cluster(FakeApi())
    assert read_options(cluster) == Options()
    remember_options(cluster)
    assert read_options(cluster) == Options()


def test_options_that_are_gone_open_nothing() -> None:
    """Whoever deletes a list, or prunes it, does not mean that everybody may have everything."""
    api = FakeApi()
    cluster = Cluster(api)
    put(api, "hostPolicy: allow-list\n" + RULES)
    remember_options(cluster)
    put(api, "hostPolicy: allow-list\nlaunchesPerSweep: 7\n" + RULES)
    remember_options(cluster)
    before = len(api.requests)
    remember_options(cluster)
    assert {request.method for request in api.requests[before:]} == {"GET"}
    api.remove(CONFIGMAPS, v.NAMESPACE, v.OPTIONS_CONFIG_MAP)
    remember_options(cluster)
    with pytest.raises(
        OptionsError, match=r"certjob-options is gone: make it again.*certjob-options-in-force; for the"
    ):
        read_options(cluster)
    kept = api.stored(CONFIGMAPS, v.NAMESPACE, v.OPTIONS_IN_FORCE)
    assert kept is not None
    assert parse_options(kept).launches_per_sweep == 7
    put(api, "")
    assert read_options(cluster) == Options()


def test_what_cannot_be_remembered_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi()
    put(api, "launchesPerSweep: 7\n")
    api.fail("POST", "/configmaps", status(403, "Forbidden", "exceeded quota: certjob"))
    remember_options(Cluster(api))
    assert "options-not-remembered" in caplog.messages
    assert read_options(Cluster(api)).launches_per_sweep == 7
