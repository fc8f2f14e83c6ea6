"""Secrets that another tool renews, too."""

from __future__ import annotations

from collections.abc import Iterator

from issuer_job.cli.doctoring.facts import Facts, MayNotRead, read
from issuer_job.cli.out.verdicts import Judged, fail, ok, unknown
from issuer_job.cluster.api import DEPLOYMENTS, INGRESSES, Cluster, Json, NotFound
from issuer_job.migrate.others.cert_manager import CERTIFICATES
from issuer_job.migrate.others.cm_controller import controller_of, is_controller
from issuer_job.migrate.two_masters import ANCHOR, two_masters

ABOUT = "two masters"
MOST = 10


def judge_masters(facts: Facts) -> Iterator[Judged]:
    """One line for each Secret that has two. Raises KubeError."""
    records, certificates = facts.records, read(lambda: _certificates(facts.cluster))
    deployments = read(lambda: list(facts.cluster.items(DEPLOYMENTS, None)))
    if isinstance(records, MayNotRead) or isinstance(certificates, MayNotRead):
        unread = records if isinstance(records, MayNotRead) else certificates
        yield unknown(ABOUT, f"not looked for: {unread.why if isinstance(unread, MayNotRead) else ''}")
        return
    others = [] if isinstance(deployments, MayNotRead) else deployments
    controller = next((controller_of(one) for one in others if is_controller(one)), None)
    kube_lego = any("kube-lego" in image for one in others for image in _images(one))
    found = two_masters(
        records[0],
        certificates=certificates,
        ingresses=_ingresses(facts.cluster) if controller is not None or kube_lego else (),
        controller=controller,
        kube_lego=kube_lego,
    )
    for one in found[:MOST]:
        yield fail(ABOUT, f"{one.namespace}/{one.secret_name} is {one.other}, too", docs=ANCHOR)
    if len(found) > MOST:
        yield fail(ABOUT, f"and {len(found) - MOST} more", docs=ANCHOR)
    if not found:
        yield ok(ABOUT, "no Secret is another tool's, too")


def _certificates(cluster: Cluster) -> list[Json]:
    """cert-manager's, if it is there."""
    try:
        return list(cluster.items(CERTIFICATES, None))
    except NotFound:
        return []


def _ingresses(cluster: Cluster) -> list[Json]:
    found = read(lambda: list(cluster.items(INGRESSES, None)))
    return [] if isinstance(found, MayNotRead) else found


def _images(deployment: Json) -> Iterator[str]:
    pod = ((deployment.get("spec") or {}).get("template") or {}).get("spec") or {}
    yield from (str(each.get("image", "")) for each in pod.get("containers") or ())
