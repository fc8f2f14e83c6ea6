"""What hosts look like from the user's machine."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime

import pytest

from issuer_job.cli.sight import from_here
from issuer_job.cli.sight.from_here import MOST, HostView, look_at
from tests.fakes.api_server import served_api


def test_a_certificate_that_is_not_trusted_here_is_seen_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with served_api() as server:
        monkeypatch.setattr(from_here, "PORT", server.port)
        view = look_at(["127.0.0.1", "*.certjob.dev"], patience=20)["127.0.0.1"]
    assert view.addresses == ("127.0.0.1",)
    served = view.served
    assert served is not None
    assert (served.trusted, served.placeholder) == (False, False)
    assert served.not_after > datetime.now(UTC)
    assert int(served.serial, 16) > 0


def test_what_does_not_answer_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(from_here, "PORT", port)
    found = look_at(["127.0.0.1", "no-such-host.invalid"], patience=20)
    assert found["127.0.0.1"].problem == f"port {port} refuses connections"
    assert found["no-such-host.invalid"].problem == "does not resolve"


def test_one_that_hangs_keeps_nobody_waiting_and_few_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(from_here, "_look", lambda host, patience: over.wait(20) and HostView())
    found = look_at([f"{number}.certjob.dev" for number in range(MOST + 5)], patience=0.05)
    over.set()
    assert len(found) == MOST
    assert {view.problem for view in found.values()} == {"no answer within 0 s"}
