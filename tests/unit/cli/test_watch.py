"""`kubectl certjob status --watch`: until nobody reads any more."""

from __future__ import annotations

import json

import pytest

from issuer_job.record.record import Phase
from tests.worlds import seen
from tests.worlds.cli import CommandLine, eventually, running

NEW = seen.launched(seen.wanted("shop", "new-tls", "new.certjob.dev"))


@pytest.fixture
def line() -> CommandLine:
    return seen.four_certificates()


def ended_by_a_change(line: CommandLine) -> None:
    """Whoever read it goes, and the next row ends it."""
    line.out.broken = True
    seen.put(line.api, seen.in_phase(NEW, Phase.FINALIZING))


def test_in_a_pipe_a_row_follows_for_each_change(line: CommandLine) -> None:
    with running(line, "status", "-n", "shop", "-w") as ran:
        eventually(lambda: "shop-tls" in line.out.getvalue())
        seen.put(line.api, NEW)
        eventually(lambda: "6s: launched" in line.out.getvalue())
        seen.put(line.api, seen.in_phase(NEW, Phase.AUTHORIZING))
        eventually(lambda: "6s: proving 1 host" in line.out.getvalue())
        ended_by_a_change(line)
    assert ran[0].code == 141
    rows = [row.split()[:2] for row in ran[0].out.splitlines()]
    assert rows[0] == ["NAMESPACE", "CERTIFICATE"]
    assert rows[1:] == [["shop", "pay-tls"], ["shop", "shop-tls"], ["shop", "new-tls"], ["shop", "new-tls"]]


def test_as_json_each_is_a_line(line: CommandLine) -> None:
    with running(line, "status", "-n", "shop", "-w", "-o", "json") as ran:
        eventually(lambda: line.out.getvalue().count("\n") == 2)
        seen.put(line.api, NEW)
        eventually(lambda: line.out.getvalue().count("\n") == 3)
        ended_by_a_change(line)
    assert [json.loads(one)["name"] for one in ran[0].out.splitlines()] == ["pay-tls", "shop-tls", "new-tls"]


def test_on_a_terminal_the_table_is_drawn_anew_in_its_place(line: CommandLine) -> None:
    line.terminal, line.environment = True, {"TERM": "xterm", "NO_COLOR": "1"}
    with running(line, "status", "-A", "-w") as ran:
        eventually(lambda: "pay-tls" in line.out.getvalue())
        seen.put(line.api, NEW)
        eventually(lambda: "6s: launched" in line.out.getvalue())
        line.api.expire()  # the watch is too old, and all is listed anew
        seen.put(line.api, seen.in_phase(NEW, Phase.ORDERING))
        eventually(lambda: "6s: ordering" in line.out.getvalue())
        ended_by_a_change(line)
    drawn = ran[0].out.split("\x1b[J")
    assert drawn[1].count("\n") == 6  # one of the four goes on in a second line
    assert "HOSTS" not in drawn[1]  # of 80 columns, which NEXT needs more
    assert drawn[2].startswith("NAMESPACE")
    assert drawn[1].endswith("\x1b[6A")
