"""Two pods that want the same at the same moment, or one that wakes up too late: each race ends right.

The pods run in this process and stand still where a test wants them to.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Json
from tests.e2e import world
from tests.e2e.api import Api, Endpoint
from tests.e2e.attempts import Certificate
from tests.e2e.certificates import NewCertificates, certificates
from tests.e2e.checks import at_once, route
from tests.e2e.observe import cluster
from tests.e2e.wire import Gate, Wire

pytestmark = pytest.mark.usefixtures("no_sweeps")

NEW_ORDER = "ACME POST /order-plz"
ANSWER = "ACME POST /chalZ/"
FINALIZE = "ACME POST /finalize-order/"
DOWNLOAD = "ACME POST /certZ/"
PENDING_KEY = "POST .*/certjob/secrets/pending-"


@pytest.fixture(scope="module")
def new_certificate(cluster: tuple[Endpoint, Api]) -> Iterator[NewCertificates]:
    """Makes what the tests issue."""
    with certificates(cluster[0]) as made:
        yield made


def secret(one: Certificate) -> Json | None:
    """The Secret as stored."""
    return cluster().find(SECRETS, one.namespace, one.secret)


def frozen(one: Certificate, pattern: str) -> tuple[Wire, Gate]:
    """A Wire for a pod that stands still before that request."""
    gate, wire = Gate(), Wire()
    wire.before(pattern, gate.stop)
    return wire, gate


def with_one_more(one: Certificate) -> tuple[str, ...]:
    """Its hosts and a new one."""
    return (*one.hosts, f"new-{one.name}.{one.namespace}.test")


def test_an_older_attempt_that_wakes_up_before_its_secret_write_writes_nothing(
    new_certificate: NewCertificates, namespace: str
) -> None:
    one = new_certificate(namespace, "older")
    one.apply()
    wire, gate = frozen(one, f"^PUT .*/{namespace}/secrets/")
    older = one.start(wire)
    gate.wait()
    both = with_one_more(one)
    one.apply(both)
    assert one.run() is v.ExitCode.DONE
    one.assert_issued(both)
    cluster().delete(SECRETS, namespace, one.secret)
    gate.open()
    assert older.end() is v.ExitCode.SUPERSEDED
    assert secret(one) is None


def test_an_older_attempt_that_found_no_secret_puts_no_certificate_there(
    new_certificate: NewCertificates, namespace: str
) -> None:
    one = new_certificate(namespace, "creates")
    one.apply()
    wire, gate = frozen(one, f"^PUT .*/{namespace}/secrets/")
    later = Gate()
    wire.before(f"^POST .*/{namespace}/secrets/", later.stop)
    older = one.start(wire)
    gate.wait()
    cluster().delete(SECRETS, namespace, one.secret)
    gate.open()
    later.wait()
    one.apply(with_one_more(one))
    assert one.run() is v.ExitCode.DONE
    cluster().delete(SECRETS, namespace, one.secret)
    later.open()
    assert older.end() is v.ExitCode.SUPERSEDED
    assert secret(one) is None or world.holds_placeholder(namespace, one.secret)


@pytest.mark.parametrize("new_epoch", [False, True])
def test_the_answer_of_new_order_is_swallowed_and_the_pod_killed(
    new_certificate: NewCertificates, namespace: str, new_epoch: bool
) -> None:
    one = new_certificate(namespace, "swallowed")
    one.apply()
    wire = Wire()
    wire.after(NEW_ORDER, wire.kill)
    assert one.run(wire) is None
    assert one.record.attempt is not None
    assert one.record.attempt.order_url == ""
    if new_epoch:
        one.new_epoch()
    assert one.run_job() == [v.ExitCode.DONE]
    one.assert_issued()
    assert len(one.orders()) == one.accepted(NEW_ORDER) == 1


@pytest.mark.parametrize("at", [ANSWER, PENDING_KEY, FINALIZE, DOWNLOAD])
def test_one_order_handed_to_two_records_ends_with_two_certificates(
    new_certificate: NewCertificates, namespace: str, at: str
) -> None:
    issuer, hosts = new_certificate.issuer(), [f"both.{namespace}.test"]
    first = new_certificate(namespace, "first", hosts, issuer=issuer)
    second = new_certificate(namespace, "second", hosts, issuer=issuer)
    first.apply()
    second.apply()
    wire, gate = frozen(first, at)
    slow = first.start(wire)
    gate.wait()
    other = Wire()
    other.instead(NEW_ORDER, lambda: wire.first(NEW_ORDER).answer)
    assert second.run(other) is v.ExitCode.DONE
    gate.open()
    assert slow.end() is v.ExitCode.DONE
    certificates = [first.assert_issued(), second.assert_issued()]
    assert certificates[0].public_key() != certificates[1].public_key()
    assert len(first.orders()) == 2
    assert first.left_over() == second.left_over() == []


def test_one_order_handed_to_two_records_at_the_same_moment(new_certificate: NewCertificates, namespace: str) -> None:
    issuer, hosts = new_certificate.issuer(), [f"same.{namespace}.test"]
    first = new_certificate(namespace, "one", hosts, issuer=issuer)
    second = new_certificate(namespace, "two", hosts, issuer=issuer)
    first.apply()
    second.apply()
    wire, gate = Wire(), Gate()
    wire.after(NEW_ORDER, gate.stop)
    running = first.start(wire)
    gate.wait()
    other = Wire()
    other.instead(NEW_ORDER, lambda: wire.first(NEW_ORDER).answer)
    other.after(NEW_ORDER, gate.open)
    assert second.run(other) is v.ExitCode.DONE
    assert running.end() is v.ExitCode.DONE
    certificates = [first.assert_issued(), second.assert_issued()]
    assert certificates[0].public_key() != certificates[1].public_key()
    assert len(first.orders()) == 2
    assert first.left_over() == second.left_over() == []


def test_two_pods_of_one_epoch_at_once_spend_one_key_one_finalize_one_secret_write(
    new_certificate: NewCertificates, namespace: str
) -> None:
    def once(number: int) -> str:
        one = new_certificate(namespace, f"twins{number}")
        one.apply()
        chance = random.Random(number)
        wires = [Wire(pace=lambda: time.sleep(chance.uniform(0, 0.03))) for _ in range(2)]
        codes = at_once(*(lambda wire=wire: one.run(wire) for wire in wires))
        if v.ExitCode.DONE not in codes:
            codes += one.run_job()
        writes = f"PUT .*/{namespace}/secrets/"
        spent = {what: one.accepted(what) for what in (PENDING_KEY, FINALIZE, f"^{writes}")}
        try:
            one.assert_issued()
            assert set(spent.values()) == {1}, spent
            assert one.left_over() == []
        except AssertionError as problem:
            return f"round {number}, {codes}: {problem}"
        return ""

    with ThreadPoolExecutor(4) as pool:
        assert not "\n".join(filter(None, pool.map(once, range(24))))


def test_two_pods_with_the_same_key_finalize_the_same_order_once(
    new_certificate: NewCertificates, namespace: str
) -> None:
    one = new_certificate(namespace, "same-key")
    one.apply()
    lost_node, thaw = frozen(one, FINALIZE)
    old = one.start(lost_node)
    thaw.wait()
    wire, gate = frozen(one, FINALIZE)
    new = one.start(wire)
    gate.wait()
    thaw.open()
    assert old.end() is v.ExitCode.OTHER_POD
    gate.open()
    assert new.end() is v.ExitCode.DONE
    one.assert_issued()
    assert one.accepted(FINALIZE) == 1
    assert len(one.orders()) == 1


def test_two_pods_with_the_same_certificate_write_it_once(new_certificate: NewCertificates, namespace: str) -> None:
    one = new_certificate(namespace, "same-write")
    one.apply()
    write = f"^PUT .*/{namespace}/secrets/"
    lost_node, thaw = frozen(one, write)
    old = one.start(lost_node)
    thaw.wait()
    wire, gate = frozen(one, write)
    new = one.start(wire)
    gate.wait()
    thaw.open()
    assert old.end() is v.ExitCode.OTHER_POD
    gate.open()
    assert new.end() is v.ExitCode.DONE
    one.assert_issued()
    assert one.accepted(write) == 1
    assert len(one.orders()) == 1


def test_a_finished_attempt_leaves_route_and_token_to_the_next_one(
    new_certificate: NewCertificates, namespace: str
) -> None:
    one = new_certificate(namespace, "waits")
    one.apply()
    wire, gate = frozen(one, ANSWER)
    older = one.start(wire)
    gate.wait()
    both = with_one_more(one)
    one.apply(both)
    waiting, answer = frozen(one, ANSWER)
    newer = one.start(waiting)
    answer.wait()
    gate.open()
    assert older.end() is v.ExitCode.SUPERSEDED
    record = one.record
    held = route(one.hosts[0])
    assert held is not None
    assert held["metadata"]["annotations"][v.EPOCH_PREFIX + record.uid] == str(record.epoch)
    name = names.challenge(record.uid, record.epoch)
    assert len(cluster().get(CONFIGMAPS, v.NAMESPACE, name)["data"]) == 2
    answer.open()
    assert newer.end() is v.ExitCode.DONE
    one.assert_issued(both)
    one.sweep_left_overs()  # the older attempt made a key before it saw that it was superseded
    assert one.left_over(both) == []
