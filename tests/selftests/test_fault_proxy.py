"""The misbehaving proxy of the end-to-end tests does what its rules say."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fakes.acme import FakeAcme, fake_acme
from tests.fakes.fault_proxy import FaultProxy, fault_proxy
from tests.fakes.fault_rules import CUT, SWALLOW, Answer, Change, problem, replaced_body, step_of


@dataclass
class Behind:
    """A proxy in front of a fake CA, of which only the directory and what is below /my-order/ matters."""

    proxy: FaultProxy
    fake: FakeAcme

    def get(self, path: str = "/my-order/1") -> http.client.HTTPResponse:
        context = ssl.create_default_context(cadata=self.proxy.ca_pem.decode())
        host, _, port = self.proxy.url.removeprefix("https://").partition(":")
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read_all = answer.read()  # type: ignore[attr-defined]
        connection.close()
        return answer

    def body(self, path: str = "/my-order/1") -> str:
        return self.get(path).read_all.decode()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def behind() -> Iterator[Behind]:
    with (
        fake_acme() as (fake, ca_pem),
        fault_proxy(address="127.0.0.1", upstream=f"{fake.base}/dir", upstream_ca=ca_pem) as proxy,
    ):
        yield Behind(proxy, fake)


def test_without_a_rule_everything_passes_with_its_host_header(behind: Behind) -> None:
    assert json.loads(behind.body("/dir")) == behind.fake.directory
    [request] = behind.fake.requests
    assert request.headers["Host"] == behind.proxy.url.removeprefix("https://")
    [passed] = behind.proxy.passed
    assert (passed.request.step, passed.action) == ("directory", None)
    assert passed.answer is not None


def test_an_answer_instead_of_the_cas(behind: Behind) -> None:
    behind.proxy.on("order", problem("rateLimited", status=429, Retry_After="30"))
    answer = behind.get()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "30")
    assert behind.fake.requests == []
    assert behind.get().status == 404, "only once"


def test_a_connection_cut_before_and_after(behind: Behind) -> None:
    behind.proxy.on("order", CUT)
    behind.proxy.on("order", SWALLOW)
    for reached in (0, 1):
        with pytest.raises(http.client.RemoteDisconnected):
            behind.get()
        assert len(behind.fake.requests) == reached
    assert [answer.status for answer in behind.proxy.answers("order")] == [404]


def test_a_proxy_with_a_name_is_asked_by_it() -> None:
    with (
        fake_acme() as (fake, ca_pem),
        fault_proxy(address="127.0.0.1", name="localhost", upstream=f"{fake.base}/dir", upstream_ca=ca_pem) as proxy,
    ):
        assert json.loads(Behind(proxy, fake).body("/dir")) == fake.directory
    assert fake.requests[0].headers["Host"] == proxy.url.removeprefix("https://")
    assert proxy.url.startswith("https://localhost:")


def with_a_wrong_rule(fake: FakeAcme, ca_pem: bytes) -> None:
    with fault_proxy(address="127.0.0.1", upstream=f"{fake.base}/dir", upstream_ca=ca_pem) as proxy:
        proxy.on("order", Change(lambda request, answer: Answer(1 // 0)))
        with pytest.raises(http.client.RemoteDisconnected):
            Behind(proxy, fake).get()


def test_a_rule_that_is_wrong_shows_at_the_end() -> None:
    with fake_acme() as (fake, ca_pem), pytest.raises(ZeroDivisionError):
        with_a_wrong_rule(fake, ca_pem)


def test_skip_times_and_where(behind: Behind) -> None:
    behind.proxy.on("order", Answer(599), skip=1, times=2, where=lambda request: request.path != "/my-order/9")
    paths = ["/my-order/1", "/my-order/9", "/my-order/1", "/my-order/1", "/my-order/1"]
    assert [behind.get(path).status for path in paths] == [404, 404, 599, 599, 404]
    assert behind.proxy.count("order") == 5


def test_a_rule_without_end_ends_with_clear(behind: Behind) -> None:
    behind.proxy.on("order", Answer(599), times=None)
    assert [behind.get().status for _ in range(3)] == [599] * 3
    behind.proxy.clear()
    assert behind.get().status == 404


def test_a_changed_answer(behind: Behind) -> None:
    behind.proxy.on("directory", replaced_body(b"other"))
    behind.proxy.on("directory", Change(lambda request, answer: answer.with_json({"X": "1"}, newOrder="n")))
    assert behind.body("/dir") == "other"
    answer = behind.get("/dir")
    assert answer.headers["X"] == "1"
    assert json.loads(answer.read_all) == behind.fake.directory | {"newOrder": "n"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("/dir", "directory"),
        ("/order-plz", "newOrder"),
        ("/my-order/x", "order"),
        ("/acme/short/new-order", "newOrder"),
        ("/acme/order/x/finalize", "finalize"),
        ("/other", "/other"),
    ],
)
def test_steps(path: str, step: str) -> None:
    assert step_of(path) == step
