"""`kubectl certjob page`: an address, until it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from issuer_job import vocabulary as v
from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.reading.page import DEPLOYMENTS, VIEW
from issuer_job.cli.way.port_forward import PortForward
from tests.worlds import seen
from tests.worlds.cli import CommandLine


@dataclass
class Forwards:
    """In the place of kubectl: what was asked for, and how it ends."""

    ends: BaseException | str = field(default_factory=KeyboardInterrupt)
    broken: str = ""
    asked: list[tuple[Sequence[str], str, str, int, int]] = field(default_factory=list)
    closed: int = 0

    def __call__(self, flags: Sequence[str], namespace: str, target: str, remote: int, local: int) -> PortForward:
        self.asked.append((flags, namespace, target, remote, local))
        return self  # type: ignore[return-value]

    def __enter__(self) -> Forwards:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1

    def port(self) -> int:
        if self.broken:
            raise CommandError(self.broken)
        return 41087

    def wait(self) -> str:
        if isinstance(self.ends, str):
            return self.ends
        raise self.ends


@pytest.fixture
def forwards() -> Forwards:
    return Forwards()


@pytest.fixture
def line(forwards: Forwards) -> CommandLine:
    made = CommandLine(port_forward=forwards)
    made.api.add(DEPLOYMENTS, v.NAMESPACE, {"metadata": {"name": VIEW}})
    return made


def test_the_address_is_printed_and_it_ends_with_ctrl_c(line: CommandLine, forwards: Forwards) -> None:
    ran = line.run("page", "--context", "prod", "--as", "jo")
    assert (ran.code, ran.out, ran.err) == (130, "http://127.0.0.1:41087/\n", "(ends with Ctrl-C)\n")
    assert forwards.asked == [(["--context=prod", "--as=jo"], "certjob", "deployment/certjob-view", 8080, 0)]
    assert forwards.closed == 1


def test_a_port_may_be_chosen(line: CommandLine, forwards: Forwards) -> None:
    line.run("page", "--port", "8888")
    assert forwards.asked[0][-1] == 8888
    assert line.run("page", "--port", "0").code == 2


def test_a_pod_that_goes_is_told(line: CommandLine, forwards: Forwards) -> None:
    forwards.ends = "lost connection to pod"
    ran = line.run("page")
    assert (ran.code, ran.out) == (3, "http://127.0.0.1:41087/\n")
    assert ran.err.endswith("error: the connection to the page has ended: lost connection to pod\n")


def test_without_a_page_or_a_right_it_is_a_sentence_and_3(line: CommandLine, forwards: Forwards) -> None:
    forwards.broken = 'pods is forbidden: User "jo" cannot create resource "pods/portforward"'
    ran = line.run("page")
    assert (ran.code, ran.out, ran.err) == (3, "", f"error: {forwards.broken}\n")
    line.api.remove(DEPLOYMENTS, v.NAMESPACE, VIEW)
    ran = line.run("page")
    assert (ran.code, ran.out) == (3, "")
    assert "there is no Deployment certjob-view in namespace certjob" in ran.err
    line.api.fail("GET", "/deployments/", seen.no_right("deployments", "get"))
    assert 'cannot get resource "deployments"' in line.run("page").err
