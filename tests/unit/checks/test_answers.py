"""Whether each part of an installation answers."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from issuer_job import vocabulary as v
from issuer_job.checks import answers as module
from issuer_job.checks.answers import QUESTIONS, Question, answers, ask
from issuer_job.cluster.api import PODS, Cluster, Json
from tests.fakes.api import FakeApi
from tests.fakes.hostile import hostile_server, slowly

PORTS = {"webhook": ("https", 8443), "responder": ("http", 8080), "view": ("metrics", 9402)}


def pod(component: str, number: int = 1, *, ready: bool = True, **metadata: str) -> Json:
    name, port = PORTS.get(component, ("none", 1))
    labels = {v.APP_NAME: "certjob", v.APP_COMPONENT: component}
    return {
        "metadata": {"name": f"{component}-{number}", "labels": labels, **metadata},
        "spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"name": name, "containerPort": port}]}]},
        "status": {
            "podIP": f"10.0.0.{number}",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


class Parts:
    """An installation's pods, and how they answer: as they should, unless the test says something else."""

    def __init__(self, *pods: Json) -> None:
        self.api = FakeApi()
        for each in pods:
            self.api.add(PODS, v.NAMESPACE, each)
        self.wrong: dict[tuple[str, int], int | None] = {}
        self.asked: set[tuple[str, int]] = set()
        self.said: list[str] = []

    def run(self) -> v.ExitCode:
        def answer(where: tuple[str, int], question: Question) -> int | None:
            self.asked.add(where)
            return self.wrong.get(where, question.status)

        return answers(Cluster(self.api), ask=answer, say=self.said.append)


ALL = (pod("webhook"), pod("webhook", 2), pod("responder", 3), pod("view", 4))


def test_every_pod_of_every_part_is_asked_on_the_port_that_it_names() -> None:
    parts = Parts(*ALL, pod("issue", 5), pod("webhook", 6, ready=False))
    assert parts.run() is v.ExitCode.DONE
    assert parts.asked == {("10.0.0.1", 8443), ("10.0.0.2", 8443), ("10.0.0.3", 8080), ("10.0.0.4", 9402)}
    assert len(parts.said) == 4
    assert all(line.startswith("ok ") for line in parts.said)


@pytest.mark.parametrize(("status", "told"), [(None, "no answer"), (500, "with 500")])
def test_one_that_does_not_answer_as_it_should_is_named(status: int | None, told: str) -> None:
    parts = Parts(*ALL)
    parts.wrong["10.0.0.2", 8443] = status
    assert parts.run() is v.ExitCode.PERMANENT
    (line,) = (line for line in parts.said if line.startswith("FAILED"))
    assert "webhook-2" in line
    assert told in line


@pytest.mark.parametrize("component", QUESTIONS)
@pytest.mark.parametrize(
    "other",
    [lambda c: [], lambda c: [pod(c, ready=False)], lambda c: [pod(c, deletionTimestamp="2026-01-01T00:00:00Z")]],
)
def test_a_part_without_a_pod_that_is_ready_fails(component: str, other: Callable[[str], list[Json]]) -> None:
    others = [each for each in ALL if each["metadata"]["labels"][v.APP_COMPONENT] != component]
    parts = Parts(*others, *other(component))
    assert parts.run() is v.ExitCode.PERMANENT
    assert any(line.startswith("FAILED") and component in line and "kubectl get pods" in line for line in parts.said)


def test_asked_over_tls_whoever_has_signed_and_never_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    with hostile_server() as server:
        port = int(server.base.rpartition(":")[2])
        server.answer = lambda path: [b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"]
        assert ask(("127.0.0.1", port), Question("https", "/livez", tls=True)) == 404
        assert ask(("127.0.0.1", port), Question("http", "/livez")) is None
        server.answer = lambda path: slowly(b"HTTP/1.1 200 " + b"O" * 200)
        started = time.monotonic()
        assert ask(("127.0.0.1", port), Question("https", "/livez", tls=True)) is None
        assert time.monotonic() - started < 2
    assert ask(("127.0.0.1", 1), Question("http", "/")) is None
