"""What the shell completes, and how kubectl asks for it."""

from __future__ import annotations

import io

import pytest

from issuer_job.cli.base.session import Surroundings
from issuer_job.cli.main import completed
from issuer_job.cluster.api import NAMESPACES, Unreachable
from tests.fakes.api import FakeApi
from tests.worlds import seen
from tests.worlds.cli import CommandLine


def asked(line: CommandLine, *words: str) -> list[str]:
    """What is answered, without the line that says that no files are meant."""
    around = Surroundings(out=io.StringIO(), err=line.err, transport=line.api, context_namespace="shop")
    *values, directive = completed(words, around)
    assert directive == ":4"
    return [value.partition("\t")[0] for value in values]


@pytest.fixture
def line() -> CommandLine:
    line = seen.four_certificates()
    for name in ("shop", "mail"):
        line.api.add(NAMESPACES, None, {"metadata": {"name": name}})
    return line


COMPLETED = {
    "st": ["status"],
    "status --n": ["--namespace"],
    "status -o y": ["yaml"],
    "status -n sh": ["shop"],
    "status ": ["pay-tls", "shop-tls"],
    "status p": ["pay-tls"],
    "-n mail status ": ["mail-tls"],
    "status -n mail ": ["mail-tls"],
    "why ingress/": ["ingress/pay", "ingress/web"],
    "logs secret/s": ["secret/shop-tls"],
}


@pytest.mark.parametrize("words", COMPLETED)
def test_commands_flags_values_and_names_from_the_cluster(line: CommandLine, words: str) -> None:
    assert asked(line, *words.split(" ")) == COMPLETED[words]


def test_a_command_comes_with_its_line(line: CommandLine) -> None:
    around = Surroundings(transport=FakeApi())
    assert "why\tWhy a certificate is not ready, what comes next, and what to do." in completed(["wh"], around)


def test_an_api_server_that_is_away_is_nothing(line: CommandLine) -> None:
    line.api.fail("GET", "/", Unreachable("away"), times=9)
    assert asked(line, "status", "") == []
    assert line.err.getvalue() == ""


@pytest.mark.process
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_their_script(line: CommandLine, shell: str) -> None:
    ran = line.run("completion", shell)
    assert ran.code == 0
    assert f"_KUBECTL_CERTJOB_COMPLETE={shell}_complete" in ran.out
