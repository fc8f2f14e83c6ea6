"""`kubectl certjob transfer-host`: from whom to whom, and what follows."""

from __future__ import annotations

from datetime import datetime

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, NAMESPACES
from issuer_job.hosts.claims import claim_body
from tests.worlds import seen
from tests.worlds.cli import NOW, CommandLine

HOST = "www.certjob.dev"


@pytest.fixture
def line() -> CommandLine:
    """team-a has the host, team-b wants it."""
    made = seen.four_certificates()
    seen.put(made.api, seen.issued(seen.wanted("team-a", "www-tls", HOST)))
    for name in ("team-a", "team-b"):
        made.api.add(NAMESPACES, None, {"metadata": {"name": name}})
    made.api.add(CONFIGMAPS, v.NAMESPACE, claim_body(HOST, "team-a", checked=NOW))
    return made


def holder(line: CommandLine) -> str:
    found = line.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    return "" if found is None else str(found["data"]["namespace"])


def test_who_has_it_then_and_what_follows(line: CommandLine) -> None:
    ran = line.run("transfer-host", HOST, "team-b")
    follows = "the next sweep orders team-b/www-tls; team-a/www-tls is not renewed any more"
    assert (ran.code, ran.out, ran.err) == (0, f"{HOST}: team-a -> team-b; {follows}\n", "")
    assert holder(line) == "team-b"
    stored = line.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    assert stored is not None
    assert stored["metadata"]["annotations"][v.FORMER] == "team-a"
    assert datetime.fromisoformat(stored["metadata"]["annotations"][v.CHECKED])


def test_a_host_that_nobody_has_or_the_namespace_itself(line: CommandLine) -> None:
    assert line.run("transfer-host", "new.certjob.dev", "team-b").out == (
        "new.certjob.dev: nobody -> team-b; the next sweep orders what was refused, if anything was\n"
    )
    assert line.run("transfer-host", HOST, "team-a").out == f"{HOST}: team-a -> team-a; it has it already\n"


@pytest.mark.parametrize("how", ["client", "server"])
def test_a_dry_run_moves_nothing(line: CommandLine, how: str) -> None:
    ran = line.run("transfer-host", HOST, "team-b", f"--dry-run={how}")
    assert ran.code == 0
    assert ran.out.startswith(f"{HOST}: team-a -> team-b ({'server ' if how == 'server' else ''}dry run); ")
    assert holder(line) == "team-a"


@pytest.mark.parametrize("how", ["none", "client"])
def test_what_there_cannot_be_is_a_sentence_and_1(line: CommandLine, how: str) -> None:
    ran = line.run("transfer-host", HOST, "team-c", f"--dry-run={how}")
    assert (ran.code, ran.out, ran.err) == (1, "", f"error: {HOST}: there is no such namespace\n")
    ran = line.run("transfer-host", "1.2.3.4", "team-b", f"--dry-run={how}")
    assert (ran.code, ran.out) == (1, "")
    assert line.run("transfer-host", HOST).code == 2
    assert holder(line) == "team-a"


def test_a_missing_right_is_named_and_is_3(line: CommandLine) -> None:
    line.api.fail("PUT", "/configmaps/claim-", seen.no_right("configmaps", "update"))
    ran = line.run("transfer-host", HOST, "team-b")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == 'error: not allowed: configmaps is forbidden: User "jo" cannot update resource "configmaps"\n'
