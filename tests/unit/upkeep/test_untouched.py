"""Ingresses whose spec.tls stayed empty because the webhook was away."""

from __future__ import annotations

from issuer_job import vocabulary as v
from issuer_job.cluster.api import EVENTS, INGRESSES, Json
from issuer_job.demand.askers import Asker
from issuer_job.demand.ingress_spec import own_entry
from issuer_job.issuers.options import Options
from issuer_job.launch.configuration import SettingsCache
from issuer_job.record.record import Phase, SourceKind
from issuer_job.upkeep.untouched import complete_or_tell
from tests.fakes.api import status
from tests.worlds.job import HOST, JobWorld, ingress
from tests.worlds.sweep import jobs, passes, run, writes_nothing


def bare(name: str = "web") -> Json:
    body = ingress(name)
    del body["spec"]["tls"]
    return body


def stored(world: JobWorld, name: str = "web") -> Json:
    found = world.api.stored(INGRESSES, "shop", name)
    assert found is not None
    return found


def test_it_can_only_be_told(swept: JobWorld) -> None:
    before = swept.api.add(INGRESSES, "shop", bare())
    run(swept)
    assert jobs(swept) == 0
    assert stored(swept) == before
    [event] = swept.api.all(EVENTS)
    assert (event["reason"], event["type"]) == ("CertificateMissed", "Warning")
    assert "kubectl annotate" in event["note"]
    assert event["regarding"]["uid"] == before["metadata"]["uid"]
    assert writes_nothing(swept)


def test_made_anew_it_is_told_again(swept: JobWorld) -> None:
    for _ in range(2):
        swept.api.add(INGRESSES, "shop", bare())
        run(swept)
        swept.api.remove(INGRESSES, "shop", "web")
    assert len(swept.api.all(EVENTS)) == 2


def test_with_the_option_the_entry_is_added_and_a_certificate_follows(swept: JobWorld) -> None:
    swept.set_options(completeTls=True)
    before = swept.api.add(INGRESSES, "shop", bare())
    run(swept)
    completed = stored(swept)
    entry = own_entry(completed)
    assert entry is not None
    assert entry.hosts == (HOST,)
    assert completed["metadata"]["annotations"].pop(v.TLS_ENTRY) == entry.marker_on(before)
    del completed["spec"]["tls"]
    assert completed["spec"] == before["spec"]
    assert completed["metadata"]["annotations"] == before["metadata"]["annotations"]
    assert swept.api.all(EVENTS) == []
    passes(swept, 1)
    assert swept.run(secret=entry.secret_name) is v.ExitCode.DONE
    assert swept.record(entry.secret_name).phase is Phase.ISSUED
    run(swept)  # counts the order
    assert writes_nothing(swept)


def test_with_the_option_a_namespace_that_is_opted_in(swept: JobWorld) -> None:
    body = bare()
    body["metadata"]["annotations"] = None
    swept.api.add(INGRESSES, "shop", body)
    issuers = SettingsCache(swept.cluster).issuers()
    options = Options(complete_tls=True)
    assert (
        complete_or_tell(
            swept.cluster, [Asker(SourceKind.INGRESS, stored(swept))], issuers, options, now=swept.clock.read()
        )
        == 1
    )
    assert own_entry(stored(swept)) is not None


def test_somebody_edits_it_just_now(swept: JobWorld) -> None:
    swept.set_options(completeTls=True)
    swept.api.add(INGRESSES, "shop", bare())
    swept.api.fail("PUT", "/ingresses/web", status(409, "Conflict"))
    run(swept)
    assert own_entry(stored(swept)) is not None
    assert swept.api.all(EVENTS) == []


def test_what_was_listed_is_not_what_is_stored(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "shop", bare())
    listed = stored(swept)
    edited = swept.api.add(INGRESSES, "shop", ingress(secret="theirs"))
    issuers = SettingsCache(swept.cluster).issuers()
    complete_or_tell(
        swept.cluster,
        [Asker(SourceKind.INGRESS, listed)],
        issuers,
        Options(complete_tls=True),
        now=swept.clock.read(),
    )
    assert stored(swept) == edited


def test_one_that_may_not_be_written_is_told_and_the_next_one_completed(swept: JobWorld) -> None:
    swept.set_options(completeTls=True)
    swept.api.add(INGRESSES, "shop", bare("a"))
    swept.api.add(INGRESSES, "shop", bare("b"))
    swept.api.fail("PUT", "/ingresses/a", status(403, "Forbidden", "no"), times=9)
    run(swept)
    assert [event["regarding"]["name"] for event in swept.api.all(EVENTS)] == ["a"]
    assert own_entry(stored(swept, "b")) is not None
