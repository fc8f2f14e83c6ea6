"""`kubectl certjob retry`: on what asks, for what waits; and what is said where that cannot be."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, SECRETS, Response, Unreachable
from issuer_job.record.record import Record, SourceKind
from tests.fakes.api import Attempt, FakeApi, status
from tests.fakes.store import answer
from tests.worlds import seen
from tests.worlds.cli import CommandLine


@pytest.fixture
def line() -> CommandLine:
    made = seen.four_certificates()
    for name in ("pay", "web"):
        made.api.add(INGRESSES, "shop", seen.ingress(name))
    made.api.add(INGRESSES, "team-b", seen.ingress("web"))
    return made


def notes(api: FakeApi, name: str, namespace: str = "shop") -> dict[str, str]:
    return seen.annotations_of(api, INGRESSES, namespace, name)


def test_what_asks_is_annotated_anew_and_nothing_else_is_changed(line: CommandLine) -> None:
    ran = line.run("retry", "-n", "shop", "pay-tls")
    follow = "kubectl certjob wait -n shop pay-tls"
    assert (ran.code, ran.out, ran.err) == (0, f"shop/pay-tls: asked (Ingress pay); follow: {follow}\n", "")
    first = notes(line.api, "pay")
    assert first["example.org/team"] == "shop"
    assert first.keys() == {"example.org/team", v.RETRY}
    assert v.RETRY not in notes(line.api, "web")


def test_the_server_is_told_who_writes(line: CommandLine) -> None:
    line.run("retry", "-n", "shop", "ingress/pay")
    [patch] = [request for request in line.api.requests if request.method == "PATCH"]
    assert patch.query == {"fieldManager": "kubectl-certjob"}


def test_all_are_those_that_wait_or_have_failed(line: CommandLine) -> None:
    ran = line.run("retry", "-A", "--all")
    assert [text.split(":")[0] for text in ran.out.splitlines()] == ["shop/pay-tls", "team-b/www-tls"]
    assert v.RETRY in notes(line.api, "web", "team-b")
    assert line.run("retry", "-n", "mail", "--all").err == "No certificate waits or has failed.\n"


def test_what_is_issued_waits_for_nothing(line: CommandLine) -> None:
    ran = line.run("retry", "-n", "shop", "shop-tls")
    assert (ran.code, ran.out) == (0, "")
    assert "it is Issued; for another certificate: kubectl certjob renew -n shop shop-tls" in ran.err
    assert v.RETRY not in notes(line.api, "web")


@pytest.mark.parametrize("wrong", [[], ["pay-tls", "--all"], ["--dry-run", "maybe", "pay-tls"]])
def test_which_has_to_be_said(line: CommandLine, wrong: list[str]) -> None:
    assert line.run("retry", "-n", "shop", *wrong).code == 2


def test_an_unknown_name_is_a_sentence_and_1(line: CommandLine) -> None:
    ran = line.run("retry", "-n", "shop", "nothing-tls")
    assert (ran.code, ran.err) == (1, "error: there is no certificate for nothing-tls in namespace shop\n")


def test_a_dry_run_of_the_client_sends_nothing_and_one_of_the_server_stores_nothing(line: CommandLine) -> None:
    before = len(line.api._store.history)
    ran = line.run("retry", "-n", "shop", "pay-tls", "--dry-run=client")
    assert "asked (Ingress pay) (dry run)" in ran.out
    assert {request.method for request in line.api.requests} == {"GET"}
    ran = line.run("retry", "-n", "shop", "pay-tls", "--dry-run=server")
    assert "asked (Ingress pay) (server dry run)" in ran.out
    assert line.api.requests[-1].query["dryRun"] == "All"
    assert len(line.api._store.history) == before


def test_what_the_webhook_warns_of_is_said(line: CommandLine) -> None:
    def warn(attempt: Attempt) -> Response:
        header = {"warning": '299 - "certjob: wait \\"a\\" bit", 299 - "certjob: wait \\"a\\" bit"'}
        return Response(200, header, answer(200, attempt.new or {}).body)

    line.api.hooks["ingresses"] = warn
    assert line.run("retry", "-n", "shop", "pay-tls").err == 'Warning: certjob: wait "a" bit\n'


def test_a_missing_right_is_named_and_is_3_and_the_others_are_asked(line: CommandLine) -> None:
    line.api.fail("PATCH", "/ingresses/pay", seen.no_right("ingresses"))
    ran = line.run("retry", "-A", "--all")
    assert ran.code == 3
    assert ran.out.startswith("team-b/www-tls: asked")
    assert ran.err == 'error: shop/pay-tls: ingresses is forbidden: User "jo" cannot patch resource "ingresses"\n'


def test_an_ingress_that_is_gone_or_refused_is_told(line: CommandLine) -> None:
    line.api.remove(INGRESSES, "shop", "pay")
    assert line.run("retry", "-n", "shop", "pay-tls").err == "error: shop/pay-tls: Ingress pay is gone\n"
    line.api.add(INGRESSES, "shop", seen.ingress("pay"))
    text = 'admission webhook "policy.example.org" denied the request: not today'
    line.api.fail("PATCH", "/ingresses/pay", status(403, "Forbidden", text))
    assert "Ingress pay cannot be written: webhook policy.example.org: not today" in (
        line.run("retry", "-n", "shop", "pay-tls").err
    )


def test_an_api_server_that_goes_away_is_3(line: CommandLine) -> None:
    line.api.fail("PATCH", "/ingresses/pay", Unreachable("connection reset"))
    ran = line.run("retry", "-n", "shop", "pay-tls")
    assert (ran.code, ran.err) == (3, "error: the API server cannot be reached: connection reset\n")


def asking(record: Record) -> Record:
    return replace(record, sources=(replace(record.sources[0], kind=SourceKind.SECRET, name=record.secret_name),))


def test_a_secret_that_asks_is_annotated_and_its_data_is_not_asked_for(line: CommandLine) -> None:
    seen.put(line.api, asking(seen.failing(seen.wanted("shop", "db-tls", "db.certjob.dev"))))
    line.api.add(SECRETS, "shop", {"metadata": {"name": "db-tls"}, "data": {"tls.key": "c2VjcmV0"}})
    ran = line.run("retry", "-n", "shop", "db-tls")
    assert ran.out.startswith("shop/db-tls: asked (Secret db-tls)")
    stored = line.api.stored(SECRETS, "shop", "db-tls")
    assert stored is not None
    assert v.RETRY in stored["metadata"]["annotations"]
    assert stored["data"] == {"tls.key": "c2VjcmV0"}
