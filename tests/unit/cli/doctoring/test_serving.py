"""Whether the API server is told to trust what each webhook pod shows."""

from __future__ import annotations

import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certs.keys import key_to_pem
from issuer_job import vocabulary as v
from issuer_job.cli.way.port_forward import PortForward
from issuer_job.cluster.api import MUTATING_WEBHOOKS, PODS
from tests.fakes.certs_ca import FakeCA, new_key, pem
from tests.worlds.cli import CommandLine
from tests.worlds.installed import edit, installed, pod

pytestmark = pytest.mark.process
NOW = datetime.now(UTC)
CA, OTHER = (FakeCA.root(name, now=NOW) for name in ("certjob webhook CA", "another CA"))


@contextmanager
def serving(
    tmp_path: Path, *, signer: FakeCA = CA, days: int = 20, name: str = "certjob-webhook.certjob.svc"
) -> Iterator[int]:
    """A pod that shows a certificate; its port here."""
    key = new_key()
    chain = signer.issue((name,), key, not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=days))
    file = tmp_path / f"{signer.name}-{days}.pem"
    file.write_bytes(pem(chain) + key_to_pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with plain, suppress(OSError), context.wrap_socket(plain, server_side=True):
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


@dataclass
class Forwards:
    """In the place of `kubectl port-forward`: the ports of pods by their names."""

    ports: dict[str, int] = field(default_factory=dict)
    target: str = ""

    def __call__(self, flags: Sequence[str], namespace: str, target: str, remote: int, local: int) -> PortForward:
        assert remote == 8443
        return Forwards(self.ports, target)  # type: ignore[return-value]

    def __enter__(self) -> Forwards:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def port(self) -> int:
        return self.ports[self.target]


@pytest.fixture
def forwards() -> Forwards:
    return Forwards()


@pytest.fixture
def line(forwards: Forwards) -> CommandLine:
    made = installed()
    made.port_forward = forwards
    made.clock = lambda: NOW
    trust(made, CA)
    return made


def trust(line: CommandLine, *cas: FakeCA) -> None:
    found = edit(line, "MutatingWebhookConfiguration", v.WEBHOOK_CONFIGURATION, None)
    for entry in found["webhooks"]:
        entry["clientConfig"]["caBundle"] = b64encode(b"".join(pem(ca.certificate) for ca in cas)).decode()
    line.api.add(MUTATING_WEBHOOKS, None, found)


def told(line: CommandLine) -> list[str]:
    """What is said of it, after the pods' number."""
    found = [text.split(maxsplit=2) for text in line.run("doctor").out.splitlines()]
    return [f"{verdict} {says}" for verdict, about, says in found if about == "parts"][1:]


def test_each_pod_is_asked_and_the_first_end_is_said(line: CommandLine, forwards: Forwards, tmp_path: Path) -> None:
    line.api.add(PODS, v.NAMESPACE, pod("certjob-webhook-2", "webhook"))
    line.api.add(PODS, v.NAMESPACE, pod("certjob-webhook-3", "webhook", phase="Failed"))
    with serving(tmp_path) as one, serving(tmp_path, days=25) as other:
        forwards.ports = {"pod/certjob-webhook-1": one, "pod/certjob-webhook-2": other}
        until = NOW + timedelta(days=20)
        assert told(line) == [f"ok the caBundle trusts what each webhook pod serves, until {until:%Y-%m-%d}"]


def test_what_is_not_trusted_is_a_fault(line: CommandLine, forwards: Forwards, tmp_path: Path) -> None:
    with serving(tmp_path, signer=OTHER) as port:
        forwards.ports = {"pod/certjob-webhook-1": port}
        assert told(line)[0].startswith("FAIL the caBundle does not trust what certjob-webhook-1 serves (")
        trust(line, CA, OTHER)
        assert told(line)[0].startswith("ok")


def test_what_is_for_another_name_is_a_fault(line: CommandLine, forwards: Forwards, tmp_path: Path) -> None:
    with serving(tmp_path, name="somebody.else.svc") as port:
        forwards.ports = {"pod/certjob-webhook-1": port}
        assert told(line)[0].startswith("FAIL the caBundle does not trust what certjob-webhook-1 serves (")


def test_what_ends_soon_is_a_fault(line: CommandLine, forwards: Forwards, tmp_path: Path) -> None:
    with serving(tmp_path, days=6) as port:
        forwards.ports = {"pod/certjob-webhook-1": port}
        assert told(line)[0].startswith("FAIL what webhook pods serve ends ")


def test_a_pod_that_does_not_answer_and_a_bundle_that_is_none_are_faults(
    line: CommandLine, forwards: Forwards
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        forwards.ports = {"pod/certjob-webhook-1": free.getsockname()[1]}
        assert told(line)[0].startswith("FAIL certjob-webhook-1 does not answer on port 8443 (")
    trust(line)
    assert told(line)[0].startswith("FAIL ")
