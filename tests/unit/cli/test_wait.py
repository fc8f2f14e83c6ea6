"""`kubectl certjob wait`: what it says of each, and how it ends."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from issuer_job.cli.sight import from_here
from issuer_job.cli.sight.from_here import HostView, ServedCertificate
from issuer_job.cluster.api import Unreachable
from issuer_job.record.record import Issued, Phase, Record
from tests.worlds import seen
from tests.worlds.cli import NOW, CommandLine, eventually, running


@pytest.fixture
def line() -> CommandLine:
    return seen.four_certificates()


def just_issued(record: Record, *, seconds: float = 1.1) -> Record:
    """Launched and issued a moment ago."""
    made = seen.issued(seen.launched(record, seconds=60), left=90 * seen.DAY)
    assert isinstance(made.issued, Issued)
    return replace(made, issued=replace(made.issued, at=NOW - timedelta(seconds=60 - seconds)))


def test_what_is_there_is_said_with_the_time_it_took(line: CommandLine) -> None:
    seen.put(line.api, just_issued(seen.wanted("shop", "new-tls", "new.certjob.dev")))
    ran = line.run("wait", "-n", "shop", "new-tls", "shop-tls")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "shop/new-tls  Issued in 1.1s\nshop/shop-tls  Issued, until 2027-01-27\n"


def test_one_that_needs_a_change_ends_it_at_once(line: CommandLine) -> None:
    ran = line.run("wait", "-A", "--all", "--timeout", "5m")
    assert ran.code == 1
    assert "team-b/www-tls  Failed: hostClaimed, another namespace had the host first\n" in ran.out
    assert ran.err == "error: 1 of 4 certificates needs a change; why: kubectl certjob why -n team-b www-tls\n"


def test_too_long_is_4_and_says_what_is_missing(line: CommandLine) -> None:
    ran = line.run("wait", "-n", "shop", "pay-tls", "nothing-tls", "--timeout=0")
    assert ran.code == 4
    assert "2 of 2 certificates: shop/pay-tls: Waiting: retry in 4m, 3rd failure: connection; " in ran.err
    assert "shop/nothing-tls: certjob knows nothing of it yet" in ran.err


STEPS = {
    Phase.LAUNCHED: "6s: launched",
    Phase.CLAIMED: "6s: claimed",
    Phase.ORDERING: "6s: ordering",
    Phase.AUTHORIZING: "6s: proving 1 host",
    Phase.FINALIZING: "6s: finalizing",
    Phase.INSTALLING: "6s: installing",
}


def test_it_waits_for_what_is_not_there_yet_and_shows_each_step(line: CommandLine) -> None:
    new = seen.launched(seen.wanted("shop", "new-tls", "new.certjob.dev"))
    with running(line, "wait", "-n", "shop", "new-tls", "--timeout", "20s") as ran:
        eventually(lambda: "shop/new-tls  certjob knows nothing of it yet\n" in line.err.getvalue())
        for phase, text in STEPS.items():
            seen.put(line.api, seen.in_phase(new, phase))
            eventually(lambda text=text: f"shop/new-tls  {text}\n" in line.err.getvalue())
        seen.put(line.api, just_issued(new))
    assert (ran[0].code, ran[0].out) == (0, "shop/new-tls  Issued in 1.1s\n")
    assert len(ran[0].err.splitlines()) == len(STEPS) + 1


def test_a_lost_api_server_is_said_and_waited_for(line: CommandLine) -> None:
    new = seen.launched(seen.wanted("shop", "new-tls", "new.certjob.dev"))
    seen.put(line.api, new)
    line.api.fail("WATCH", "configmaps", Unreachable("connect: connection refused"))
    with running(line, "wait", "-n", "shop", "new-tls", "--timeout", "20s") as ran:
        eventually(lambda: "connection refused; asked again until it answers\n" in line.err.getvalue())
        seen.put(line.api, just_issued(new))
    assert (ran[0].code, ran[0].out) == (0, "shop/new-tls  Issued in 1.1s\n")


MANIFESTS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: pay, annotations: {kubernetes.io/tls-acme: "true"}}
spec:
  tls: [{hosts: [pay.certjob.dev], secretName: pay-tls}, {hosts: [new.certjob.dev], secretName: new-tls}]
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Secret
  metadata:
    name: mail-tls
    namespace: mail
    labels: {certjob.io/request: "true"}
    annotations: {certjob.io/hosts: other.certjob.dev}
- {apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: not-asking}, spec: {}}
- {apiVersion: v1, kind: Service, metadata: {name: pay}}
"""


def test_manifests_say_what_to_wait_for_in_whatever_namespace(line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text(MANIFESTS)
    mail = seen.issued(seen.wanted("mail", "mail-tls", "mail.certjob.dev"))
    seen.put(line.api, mail, seen.issued(seen.wanted("shop", "pay-tls", "pay.certjob.dev")))
    for named in (tmp_path, tmp_path / "app.yaml"):
        ran = line.run("wait", "-n", "shop", "-f", str(named), "--timeout", "0")
        assert ran.code == 4
        assert ran.out.startswith("shop/pay-tls  Issued")
        assert "shop/new-tls: certjob knows nothing of it yet" in ran.err
        assert "mail/mail-tls: certjob has not seen all of its hosts yet" in ran.err


def test_manifests_that_cannot_be_read_or_ask_for_nothing_are_wrong_usage(line: CommandLine, tmp_path: Path) -> None:
    for text in ("a: [", "kind: Service\nmetadata: {name: x}", "- 1\n- x"):
        (tmp_path / "app.yaml").write_text(text)
        ran = line.run("wait", "-n", "shop", "-f", str(tmp_path / "app.yaml"))
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("error: ")
    assert line.run("wait", "-f", str(tmp_path / "nothing.yaml")).code == 2


@pytest.mark.parametrize("wrong", [[], ["a", "--all"], ["--all", "-f", "x"], ["a", "--timeout", "soon"]])
def test_what_to_wait_for_is_said_in_one_way(line: CommandLine, wrong: list[str]) -> None:
    assert line.run("wait", *wrong).code == 2


def served(serial: str, *, placeholder: bool = False) -> HostView:
    issuer, until = "CN=somebody", NOW + seen.DAY
    return HostView(("203.0.113.9",), ServedCertificate(serial, issuer, until, placeholder, trusted=False))


VIEWS = {
    "0": (served("0a1b"), 0, "shop/shop-tls  Issued, until 2027-01-27; served\n"),
    "placeholder": (served("1", placeholder=True), 4, "shop.certjob.dev: the placeholder is served"),
    "another": (served("2"), 4, "shop.certjob.dev: another certificate is served"),
    "away": (HostView(problem="does not resolve"), 4, "shop.certjob.dev: does not resolve"),
}


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> dict[str, HostView]:
    """What hosts look like from here."""
    views: dict[str, HostView] = {}
    monkeypatch.setattr(from_here, "_look", lambda host, patience: views[host])
    return views


@pytest.mark.parametrize("view", VIEWS)
def test_served_is_what_the_hosts_show_from_here(line: CommandLine, hosts: dict[str, HostView], view: str) -> None:
    found, code, text = VIEWS[view]
    hosts |= {"shop.certjob.dev": found, "a.shop.certjob.dev": served("0a1b")}
    ran = line.run("wait", "-n", "shop", "shop-tls", "--for", "served", "--timeout", "0")
    assert ran.code == code
    assert text in (ran.out if code == 0 else ran.err)
