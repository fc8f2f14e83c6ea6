"""What certjob's pods tell Prometheus, as Prometheus would ask them."""

from __future__ import annotations

import urllib.request

from issuer_job import vocabulary as v
from issuer_job.http01.responder import HEALTH_PORT
from tests.e2e.observe import PODS, cluster
from tests.worlds.view import Told, told_in
from webhook.scraping import PORT

PORTS = {"view": PORT, "webhook": PORT, "responder": HEALTH_PORT}


def scrape(component: str) -> dict[str, bytes]:
    """The text of each of its pods, by name. Raises OSError."""
    found = {}
    for pod in cluster().items(PODS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}={component}"):
        address, name = pod.get("status", {}).get("podIP", ""), pod["metadata"]["name"]
        if address and "deletionTimestamp" not in pod["metadata"]:
            with urllib.request.urlopen(f"http://{address}:{PORTS[component]}/metrics", timeout=20) as answer:
                found[name] = answer.read()
    return found


def told_by_view() -> Told:
    """By the one view that there is."""
    [text] = scrape("view").values()
    return told_in(text)


def series(name: str, /, **labels: str) -> float | None:
    """What the view says of one series, None if it does not say."""
    return told_by_view().get(name, {}).get(tuple(sorted(labels.items())))
