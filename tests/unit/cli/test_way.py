"""The way to the API server: a Unix socket, and the kubectl behind it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.base.flags import Flags
from issuer_job.cli.base.session import Session, Surroundings
from issuer_job.cli.way.socket_transport import SocketTransport, accepted
from issuer_job.cluster import api as cluster_api
from issuer_job.cluster.api import (
    CONFIGMAPS,
    SECRETS,
    ApiError,
    Cluster,
    NotFound,
    Response,
    TooLarge,
    Unreachable,
)
from tests.fakes import kubectl
from tests.fakes.api import status
from tests.fakes.api_server import ServedApi, socket_api
from tests.worlds.cli import eventually

METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedApi]:
    with socket_api(tmp_path / "api") as server:
        yield server


@pytest.fixture
def transport(served: ServedApi, tmp_path: Path) -> Iterator[SocketTransport]:
    made = SocketTransport(lambda: tmp_path / "api")
    yield made
    made.close()


def test_objects_are_read_written_and_watched_over_one_kept_connection(
    served: ServedApi, transport: SocketTransport
) -> None:
    cluster = Cluster(transport)
    cluster.create(CONFIGMAPS, "a", {"metadata": {"name": "x"}})
    cluster.patch(CONFIGMAPS, "a", "x", {"data": {"k": "v", "none": None}})
    assert cluster.get(CONFIGMAPS, "a", "x")["data"] == {"k": "v"}
    assert len(served.connections) == 1
    with pytest.raises(NotFound):
        cluster.get(CONFIGMAPS, "a", "y")
    version = cluster.get(CONFIGMAPS, "a", "x")["metadata"]["resourceVersion"]
    served.api.add(CONFIGMAPS, "a", {"metadata": {"name": "z"}})
    events = cluster.watch(CONFIGMAPS, "a", labels="", resource_version=version, seconds=0)
    assert [event["object"]["metadata"]["name"] for event in events] == ["z"]
    assert served.headers[1]["Content-Type"] == "application/merge-patch+json"


@pytest.mark.parametrize(
    ("method", "path", "media_type"),
    [
        ("GET", "/api/v1/secrets?limit=1", LIST),
        ("GET", "/api/v1/namespaces/a/secrets", LIST),
        ("GET", "/api/v1/namespaces/a/secrets?watch=1", METADATA),
        ("GET", "/api/v1/namespaces/a/secrets/x", METADATA),
        ("PATCH", "/api/v1/namespaces/a/secrets/x?dryRun=All", METADATA),
        ("POST", "/api/v1/namespaces/a/secrets", METADATA),
        ("GET", "/api/v1/namespaces/secrets/configmaps/secrets", "application/json"),
    ],
)
def test_of_secrets_no_more_than_metadata_is_asked_for(method: str, path: str, media_type: str) -> None:
    assert accepted(method, path) == media_type


def test_what_is_asked_for_stands_in_the_request(served: ServedApi, transport: SocketTransport) -> None:
    cluster = Cluster(transport)
    served.api.add(SECRETS, "a", {"metadata": {"name": "x"}})
    list(cluster.items(SECRETS, "a"))
    cluster.patch(SECRETS, "a", "x", {"metadata": {"annotations": {"k": "v"}}})
    assert [headers["Accept"] for headers in served.headers] == [LIST, METADATA]


def test_an_answer_of_kubectls_own_is_no_answer_of_the_api_server(
    served: ServedApi, transport: SocketTransport
) -> None:
    words = b"dial tcp 127.0.0.1:6443: connect: connection refused\n"
    served.api.fail("GET", "/x", Response(500, {"content-type": "text/plain; charset=utf-8"}, words))
    with pytest.raises(Unreachable, match=r"^dial tcp 127.0.0.1:6443: connect: connection refused$"):
        Cluster(transport).get(CONFIGMAPS, "a", "x")
    served.api.fail("GET", "/x", status(500, "InternalError", "etcd is away"))
    with pytest.raises(ApiError, match="etcd is away"):
        Cluster(transport).get(CONFIGMAPS, "a", "x")
    served.refusals.append(status(403, "Forbidden", "no"))
    with pytest.raises(ApiError, match="403 Forbidden: no"):
        list(Cluster(transport).watch(CONFIGMAPS, "a", labels="", resource_version="1", seconds=1))


def test_a_lost_connection_and_a_missing_socket_are_unreachable(
    served: ServedApi, transport: SocketTransport, tmp_path: Path
) -> None:
    served.api.fail("GET", "/x", Unreachable("cut"))
    with pytest.raises(Unreachable, match="GET /api/v1/namespaces/a/configmaps/x: RemoteDisconnected"):
        Cluster(transport).get(CONFIGMAPS, "a", "x")
    with pytest.raises(Unreachable, match="FileNotFoundError"):
        Cluster(SocketTransport(lambda: tmp_path / "nothing")).get(CONFIGMAPS, "a", "x")


def test_an_answer_is_bounded(served: ServedApi, transport: SocketTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("issuer_job.cli.way.socket_transport.MAX_ANSWER", 1000)
    served.api.add(CONFIGMAPS, "a", {"metadata": {"name": "x"}, "data": {"k": "v" * 2000}})
    with pytest.raises(TooLarge) as raised:
        transport.send("GET", CONFIGMAPS.path("a", "x"), body=None, timeout=5)
    assert len(raised.value.head) == 1001
    assert cluster_api.HEAD > 1001


# With a kubectl of the tests' own.


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    flags = Flags(context="there", as_user="ann", as_group=("a", "b"), kubeconfig="/dev/null")
    made = Session(flags, Surroundings(err=io.StringIO()))
    yield made
    made.close()


@pytest.mark.process
def test_kubectl_is_given_who_and_where_and_ended_with_the_command(session: Session, tmp_path: Path) -> None:
    calls = kubectl.install(tmp_path, "serves")
    session.begin(scoped=True)
    assert session.cluster.server_version() == "v1.36.4"
    assert session.namespace == kubectl.NAMESPACE
    session.close()
    every = [json.loads(line) for line in calls.read_text().splitlines()]
    proxy = next(call for call in every if call[0] == "proxy")
    who = ["--context=there", "--kubeconfig=/dev/null", "--as=ann", "--as-group=a", "--as-group=b"]
    assert proxy[1:6] == who
    assert next(call for call in every if call[0] == "config")[-5:] == who
    place = Path(proxy[-1].partition("=")[2]).parent
    assert not place.exists()


@pytest.mark.process
def test_what_kubectl_refuses_is_a_sentence(session: Session, tmp_path: Path) -> None:
    kubectl.install(tmp_path, "refuses")
    session.begin(scoped=False)
    with pytest.raises(CommandError, match="kubectl proxy: context"):
        session.cluster.server_version()


@pytest.mark.process
def test_a_kubectl_that_ends_meanwhile_is_an_api_server_that_is_not_reached(session: Session, tmp_path: Path) -> None:
    kubectl.install(tmp_path, "dies")
    session.begin(scoped=False)
    with suppress(Unreachable):
        session.cluster.server_version()
    eventually(lambda: not session.cluster.ready())
    with pytest.raises(Unreachable):
        session.cluster.server_version()


@pytest.mark.process
def test_what_a_login_asks_is_shown_and_kubectls_log_is_not(session: Session, tmp_path: Path) -> None:
    kubectl.install(tmp_path, "asks")
    session.begin(scoped=False)
    session.cluster.server_version()
    err = session.surroundings.err
    assert isinstance(err, io.StringIO)
    eventually(lambda: "Password:" in err.getvalue())
    assert err.getvalue() == "Visit https://login.certjob.test and enter ABCD\nPassword:\n"


def test_without_kubectl_it_is_said(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CommandError, match="kubectl is not on the PATH"):
        session.begin(scoped=False)


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_the_command_ends_kubectl_ends_with_it(tmp_path: Path, number: signal.Signals) -> None:
    kubectl.install(tmp_path, "serves")
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    environment.pop("KUBERNETES_SERVICE_HOST", None)
    command = [sys.executable, "-m", "issuer_job.cli", "wait", "-n", "a", "x", "--timeout", "60s"]
    with subprocess.Popen(
        command, env=environment, cwd=kubectl.ROOT, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "a/x  certjob knows nothing of it yet\n"
        [place] = tmp_path.glob("kubectl-certjob-*")
        process.send_signal(number)
        code = process.wait(20)
    assert code == (130 if number is signal.SIGINT else -number)
    eventually(lambda: not place.exists())
    # Whoever served is gone, too: nothing has the directory's path on its command line any more.
    eventually(lambda: not any(str(place).encode() in _words(one) for one in Path("/proc").glob("[0-9]*")))


def _words(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
