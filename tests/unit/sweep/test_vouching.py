"""Which certificates in Secrets are the issuer's: of a former server, a stranger's, one whose record was lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Json
from issuer_job.record.record import Issued, Phase
from tests.fakes.certs_ca import DAY, FakeCA
from tests.worlds.before import as_before
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress
from tests.worlds.sweep import (
    HOUR,
    by_hand,
    change,
    issue_one,
    jobs,
    orders,
    own_certificate,
    passes,
    run,
    write,
    writes_nothing,
)

pytestmark = pytest.mark.exhaustive

CHART = FakeCA.root("chart-ca")
"""Makes the pair that a Helm chart brings with it, another one with each upgrade."""


def issued(world: JobWorld, secret: str = "web-tls") -> Issued:
    found = world.record(secret).issued
    assert found is not None
    return found


def told(world: JobWorld, reason: str) -> list[str]:
    return [note for word, note in world.events() if word == reason]


def upgraded(world: JobWorld, *, by: str = "helm") -> None:
    """The chart's pair over whatever the Secret holds."""
    by_hand(world, signer=CHART)
    stored = world.api.stored(SECRETS, "shop", "web-tls")
    assert stored is not None
    fields = {"manager": by, "time": "2026-01-02T03:04:05Z", "fieldsV1": {"f:data": {".": {}, "f:tls.crt": {}}}}
    others = {"manager": "kubectl", "fieldsV1": {"f:metadata": {}}}
    stored["metadata"] = {**stored["metadata"], "managedFields": [others, fields]}
    world.api.add(SECRETS, "shop", stored)


def looked(world: JobWorld) -> None:
    """Sweeps until the Secret was looked at, and what they launched."""
    passes(world, 13, until=lambda: world.record().phase is not Phase.ISSUED)
    if world.record().phase is Phase.LAUNCHED:
        assert world.run() is v.ExitCode.DONE


def test_what_a_chart_writes_over_it_is_put_back_with_a_warning(swept: JobWorld) -> None:
    first = issue_one(swept)
    upgraded(swept)
    looked(swept)
    assert (orders(swept), issued(swept).directory) == (2, swept.server)
    assert issued(swept).serial != first.issued.serial  # type: ignore[union-attr]
    (note,) = told(swept, "CertificateOverwritten")
    assert "overwritten by helm at 2026-01-02T03:04:05Z with one signed by 'chart-ca'" in note


def test_a_fight_over_the_secret_is_said_and_costs_one_order_a_day(swept: JobWorld) -> None:
    issue_one(swept)
    held = None
    for _ in range(80):
        upgraded(swept)
        passes(swept, 1)
        if swept.record().phase is Phase.LAUNCHED:
            swept.run()
        swept.clock.ahead += timedelta(minutes=50)
        if orders(swept) == 2:
            held = held or swept.record().retry
    assert orders(swept) in {4, 5}  # one, and another each day of three
    assert held is not None
    assert (held.problem.type, "overwritten by helm" in held.problem.detail) == ("overwritten", True)
    assert f"Nothing is ordered before {held.not_before:%Y-%m-%d %H:%M} UTC" in held.problem.detail
    assert f"Secret web-tls: {held.problem.detail}" in told(swept, "CertificateOverwritten")


def test_a_charts_pair_that_is_handed_over_serves_until_it_is_replaced(swept: JobWorld) -> None:
    now = swept.clock.read()
    crt, key = own_certificate((HOST,), now - HOUR, now + 300 * DAY, signer=CHART)
    secret: Json = {"metadata": {"name": "web-tls", "labels": {v.MANAGED: "true"}}, "type": v.TLS_SECRET_TYPE}
    swept.api.add(SECRETS, "shop", secret | {"data": {"tls.crt": "", "tls.key": ""}})
    change(swept, tls_crt=crt, tls_key=key)
    swept.apply(ingress())
    assert swept.secret()["data"]["tls.crt"] == crt
    assert swept.run() is v.ExitCode.DONE
    assert (orders(swept), issued(swept).directory) == (1, swept.server)
    assert swept.secret()["data"]["tls.crt"] != crt
    assert told(swept, "CertificateOverwritten") == []
    assert "from issuer" in told(swept, "CertificateIssued")[0]


