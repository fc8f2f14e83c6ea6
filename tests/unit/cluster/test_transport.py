"""Real connections to an API server on loopback, as a pod and with a kubeconfig."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from issuer_job.cluster import transport
from issuer_job.cluster.api import CONFIGMAPS, ApiError, Cluster, Gone, KubeError, NotFound, Response, Unreachable
from issuer_job.cluster.transport import HttpTransport
from tests.fakes.api import status
from tests.fakes.api_server import ServedApi, served_api

SETTINGS: dict[str, Any] = {"metadata": {"name": "settings"}, "data": {"a": "1"}}


@pytest.fixture
def server() -> Iterator[ServedApi]:
    with served_api() as served:
        served.api.add(CONFIGMAPS, "certjob", SETTINGS)
        yield served


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a pod nor a kubeconfig, whatever this machine has."""
    for name in [name for name in os.environ if "PROXY" in name.upper() or name.startswith("KUBERNETES_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(transport, "SERVICE_ACCOUNT", tmp_path / "none")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "no-kubeconfig"))


@pytest.fixture
def in_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of the service account; `enter` writes it."""
    monkeypatch.setattr(transport, "SERVICE_ACCOUNT", tmp_path / "account")
    return tmp_path / "account"


def enter(server: ServedApi, account: Path, monkeypatch: pytest.MonkeyPatch) -> HttpTransport:
    """What a process in a pod of this server's cluster gets."""
    server.service_account(account)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return HttpTransport()


@pytest.fixture
def pod(server: ServedApi, in_pod: Path, monkeypatch: pytest.MonkeyPatch) -> HttpTransport:
    return enter(server, in_pod, monkeypatch)


def test_a_pod_writes_and_reads_over_one_connection(server: ServedApi, pod: HttpTransport) -> None:
    cluster = Cluster(pod)
    changed = cluster.get(CONFIGMAPS, "certjob", "settings") | {"data": {"a": "2"}}
    cluster.update(CONFIGMAPS, "certjob", changed)
    assert cluster.get(CONFIGMAPS, "certjob", "settings")["data"] == {"a": "2"}
    assert [headers["authorization"] for headers in server.headers] == ["Bearer a-token"] * 3
    assert {headers["user-agent"] for headers in server.headers} == {"certjob"}
    assert len(server.connections) == 1


def test_the_token_of_the_moment_is_sent(server: ServedApi, pod: HttpTransport, in_pod: Path) -> None:
    assert Cluster(pod).ready()
    (in_pod / "token").write_text("the-next\n")
    assert Cluster(pod).ready()
    assert [headers["authorization"] for headers in server.headers] == ["Bearer a-token", "Bearer the-next"]


def test_a_token_that_went_is_no_answer(server: ServedApi, pod: HttpTransport, in_pod: Path) -> None:
    (in_pod / "token").unlink()
    with pytest.raises(Unreachable, match="GET /readyz: FileNotFoundError"):
        pod.send("GET", "/readyz", body=None, timeout=5)
    assert not server.headers


def test_the_servers_certificate_is_checked(server: ServedApi, in_pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served_api() as other:
        pod = enter(server, in_pod, monkeypatch)
        (in_pod / "ca.crt").write_bytes(other.ca_pem)
        with pytest.raises(Unreachable, match="SSLError"):
            pod.send("GET", "/readyz?verbose", body=None, timeout=5)
    assert not server.headers
    (in_pod / "ca.crt").write_bytes(server.ca_pem)
    assert Cluster(pod).ready()  # the cluster's CA was replaced while the process ran


def test_an_ipv6_cluster(in_pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served_api(host="::1") as server:
        assert Cluster(enter(server, in_pod, monkeypatch)).ready()
        assert server.headers[0]["host"] == f"[::1]:{server.port}"


def test_a_proxy_is_for_the_ca_and_never_between_a_pod_and_its_api_server(
    server: ServedApi, in_pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert Cluster(enter(server, in_pod, monkeypatch)).ready()


@pytest.mark.parametrize("lacks", ["token", "ca.crt", "KUBERNETES_SERVICE_PORT"])
def test_half_of_a_service_account_is_none(
    server: ServedApi, pod: HttpTransport, in_pod: Path, lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacks in os.environ:
        monkeypatch.delenv(lacks)
    else:
        (in_pod / lacks).unlink()
    with pytest.raises(KubeError, match="no service account"):
        HttpTransport()


def test_a_lost_connection_is_told_once_and_the_next_request_goes_on(server: ServedApi, pod: HttpTransport) -> None:
    server.api.fail("GET", "/readyz", Unreachable("cut"))
    with pytest.raises(Unreachable, match="GET /readyz: ProtocolError"):
        pod.send("GET", "/readyz", body=None, timeout=5)
    assert len(server.headers) == 1
    assert Cluster(pod).ready()


def test_nobody_listens(server: ServedApi, pod: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(held.getsockname()[1]))
        with pytest.raises(Unreachable, match="NewConnectionError"):
            HttpTransport().send("GET", "/readyz", body=None, timeout=5)


def test_a_redirect_is_an_answer(server: ServedApi, pod: HttpTransport) -> None:
    server.api.fail("GET", "/readyz", Response(307, {"location": f"{server.url}/livez"}, b""))
    assert pod.send("GET", "/readyz", body=None, timeout=5).status == 307
    assert len(server.headers) == 1


def test_an_answer_without_end_is_refused(
    server: ServedApi, pod: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_ANSWER", 100)
    server.api.fail("GET", "/readyz", Response(200, {}, b"x" * 101))
    with pytest.raises(KubeError, match="larger than 100 bytes"):
        pod.send("GET", "/readyz", body=None, timeout=5)


def events(server: ServedApi, pod: HttpTransport) -> Iterator[dict[str, Any]]:
    listed = server.api.add(CONFIGMAPS, "certjob", {"metadata": {"name": "first"}})
    version = listed["metadata"]["resourceVersion"]
    return Cluster(pod).watch(CONFIGMAPS, "certjob", labels="", resource_version=version, seconds=5)


def test_a_watch_gives_what_happens_line_by_line(server: ServedApi, pod: HttpTransport) -> None:
    watched = events(server, pod)
    for size in (10, 200_000):  # one is larger than what is read at once
        server.api.add(CONFIGMAPS, "certjob", {"metadata": {"name": f"of-{size}"}, "data": {"x": "x" * size}})
        event = next(watched)
        assert (event["type"], len(event["object"]["data"]["x"])) == ("ADDED", size)


def test_a_watch_that_is_too_old(server: ServedApi, pod: HttpTransport) -> None:
    server.api.fail("WATCH", "", status(410, "Expired"))
    with pytest.raises(Gone):
        next(events(server, pod))


def test_a_watch_that_is_refused(server: ServedApi, pod: HttpTransport) -> None:
    server.refusals.append(status(403, "Forbidden", "not you"))
    with pytest.raises(ApiError, match="403 Forbidden: not you"):
        next(events(server, pod))


def test_a_kubeconfig_outside_of_a_cluster(
    server: ServedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(server.kubeconfig(tmp_path, "mine"))
    )
    cluster = Cluster(HttpTransport())
    assert cluster.get(CONFIGMAPS, "certjob", "settings")["data"] == {"a": "1"}
    with pytest.raises(NotFound):
        cluster.get(CONFIGMAPS, "certjob", "others")
    assert [headers["authorization"] for headers in server.headers] == ["Bearer mine"] * 2


def test_on_whose_behalf_in_which_groups_and_by_which_kubeconfig(server: ServedApi, tmp_path: Path) -> None:
    given = str(server.kubeconfig(tmp_path, "mine"))
    cluster = Cluster(HttpTransport(user="ann", groups=("a", "b"), kubeconfig=given))
    assert cluster.get(CONFIGMAPS, "certjob", "settings")["data"] == {"a": "1"}
    [headers] = server.headers
    assert headers["authorization"] == "Bearer mine"
    assert (headers["impersonate-user"], headers.get_all("impersonate-group")) == ("ann", ["a", "b"])


def test_neither_pod_nor_kubeconfig() -> None:
    with pytest.raises(KubeError, match="neither a service account nor a kubeconfig"):
        HttpTransport()
