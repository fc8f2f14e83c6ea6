"""The node: lost, full, without an image; pods evicted. Each is said by an Event, and over when its cause is."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from issuer_job import vocabulary as v
from issuer_job.cluster.api import EVENTS, POD_TEMPLATES, KubeError
from issuer_job.record.record import Phase
from tests.e2e import parts, sweeps
from tests.e2e.observe import cluster
from tests.load.faults import machine
from tests.load.faults.estate import Estate, estate
from tests.load.faults.report import Report, row
from tests.load.lifecycle import Sweeper

COUNT = 3
SWEEP_SECONDS = 30.0
SAID_WITHIN = 300.0
"""With a sweep every 30 s; with one every 5 minutes as in the manifests that is within 10 minutes."""
HEALED_SECONDS = 900.0
ABSENT = "localhost/certjob-job:absent"
PRESENT = "localhost/certjob-job:dev"


@row("node-lost")
def node_lost(report: Report) -> None:
    """the node lost: kubelet and containerd killed, and everything in its pods"""
    with estate("faultnode") as made:
        with parts.scaled("certjob-responder", 0):  # holds the first orders in the middle
            made.grow(COUNT)
            held = sweeps.wait(lambda: _count(made, Phase.AUTHORIZING) == COUNT, 60)
            report.holds("orders under way", held, good=held)
            try:
                for part in ("kubelet", "containerd"):
                    machine.kill_part(part)
                machine.kill_pods_processes()
                made.grow(COUNT)
                _is_said(report, made, machine.sweep_beside)
            finally:
                machine.start_node()
        _heals(report, made)


@row("evicted")
def evicted(report: Report) -> None:
    """the pods of Jobs evicted in the middle of their orders"""
    with estate("faultnode") as made:
        with parts.scaled("certjob-responder", 0):
            made.grow(COUNT)
            held = sweeps.wait(lambda: _count(made, Phase.AUTHORIZING) == COUNT, 60)
            report.holds("orders under way", held, good=held)
            for name in machine.pods_of("issue"):
                machine.evict(name)
        _heals(report, made)


@row("disk-full")
def disk_full(report: Report) -> None:
    """the node's disk full by the kubelet's reckoning: it evicts pods, deletes images and takes no new pods"""
    configuration = parts.settings().state / "kubelet.json"
    before = configuration.read_text()
    full = json.loads(before)
    full["evictionHard"] |= {"nodefs.available": "99%"}  # 100% would mean never
    with estate("faultnode") as made:
        try:
            machine.kill_part("kubelet")
            configuration.write_text(json.dumps(full))
            machine.start_quietly("kubelet")
            seen = sweeps.wait(lambda: "DiskPressure" in machine.pressures(), 90)
            report.holds("the node is under pressure", seen, good=seen)
            made.grow(COUNT)
            _is_said(report, made, machine.sweep_beside)
        finally:
            machine.kill_part("kubelet")
            configuration.write_text(before)
            machine.start_quietly("kubelet")
            machine.load_images()
        _heals(report, made)


@row("image-gone")
def image_gone(report: Report) -> None:
    """the image of the Jobs is not to be had: ImagePullBackOff"""
    with estate("faultnode") as made, _image(ABSENT):
        made.grow(COUNT)
        with Sweeper(SWEEP_SECONDS):
            _is_said(report, made, lambda: time.sleep(SWEEP_SECONDS / 4))
            _ctr("tag", PRESENT, ABSENT)
            try:
                _heals(report, made)
            finally:
                _ctr("rm", ABSENT)


def _is_said(report: Report, made: Estate, sweep: Callable[[], object]) -> None:
    """Every Ingress that has no certificate has an Event that says so."""
    began = time.monotonic()

    def said() -> set[str]:
        events = cluster().items(EVENTS, made.space)
        return {e["regarding"]["name"] for e in events if e.get("reason") == "CertificateDelayed"}

    while len(said()) < made.count and time.monotonic() - began < 2 * SAID_WITHIN:
        again = time.monotonic() + SWEEP_SECONDS
        try:
            sweep()
        except KubeError as problem:
            report.note(f"a sweep failed: {problem}")
        time.sleep(max(again - time.monotonic(), 0) if len(said()) < made.count else 0)
    report.most(
        f"said on {len(said())} of {made.count} Ingresses after", round(time.monotonic() - began), SAID_WITHIN, " s"
    )
    report.exactly("Ingresses that say so", len(said()), made.count)


def _heals(report: Report, made: Estate) -> None:
    """All of it without anybody's help, when the cause is gone."""
    report.holds("webhook back", back := machine.ready("webhook", seconds=300), good=back)
    with Sweeper(SWEEP_SECONDS):
        made.judge(report, seconds=HEALED_SECONDS)


def _count(made: Estate, phase: Phase) -> int:
    return sum(record.phase is phase for record in made.records().values())


@contextmanager
def _image(name: str) -> Iterator[None]:
    """The Jobs' PodTemplate with another image; the former one afterwards."""
    before = _set_image(name)
    try:
        yield
    finally:
        _set_image(before)


def _set_image(name: str) -> str:
    template = cluster().get(POD_TEMPLATES, v.NAMESPACE, v.POD_TEMPLATE)
    container = template["template"]["spec"]["containers"][0]
    before: str = container["image"]
    container["image"] = name
    cluster().update(POD_TEMPLATES, v.NAMESPACE, template)
    return before


def _ctr(*arguments: str) -> None:
    subprocess.run(["ctr", "images", *arguments], check=True, capture_output=True, timeout=60)
