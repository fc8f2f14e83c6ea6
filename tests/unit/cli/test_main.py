"""How commands are found, and how they end."""

from __future__ import annotations

import importlib
import re

import click
import pytest

from issuer_job import vocabulary as v
from issuer_job.cli.registry import COMMANDS
from issuer_job.cluster.api import MUTATING_WEBHOOKS, Unreachable
from tests.fakes.api import status
from tests.worlds.cli import CommandLine


@pytest.fixture
def line() -> CommandLine:
    return CommandLine()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_has_the_first_line_of_each(name: str) -> None:
    row = COMMANDS[name]
    found = getattr(importlib.import_module(f"issuer_job.cli.{row.module}"), row.function)
    assert isinstance(found, click.Command)
    assert found.name == name
    assert (found.help or "").partition("\n")[0] == row.line


def test_help_imports_no_command(line: CommandLine) -> None:
    ran = line.run("--help")
    assert ran.code == 0


def test_what_is_written_wrong_is_wrong_usage(line: CommandLine) -> None:
    for wrong in (
        ["nothing-of-the-kind"],
        ["status", "--nope"],
        ["status", "-n", "a", "-A"],
        ["status", "-o", "xml"],
    ):
        ran = line.run(*wrong)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("error: ")
    assert line.run().code == 2


@pytest.mark.parametrize("odd", ["a\nb", "\x1b[2J", "\udcff", "\x9b31m"])
def test_control_characters_and_what_is_no_utf_8_are_no_arguments(line: CommandLine, odd: str) -> None:
    for words in (["status", odd], ["status", "-n", odd], ["check", "-f", odd], [odd]):
        ran = line.run(*words)
        assert (ran.code, ran.out, ran.err) == (2, "", f"error: {odd!a} has characters that no name has\n")


def test_flags_may_stand_before_the_command_and_have_equals_signs(line: CommandLine) -> None:
    expected = "No certificates found in namespace shop.\n"
    assert line.run("-n", "shop", "status").err == expected
    assert line.run("status", "-n=shop").err == expected
    assert line.run("-n=other", "status", "-n", "shop").err == expected


def test_requests_are_told_whatever_way_they_go(line: CommandLine) -> None:
    told = line.run("version", "-v", "1").err.splitlines()
    assert all(re.fullmatch(r"GET /\S+ \d+ in \d+ ms", one) for one in told)
    assert any(one.startswith("GET /version 200 in ") for one in told)
    assert line.run("version").err == ""


def test_an_api_server_that_is_away_is_a_sentence_and_3(line: CommandLine) -> None:
    line.api.fail("GET", "/", Unreachable("dial tcp 127.0.0.1:6443: connect: connection refused"), times=9)
    ran = line.run("version")
    assert (ran.code, ran.out) == (3, "")
    expected = "error: the API server cannot be reached: dial tcp 127.0.0.1:6443: connect: connection refused\n"
    assert ran.err == expected


def test_an_api_server_that_says_no_is_a_sentence_and_3(line: CommandLine) -> None:
    line.api.fail("GET", "/", status(401, "Unauthorized", "Unauthorized\x1b[2J\nroot"), times=9)
    ran = line.run("version")
    assert (ran.code, ran.err) == (
        3,
        "error: the API server does not know you (log in anew): Unauthorized\\x1b[2J\\nroot\n",
    )


def test_where_certjob_is_its_webhook_says(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v, "NAMESPACE", v.NAMESPACE)  # the command tells the rest of the product, too
    service = {"name": v.WEBHOOK_SERVICE, "namespace": "tls-system"}
    hook = {"metadata": {"name": v.WEBHOOK_CONFIGURATION, "labels": {v.APP_NAME: "certjob"}}}
    line.api.add(MUTATING_WEBHOOKS, None, hook | {"webhooks": [{"clientConfig": {"service": service}}]})
    assert line.run("issuers").err == "There is no issuer in namespace tls-system.\n"
    assert line.run("issuers", "--certjob-namespace", "other").err == "There is no issuer in namespace other.\n"
