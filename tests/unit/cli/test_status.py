"""`kubectl certjob status`, by who may read records."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES
from tests.schema import DOCS
from tests.worlds import seen
from tests.worlds.cli import CommandLine, words

SCHEMA = json.loads((DOCS / "status.schema.json").read_text())
TABLE = """
NAMESPACE CERTIFICATE READY STATE    HOSTS                 ISSUER      EXPIRES NEXT
mail      mail-tls    yes   Renewing mail.certjob.dev +1   letsencrypt 29d     6s: proving 2 hosts
shop      pay-tls     no    Waiting  pay.certjob.dev       letsencrypt -       retry in 4m, 3rd failure: connection
shop      shop-tls    yes   Issued   a.shop.certjob.dev +1 letsencrypt 61d     renewal in 30d
team-b    www-tls     no    Failed   www.certjob.dev       letsencrypt -       needs a change: hostClaimed
"""


@pytest.fixture
def line() -> CommandLine:
    return seen.four_certificates()


def test_a_row_for_each_certificate_that_is_wanted_and_on_stderr_how_to_learn_why(line: CommandLine) -> None:
    ran = line.run("status", "-A")
    assert ran.code == 0
    assert words(ran.out) == words(TABLE)
    assert ran.err == "4 certificates, 2 not ready. Why: kubectl certjob why -n shop pay-tls\n"


def test_only_what_is_asked_for_is_shown(line: CommandLine) -> None:
    def names(*arguments: str) -> list[str]:
        ran = line.run("status", *arguments, "-o", "name")
        assert ran.code == 0
        return ran.out.split()

    shop = ["secret/pay-tls", "secret/shop-tls"]
    assert names("-n", "shop") == shop
    line.context_namespace = "mail"
    assert names() == ["secret/mail-tls"]
    assert names("-n", "shop", "pay-tls") == names("-n", "shop", "secret/pay-tls") == ["secret/pay-tls"]
    assert names("-n", "shop", "ingress/pay") == names("-A", "pay.certjob.dev") == ["secret/pay-tls"]
    assert "secret/old-tls" in names("-A", "--gone")
    assert names("-n", "old", "old-tls") == ["secret/old-tls"]


def test_labels_are_those_of_the_ingress_or_the_secret(line: CommandLine) -> None:
    for name, app in (("pay", "payments"), ("web", "shop")):
        line.api.add(INGRESSES, "shop", {"metadata": {"name": name, "labels": {"app": app}}, "spec": {}})
    assert line.run("status", "-n", "shop", "-l", "app=payments", "-o", "name").out == "secret/pay-tls\n"
    assert line.run("status", "-A", "-l", "app=nothing", "-o", "name").out == ""


def test_a_name_that_means_nothing_is_told(line: CommandLine) -> None:
    ran = line.run("status", "-n", "shop", "nope")
    assert (ran.code, ran.out, ran.err) == (1, "", "error: there is no certificate for nope in namespace shop\n")
    assert line.run("status", "pod/nope").code == 2


def test_an_empty_namespace_is_no_error(line: CommandLine) -> None:
    ran = line.run("status", "-n", "nobody")
    assert (ran.code, ran.out, ran.err) == (0, "", "No certificates found in namespace nobody.\n")


def test_the_exit_code_says_whether_all_are_ready_if_it_is_asked_to(line: CommandLine) -> None:
    assert line.run("status", "-A", "--exit-code").code == 1
    assert line.run("status", "-n", "shop", "shop-tls", "--exit-code").code == 0
    line.api.add(CONFIGMAPS, v.NAMESPACE, half_written())
    assert line.run("status", "-n", "bad", "--exit-code").code == 3
    assert line.run("status", "-n", "bad").code == 0


def half_written() -> dict[str, object]:
    labels = {v.RECORD: "true", v.RECORD_NAMESPACE: "bad"}
    return {"metadata": {"name": "bad.one-tls", "labels": labels}, "data": {v.RECORD_KEY: '{"namespace": "b'}}


def test_a_record_that_cannot_be_read_is_a_row_too(line: CommandLine) -> None:
    line.api.add(CONFIGMAPS, v.NAMESPACE, half_written())
    later = half_written() | {"data": {}}
    later["metadata"] = {"name": "bad.two-tls", "labels": {v.RECORD: "true", v.RECORD_NAMESPACE: "bad"}}
    line.api.add(CONFIGMAPS, v.NAMESPACE, later)
    ran = line.run("status", "-n", "bad")
    assert ran.code == 0
    assert [row.split()[:4] for row in ran.out.splitlines()[1:]] == [
        ["bad", "one-tls", "?", "Failed"],
        ["bad", "two-tls", "?", "Failed"],
    ]
    assert "recordUnreadable" in ran.out


def test_json_and_yaml_are_the_published_document(line: CommandLine) -> None:
    ran = line.run("status", "-A", "-o", "json")
    document = json.loads(ran.out)
    jsonschema.validate(document, SCHEMA)
    assert (document["apiVersion"], document["kind"]) == ("certjob.io/v1", "CertificateStatusList")
    assert [(one["namespace"], one["ready"]) for one in document["items"]] == [
        ("mail", True),
        ("shop", False),
        ("shop", True),
        ("team-b", False),
    ]
    assert yaml.safe_load(line.run("status", "-A", "-o", "yaml").out) == document
    assert ran.err == ""


def test_wide_shows_who_asks(line: CommandLine) -> None:
    assert "Ingress/pay" in line.run("status", "-n", "shop", "-o", "wide").out


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\u202emoc\u2028\x9b31m"


@pytest.mark.parametrize("form", ["", "wide", "json", "yaml"])
def test_what_others_wrote_cannot_steer_the_terminal(line: CommandLine, form: str) -> None:
    problem = seen.CONNECTION
    told = type(problem)(type=f"odd{HOSTILE}", detail=HOSTILE, host="pay.certjob.dev")
    seen.put(line.api, seen.failing(seen.wanted("shop", "pay-tls", "pay.certjob.dev"), told))
    for terminal in (False, True):
        line.terminal = terminal
        ran = line.run("status", "-n", "shop", *(["-o", form] if form else []))
        assert ran.code == 0
        assert all(char.isprintable() or char == "\n" for char in ran.out + ran.err)


def test_colours_are_for_terminals_without_no_color(line: CommandLine) -> None:
    line.terminal, line.environment = True, {"TERM": "xterm"}
    assert "\x1b[31m" in line.run("status", "-A").out
    line.environment = {"TERM": "xterm", "NO_COLOR": "1"}
    assert "\x1b" not in line.run("status", "-A").out
    line.terminal, line.environment = False, {"TERM": "xterm"}
    assert "\x1b" not in line.run("status", "-A").out
