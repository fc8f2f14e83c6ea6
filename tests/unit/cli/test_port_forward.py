"""`kubectl port-forward` as a way to a pod, with a program in the place of kubectl."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.way.port_forward import PortForward

pytestmark = pytest.mark.process


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """kubectl, which does what is written there."""
    program = tmp_path / "kubectl"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return program


def test_the_port_is_read_and_it_is_ended_with_the_command(stub: Path, tmp_path: Path) -> None:
    words, pid = tmp_path / "words", tmp_path / "pid"
    says = "Forwarding from 127.0.0.1:41087 -> 8080"
    stub.write_text(f"#!/bin/sh\necho \"$@\" >{words}; echo $$ >{pid}\necho '{says}'\nexec sleep 60\n")
    with PortForward(["--context=prod"], "certjob", "deployment/certjob-view", 8080) as forwarded:
        assert forwarded.port() == 41087
        running = int(pid.read_text())
        os.kill(running, 0)
    expected = "port-forward --context=prod -n certjob deployment/certjob-view :8080 --address=127.0.0.1\n"
    assert words.read_text() == expected
    with pytest.raises(ProcessLookupError):
        os.kill(running, 0)


def test_why_there_is_no_way_is_kubectls_words(stub: Path) -> None:
    stub.write_text('#!/bin/sh\necho "error: unable to listen on any of the requested ports" >&2\nexit 1\n')
    with PortForward([], "certjob", "pod/a", 8443, 99) as forwarded, pytest.raises(CommandError) as problem:
        forwarded.port()
    assert str(problem.value) == "kubectl port-forward pod/a: unable to listen on any of the requested ports"


def test_what_ends_by_itself_says_why(stub: Path) -> None:
    stub.write_text(
        "#!/bin/sh\necho 'Forwarding from 127.0.0.1:5 -> 80'\necho 'Handling connection for 5'\n"
        "echo 'E1127 error: lost connection to pod' >&2\n"
    )
    with PortForward([], "certjob", "pod/a", 80) as forwarded:
        assert forwarded.port() == 5
        assert forwarded.wait() == "E1127 error: lost connection to pod"


def test_without_kubectl_it_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="kubectl is not on the PATH"):
        PortForward([], "certjob", "pod/a", 80)
