"""A pod dies right after any write of the flow, its answer lost: whatever comes next ends it with one order.

The writes are those to the API server and those to the CA. Nothing of a process outlives it, so that to die before
write n is to die after write n - 1. The answer may also be lost while the process lives on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from issuer_job import vocabulary as v
from issuer_job.record.record import ACTIVE
from tests.e2e import world
from tests.e2e.api import Api, Endpoint, NewNamespace
from tests.e2e.attempts import Certificate
from tests.e2e.certificates import NewCertificates, certificates
from tests.e2e.wire import Killed, Wire

pytestmark = pytest.mark.usefixtures("no_sweeps")

AT_ONCE = 4


@pytest.fixture(scope="module")
def new_certificate(cluster: tuple[Endpoint, Api]) -> Iterator[NewCertificates]:
    """Makes what the tests issue."""
    with certificates(cluster[0]) as made:
        yield made


@pytest.fixture(scope="module")
def whole(new_certificate: NewCertificates, new_namespace: NewNamespace) -> Wire:
    """All requests of an attempt that nothing disturbs, on a new account."""
    one = new_certificate(new_namespace("whole"), "whole")
    one.apply()
    wire = Wire()
    assert one.run(wire) is v.ExitCode.DONE
    one.assert_issued()
    return wire


@dataclass(frozen=True)
class Case:
    """What became of one certificate after a mishap at one write."""

    at: str
    one: Certificate
    codes: list[v.ExitCode | None]
    left_over: bool = False
    """Whether something may be left to the sweep."""
    most_keys: int = 1
    """A pending key that no Finalizing follows is not inherited."""
    made: int = 1
    """Orders: one whose answer was lost is not looked for, and another is made."""

    def check(self) -> None:
        """It ended well, at the price of one order, as a rule."""
        assert self.codes[-1] is v.ExitCode.DONE, self.codes
        self.one.assert_issued()
        orders = self.one.orders()
        assert [set(order.identifiers) for order in orders] == [set(self.one.hosts)] * self.made
        assert sorted(order.status for order in orders) == ["pending"] * (self.made - 1) + ["valid"]
        assert self.one.accepted("ACME POST /order-plz") == self.made
        assert self.one.accepted("ACME POST /finalize-order/") == 1
        assert 1 <= self.one.accepted("POST .*/secrets/pending-") <= self.most_keys
        if self.left_over:
            self.one.sweep_left_overs()
        assert self.one.left_over() == []


def every_write(
    whole: Wire, new_certificate: NewCertificates, namespace: str, mishap: Callable[[Certificate, int], Case]
) -> str:
    """Do it for each write, a few at a time; what went wrong, a line each."""

    def one(number: int) -> str:
        certificate = new_certificate(namespace, f"n{number}")
        certificate.apply()
        case = mishap(certificate, number)
        try:
            case.check()
        except AssertionError as problem:
            return f"write {number} of {whole.writes}, {case.at}: {problem}"
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return "\n".join(filter(None, pool.map(one, range(1, whole.writes + 1))))


def last_write(wire: Wire) -> str:
    """What was written last."""
    return [call.what for call in wire.calls if call.writes][-1]


def test_an_undisturbed_attempt_makes_every_kind_of_write(whole: Wire) -> None:
    for pattern in ("/sign-me-up", "/order-plz", "/chalZ/", "/finalize-order/", "PUT .*/secrets/", "POST .*/events/"):
        assert whole.count(pattern), pattern


def test_killed_after_every_write_the_next_pod_ends_it(
    whole: Wire, new_certificate: NewCertificates, namespace: str
) -> None:
    def killed(one: Certificate, number: int) -> Case:
        wire = Wire()
        wire.after_write(number, wire.kill)
        one.run(wire)
        ended = one.record.phase not in ACTIVE  # the next pod ends at once, and the pending key stays
        return Case(last_write(wire), one, one.run_job(), left_over=ended)

    assert not every_write(whole, new_certificate, namespace, killed)


def test_killed_after_every_write_a_new_epoch_ends_it(
    whole: Wire, new_certificate: NewCertificates, namespace: str
) -> None:
    def killed(one: Certificate, number: int) -> Case:
        wire = Wire()
        wire.after_write(number, wire.kill)
        one.run(wire)
        if one.record.phase in ACTIVE:  # otherwise the sweep sees no crash
            one.new_epoch()
        return Case(last_write(wire), one, one.run_job(), left_over=True, most_keys=2)

    assert not every_write(whole, new_certificate, namespace, killed)


def test_launcher_killed_after_every_write_webhook_or_sweep_launch_again(
    new_certificate: NewCertificates, namespace: str
) -> None:
    whole = Wire()
    new_certificate(namespace, "launched").launch(wire=whole)

    def killed(number: int) -> str:
        one = new_certificate(namespace, f"l{number}")
        wire = Wire()
        wire.after_write(number, wire.kill)
        with pytest.raises(Killed):
            one.launch(wire=wire)
        launched = world.record(namespace, one.secret) is not None
        one.store()
        if not launched:
            world.wait_issued(namespace, one.secret, one.hosts)  # the real webhook has launched a real Job
        elif not one.held:
            one.same_epoch()
        codes = one.run_job() if launched else []
        try:
            one.assert_issued()
            assert len(one.orders()) == 1
            assert one.left_over() == []
        except AssertionError as problem:
            return f"write {number} of {whole.writes}, {last_write(wire)}, {codes}: {problem}"
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert not "\n".join(filter(None, pool.map(killed, range(1, whole.writes + 1))))


def test_the_answer_of_every_write_is_lost(whole: Wire, new_certificate: NewCertificates, namespace: str) -> None:
    def lost(one: Certificate, number: int) -> Case:
        wire = Wire()
        wire.after_write(number, wire.lose)
        at = [one.run(wire)]
        if at[0] is not v.ExitCode.DONE:
            at += one.run_job()
        what = [call.what for call in wire.calls if call.writes][number - 1]
        return Case(what, one, at, made=2 if what == "ACME POST /order-plz" else 1)

    assert not every_write(whole, new_certificate, namespace, lost)
