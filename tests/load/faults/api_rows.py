"""The API server: restarted, slow, failing, refusing."""

from __future__ import annotations

import time

from tests.e2e import parts
from tests.e2e.sweeps import sweep_as_job
from tests.load.faults.admissions import Admissions
from tests.load.faults.api_proxy import NO_FAULT, Fault, between_pods_and_api_server, flaky, slow, storms
from tests.load.faults.estate import estate
from tests.load.faults.report import Report, row
from tests.load.lifecycle import Sweeper

COUNT = 20
FAULT_SECONDS = 60.0
SWEEP_SECONDS = 30.0
HEALED_SECONDS = 420.0
"""What crashed is taken up again by a sweep, at most twice."""


@row("api-restart")
def restarted(report: Report) -> None:
    """API server restarted in the middle of 20 orders"""
    with estate("faultapi") as made, Sweeper(SWEEP_SECONDS):
        made.grow(COUNT // 2)
        parts.control("restart", "kube-apiserver")
        made.grow(COUNT // 2)
        report.note(f"tried again while it was away: {made.tried_again} times")
        made.judge(report, seconds=HEALED_SECONDS)


@row("api-latency")
def one_second(report: Report) -> None:
    """1 s latency on every call of certjob's pods to the API server"""
    _with_fault(report, slow(1.0))


@row("api-flaky")
def third_fails(report: Report) -> None:
    """30 % of all calls to the API server answered 5xx or cut, before or after they took effect"""
    _with_fault(report, flaky(0.3))


@row("api-429")
def throttled(report: Report) -> None:
    """storms of 429: five seconds of every ten everything is refused"""
    _with_fault(report, storms(5.0))


def _with_fault(report: Report, fault: Fault) -> None:
    with between_pods_and_api_server() as proxy, estate("faultapi") as made, Sweeper(SWEEP_SECONDS) as sweeper:
        made.remember_keys()
        proxy.fault = fault
        with Admissions(made.space, 5) as load:
            made.grow(COUNT, rate=2)
            time.sleep(FAULT_SECONDS)
        report.note(f"issued under the fault: {len(made.serials())} of {COUNT}; {dict(proxy.seen)}")
        proxy.fault = NO_FAULT
        load.judge(report)
        made.judge(report, seconds=HEALED_SECONDS)
        report.note(f"sweeps {len(sweeper.runs)}, with a problem {len(sweeper.problems)}: {set(sweeper.problems)}")
        ended = sweep_as_job().ending
        report.holds("a sweep afterwards", ended, good=ended == "Completed 0")
