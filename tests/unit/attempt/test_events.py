"""Events, as they are written."""

from __future__ import annotations

from issuer_job.attempt.events import News, tell_one
from issuer_job.cluster.api import EVENTS, Cluster, Json
from issuer_job.record.record import SourceKind
from tests.fakes.api import FakeApi
from tests.worlds.samples import NOW


def test_an_event_is_named_by_its_occasion() -> None:
    web = SourceKind.INGRESS.reference(namespace="shop", name="web", uid="u")

    def event(reason: str, *unique: str) -> Json:
        api = FakeApi()
        for _ in range(2):  # the second time it is there already
            tell_one(Cluster(api), web, News(reason, "n" * 2000, NOW, unique))
        [made] = api.all(EVENTS)
        return made

    made = event("Failed", "1")
    assert made["metadata"]["name"] == event("Failed", "1")["metadata"]["name"]
    assert len({event(*x)["metadata"]["name"] for x in (("Failed", "1"), ("Failed", "2"), ("Issued", "1"))}) == 3
    assert (made["type"], len(made["note"]), made["eventTime"]) == ("Warning", 1000, "2026-05-05T10:00:00.000000Z")
    assert made["metadata"]["namespace"] == "shop"
    assert made["regarding"] == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "namespace": "shop",
        "name": "web",
        "uid": "u",
    }
