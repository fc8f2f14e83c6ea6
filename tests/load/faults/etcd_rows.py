"""etcd: stopped, slow, and gone back to an old state."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from issuer_job import vocabulary as v
from tests.e2e import parts
from tests.e2e.sweeps import sweep_as_job
from tests.load.faults import machine
from tests.load.faults.estate import Estate, estate
from tests.load.faults.report import Report, row
from tests.load.lifecycle import Sweeper

COUNT = 20
STOPPED_SECONDS = 10.0
STALL_SECONDS, RUN_SECONDS = 0.5, 0.1
SLOW_FOR_SECONDS = 60.0
SWEEP_SECONDS = 30.0
HEALED_SECONDS = 420.0
FOLLOWERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "traefik")
"""What has seen the later state, and has to forget it."""


@row("etcd-stopped")
def stopped(report: Report) -> None:
    """etcd stopped for 10 s in the middle of 20 orders"""
    with estate("faultetcd") as made, Sweeper(SWEEP_SECONDS):
        made.grow(COUNT // 2)
        with parts.frozen("etcd"):
            time.sleep(STOPPED_SECONDS)
        made.grow(COUNT // 2)
        made.judge(report, seconds=HEALED_SECONDS)


@row("etcd-slow")
def slow(report: Report) -> None:
    """etcd that stands still for half a second of every 0.6, as one that waits for its disk"""
    with estate("faultetcd") as made, Sweeper(SWEEP_SECONDS):
        with _stalling("etcd"):
            made.grow(COUNT, rate=2)
            time.sleep(SLOW_FOR_SECONDS)
        report.note(
            f"issued under the fault: {len(made.serials())} of {COUNT}; creates tried again {made.tried_again}"
        )
        made.judge(report, seconds=HEALED_SECONDS)


@row("etcd-restored")
def restored(report: Report) -> None:
    """etcd restored from a snapshot that is older than 12 certificates and in the middle of 6 orders"""
    with estate("faultetcd", 6) as made:
        before = made.serials()
        snapshot = parts.settings().state / "etcd-snapshot"
        made.grow(6, rate=50)  # under way, wherever each is just then
        _with_etcd_down(lambda data: shutil.copytree(data, snapshot))
        made.grow(6)
        report.holds("issued before it goes back", settled := made.issued(), good=settled)
        ordered = made.orders().total()
        report.exactly("orders by then", ordered, made.count)
        _with_etcd_down(lambda data: _go_back(data, snapshot), *FOLLOWERS)
        _judge_restored(report, made, before, ordered)


def _judge_restored(report: Report, made: Estate, before: dict[str, str], ordered: int) -> None:
    """What has a certificate keeps it; who has lost one that was issued needs one order more, and no second one."""
    lost = {f"c{number}-tls" for number in made.numbers} - _held(made)
    report.note(f"certificates lost with the state: {len(lost)} of {made.count}")
    for number in made.numbers:  # as GitOps does
        made.apply(number)
    with Sweeper(SWEEP_SECONDS):
        made.judge(report, orders=ordered, more=len(lost), seconds=HEALED_SECONDS)
    kept = {name: serial for name, serial in made.serials().items() if name in before}
    report.holds("certificates from before the snapshot kept", kept == before, good=kept == before)
    ended = sweep_as_job().ending
    report.holds("a sweep afterwards", ended, good=ended == "Completed 0")


def _held(made: Estate) -> set[str]:
    """Names of the Secrets that hold a certificate of the CA."""
    return {name for name, secret in made.secrets().items() if secret["metadata"]["labels"].get(v.STATE) == "issued"}


@contextmanager
def _stalling(part: str) -> Iterator[None]:
    done = threading.Event()

    def stall() -> None:
        while not done.wait(RUN_SECONDS):
            with parts.frozen(part):
                time.sleep(STALL_SECONDS)

    thread = threading.Thread(target=stall, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _with_etcd_down(act: Callable[[Path], object], *restarted: str) -> None:
    """Do something to its data directory while it does not run, and restart those who have to see the difference."""
    state = parts.settings().state
    machine.kill_part("etcd")
    try:
        act(state / "etcd")
    finally:
        machine.start_part("etcd")
        for part in restarted:
            machine.start_part(part)


def _go_back(data: Path, snapshot: Path) -> None:
    shutil.rmtree(data)
    snapshot.rename(data)
