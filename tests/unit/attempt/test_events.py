"""Events, as they are written."""

from __future__ import annotations

from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.attempt.events import News, tell_one, tell_sources
from issuer_job.cluster.api import EVENTS, Cluster, Json
from issuer_job.record.record import SourceKind
from tests.fakes.api import FakeApi
from tests.worlds.samples import LATER, NOW, source


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


def test_an_event_says_for_programs_which_secret_what_and_when() -> None:
    api = FakeApi()
    failed = News("CertificateFailed", "no", NOW, ("1",), problem="connection", until=LATER)
    tell_sources(Cluster(api), ("shop", "web-tls"), [replace(source(), uid="u")], failed)
    [made] = api.all(EVENTS)
    assert made["note"] == "Secret web-tls: no"
    assert made["metadata"]["annotations"] == {
        v.EVENT_SECRET: "web-tls",
        v.EVENT_PROBLEM: "connection",
        v.EVENT_NEXT: "2026-05-05T10:05:00Z",
    }
