"""A responder whose watch is frozen answers 404 to new tokens: the CA is not asked to look before it has recovered.

It stands behind the Service beside the real ones, so run this alone: others' challenges would meet it, too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import ENDPOINT_SLICES, Cluster, Response, Transport, Unreachable
from issuer_job.http01.challenge_index import ChallengeIndex
from issuer_job.http01.challenge_watch import ChallengeWatch
from issuer_job.http01.responder import Responder
from tests.e2e.api import Api, Endpoint, wait_for
from tests.e2e.certificates import NewCertificates, certificates
from tests.e2e.observe import cluster
from tests.e2e.wire import FREEZE_AT_MOST, Wire

pytestmark = pytest.mark.usefixtures("no_sweeps")

ANSWER = "ACME POST /chalZ/"


@pytest.fixture(scope="module")
def new_certificate(cluster: tuple[Endpoint, Api]) -> Iterator[NewCertificates]:
    """Makes what the tests issue."""
    with certificates(cluster[0]) as made:
        yield made


@dataclass
class FrozenWatch:
    """A transport whose watch stands and brings nothing; thawed, it is lost, as after the read timeout."""

    inner: Transport
    thawed: threading.Event = field(default_factory=threading.Event)

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        return self.inner.send(method, path, body=body, timeout=timeout)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        if self.thawed.is_set():
            yield from self.inner.stream(path, timeout=timeout)
        self.thawed.wait(FREEZE_AT_MOST)
        raise Unreachable("the watch was lost")


class CountingIndex(ChallengeIndex):
    """Counts the requests for tokens that it does not know."""

    missed = 0

    def lookup(self, token: str) -> str | None:
        found = super().lookup(token)
        self.missed += found is None
        return found


@contextmanager
def responder(watch: ChallengeWatch, address: str) -> Iterator[None]:
    """One more responder behind the Service, in this process."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    one = Responder(watch)
    asyncio.run_coroutine_threadsafe(one.start(port=0, health_port=0), loop).result(10)
    name = f"frozen-{one.ports[0]}"
    labels = {"kubernetes.io/service-name": v.RESPONDER_SERVICE}
    piece = {
        "metadata": {"name": name, "namespace": v.NAMESPACE, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": v.RESPONDER_PORT_NAME, "port": one.ports[0], "protocol": "TCP"}],
    }
    try:
        wait_for(watch.listed.is_set, what="the responder has listed the challenges")
        cluster().create(ENDPOINT_SLICES, v.NAMESPACE, piece)
        yield
    finally:
        cluster().delete(ENDPOINT_SLICES, v.NAMESPACE, name)
        asyncio.run_coroutine_threadsafe(one.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_the_ca_is_not_asked_to_look_before_a_responder_with_a_frozen_watch_has_recovered(
    new_certificate: NewCertificates, namespace: str, cluster: tuple[Endpoint, Api]
) -> None:
    one = new_certificate(namespace, "chilly")
    index = CountingIndex()
    transport = FrozenWatch(new_certificate.identities["responder"])
    with responder(ChallengeWatch(Cluster(transport), index), cluster[0].host):
        one.apply()
        wire = Wire()
        pod = one.start(wire)
        wait_for(lambda: index.missed >= 5, what="the frozen responder was asked again and again", seconds=30)
        assert wire.count(ANSWER) == 0
        transport.thawed.set()
        assert pod.end() is v.ExitCode.DONE
    one.assert_issued()
    assert one.accepted(ANSWER) == 1
    assert len(one.orders()) == one.accepted("ACME POST /order-plz") == 1