def test_a_bought_certificate_that_is_handed_over_is_taken_and_no_issuer_is_said_to_have_given_it(
    swept: JobWorld,
) -> None:
    secret: Json = {"metadata": {"name": "web-tls", "labels": {v.MANAGED: "true"}}, "type": v.TLS_SECRET_TYPE}
    swept.api.add(SECRETS, "shop", secret | {"data": {"tls.crt": "", "tls.key": ""}})
    by_hand(swept)
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.DONE
    assert (orders(swept), issued(swept).directory, issued(swept).vouched) == (0, "", True)
    (note,) = told(swept, "CertificateIssued")
    assert ("that was in the Secret already" in note, ISSUER in note) == (True, False)
    passes(swept, 13)
    assert (orders(swept), jobs(swept)) == (0, 1)
    assert writes_nothing(swept)


def moved(world: JobWorld) -> str:
    """The operator edits `server:` of the issuer; the other CA has another path here."""
    there = f"{world.ca.base}/elsewhere"
    world.set_issuer(server=there)
    return there


def test_certificates_of_a_former_server_are_replaced_and_the_issuer_says_how_many(swept: JobWorld) -> None:
    issue_one(swept)
    issue_one(swept, ingress("other", hosts=("two.certjob.dev",), secret="two-tls"), secret="two-tls")
    there = moved(swept)
    run(swept)
    assert jobs(swept) == 4
    (note,) = told(swept, "IssuerServerChanged")
    assert note.startswith(f"2 certificates are from another server than {there}")
    for secret in ("web-tls", "two-tls"):
        assert swept.run(secret=secret) is v.ExitCode.DONE
        assert issued(swept, secret).directory == there
    assert orders(swept) == 4
    passes(swept, 13)
    assert orders(swept) == 4
    assert writes_nothing(swept)


def test_they_are_replaced_within_the_limits_and_those_that_end_soon_first(swept: JobWorld) -> None:
    for name in ("one", "two", "end"):
        issue_one(swept, ingress(name, hosts=(f"{name}.certjob.dev",), secret=f"{name}-tls"), secret=f"{name}-tls")
    ends = swept.record("end-tls")
    assert ends.issued is not None
    now = swept.clock.read()
    soon = replace(ends.issued, not_before=now - 80 * DAY, not_after=now + 4 * DAY)
    write(swept, replace(ends, issued=soon))
    there = moved(swept)
    swept.set_options(launchesPerSweep=1)
    run(swept)
    launched = {name: swept.record(f"{name}-tls").phase for name in ("one", "two", "end")}
    assert launched == {"one": Phase.ISSUED, "two": Phase.ISSUED, "end": Phase.LAUNCHED}
    swept.set_options()
    swept.set_issuer(server=there, limits={"orders": 1})
    run(swept)
    assert {swept.record(f"{name}-tls").phase for name in ("one", "two")} == {Phase.WAITING}


def test_held_back_by_a_limit_it_is_replaced_later_all_the_same(swept: JobWorld) -> None:
    issue_one(swept)
    there = moved(swept)
    swept.set_issuer(server=there, limits={"orders": 1})
    run(swept)
    assert swept.record().phase is Phase.WAITING
    swept.clock.ahead += 4 * HOUR
    passes(swept, 1)
    assert swept.run() is v.ExitCode.DONE
    assert (orders(swept), issued(swept).directory) == (2, there)


@pytest.mark.parametrize("spelt", ["{}/", "{}"])
def test_another_spelling_is_no_other_server(swept: JobWorld, spelt: str) -> None:
    issue_one(swept)
    swept.set_issuer(server=spelt.format(swept.server))
    passes(swept, 13)
    assert (jobs(swept), told(swept, "IssuerServerChanged")) == (1, [])


def test_what_the_fallback_gave_is_no_other_servers(swept: JobWorld) -> None:
    issue_one(swept)
    there = f"{swept.ca.base}/elsewhere"
    swept.set_issuer("second", default=False, server=there)
    swept.set_issuer(fallback={"issuer": "second"})
    record = swept.record()
    assert record.issued is not None
    write(swept, replace(record, issued=replace(record.issued, directory=there)))
    passes(swept, 13)
    assert jobs(swept) == 1


def test_of_a_lost_record_all_is_known_again(swept: JobWorld) -> None:
    first = issue_one(swept)
    swept.api.remove(CONFIGMAPS, v.NAMESPACE, names.record("shop", "web-tls"))
    swept.clock.ahead += timedelta(seconds=5)
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    again, before = issued(swept), first.issued
    assert before is not None
    assert orders(swept) == 1
    assert (again.directory, again.cert_id, again.leaf) == (before.directory, before.cert_id, before.leaf)


def test_what_an_earlier_version_issued_goes_on_without_an_order_whoever_has_signed_it(swept: JobWorld) -> None:
    """Its record says that it was issued; who signs for the issuer is learnt from it by the first look."""
    issue_one(swept)
    as_before(swept.api)
    state = names.issuer_state(ISSUER, swept.server)
    held = swept.api.stored(CONFIGMAPS, v.NAMESPACE, state)
    assert held is not None
    signers = held["data"].pop("signers")
    swept.api.add(CONFIGMAPS, v.NAMESPACE, held)
    passes(swept, 13)
    assert (jobs(swept), orders(swept)) == (1, 1)
    learnt = swept.api.stored(CONFIGMAPS, v.NAMESPACE, state)
    assert learnt is not None
    assert learnt["data"]["signers"] == signers
    assert writes_nothing(swept)


def cert_manager_writes(world: JobWorld) -> None:
    """As cert-manager does for a Certificate of its own: its pair and its annotation, all else stays."""
    by_hand(world)
    stored = world.api.stored(SECRETS, "shop", "web-tls")
    assert stored is not None
    notes = {**stored["metadata"].get("annotations", {}), "cert-manager.io/certificate-name": "web-tls"}
    world.api.add(SECRETS, "shop", stored | {"metadata": stored["metadata"] | {"annotations": notes}})


def test_two_tools_on_one_secret_do_not_fight(swept: JobWorld) -> None:
    """Both read kubernetes.io/tls-acme: certjob was first, and cert-manager has written over it."""
    issue_one(swept)
    cert_manager_writes(swept)
    theirs = swept.secret()["data"]
    looked(swept)
    assert (swept.record().phase, orders(swept), jobs(swept)) == (Phase.FAILED, 1, 1)
    (note,) = told(swept, "CertificateFailed")
    assert "cert-manager has written Secret web-tls, too, for its Certificate 'web-tls'" in note
    assert note.endswith("(otherTool)")
    passes(swept, 13)
    assert (jobs(swept), swept.secret()["data"]) == (1, theirs)
    assert writes_nothing(swept)


def test_it_is_certjobs_again_when_the_mark_is_gone(swept: JobWorld) -> None:
    issue_one(swept)
    cert_manager_writes(swept)
    looked(swept)
    stored = swept.api.stored(SECRETS, "shop", "web-tls")
    assert stored is not None
    stored["metadata"]["annotations"].pop("cert-manager.io/certificate-name")
    swept.api.add(SECRETS, "shop", stored)
    passes(swept, 1)
    assert swept.run() is v.ExitCode.DONE
    assert (swept.record().phase, orders(swept), issued(swept).vouched) == (Phase.ISSUED, 1, True)


def test_the_other_tool_was_there_before_the_first_certificate(swept: JobWorld) -> None:
    swept.apply(ingress())
    cert_manager_writes(swept)
    assert swept.run() is v.ExitCode.PERMANENT
    retry = swept.record().retry
    assert retry is not None
    assert (retry.problem.type, orders(swept)) == ("otherTool", 0)
    passes(swept, 3)
    assert jobs(swept) == 1


def test_a_secret_of_cert_managers_that_is_handed_over_is_certjobs(swept: JobWorld) -> None:
    """The mark stays behind, and hurts nobody: not when it is adopted, nor when it is renewed."""
    secret: Json = {"metadata": {"name": "web-tls", "labels": {v.MANAGED: "true"}}, "type": v.TLS_SECRET_TYPE}
    swept.api.add(SECRETS, "shop", secret | {"data": {"tls.crt": "", "tls.key": ""}})
    cert_manager_writes(swept)
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 0
    swept.clock.ahead += 25 * DAY
    passes(swept, 1)
    assert swept.run() is v.ExitCode.DONE
    assert (orders(swept), issued(swept).directory) == (1, swept.server)
    passes(swept, 3)
    assert (jobs(swept), swept.record().phase) == (2, Phase.ISSUED)
