"""What those see who may read nothing in certjob's namespace: what their own rights tell."""

from __future__ import annotations

import json
from datetime import timedelta

import jsonschema
import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.attempt.events import News, tell_sources
from issuer_job.cli.sight import from_here
from issuer_job.cli.sight.from_here import HostView, ServedCertificate
from issuer_job.cluster.api import EVENTS, INGRESSES, SECRETS, Cluster
from issuer_job.record.record import Settings, Source
from tests.fakes.api import FakeApi
from tests.schema import DOCS
from tests.worlds.cli import NOW, CommandLine, eventually, running, words

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALL = {"list ingresses", "list secrets", "list events", "get secrets", "get ingresses", "watch events"}
ASKS = {v.TLS_ACME: "true"}
SOURCE_NOTE = "(told from your own Ingresses, Secrets' metadata and Events, as you may not read the records in"
TABLE = """
NAMESPACE CERTIFICATE READY STATE   HOSTS               ISSUER EXPIRES NEXT
shop      mail-tls    no    Issuing mail.certjob.dev    ?      7d      10s: being ordered
shop      pay-tls     no    Waiting pay.certjob.dev     le     7d      retry in 4m: connection
shop      shop-tls    yes   Issued  shop.certjob.dev +1 le     61d     ?
shop      www-tls     no    Failed  www.certjob.dev     other  7d      needs a change: hostClaimed
"""


def ingress(api: FakeApi, name: str, *hosts: str, **notes: str) -> None:
    """Made an hour ago."""
    spec = {"tls": [{"hosts": list(hosts), "secretName": f"{name}-tls"}], "rules": [{"host": host} for host in hosts]}
    metadata = {"name": name, "annotations": ASKS | notes, "creationTimestamp": f"{NOW - HOUR:{v.NOTED_TIME}}"}
    api.add(INGRESSES, "shop", {"metadata": metadata, "spec": spec})


def secret(
    api: FakeApi, name: str, state: v.SecretState, left: timedelta, *hosts: str, age: timedelta = HOUR
) -> None:
    """As certjob writes one; its key is nobody's business here."""
    notes = {v.NOT_AFTER: f"{NOW + left:{v.NOTED_TIME}}", v.HOSTS: ",".join(hosts), v.ISSUER: "le"}
    labels = {v.MANAGED: "true", v.STATE: str(state)}
    metadata = {"name": name, "labels": labels, "annotations": notes}
    metadata |= {"creationTimestamp": f"{NOW - HOUR:{v.NOTED_TIME}}"}
    api.add(SECRETS, "shop", {"metadata": metadata, "data": {"tls.key": "the key"}})


def news(api: FakeApi, name: str, reason: str, note: str, *, ago: timedelta = HOUR / 2, **fields: object) -> None:
    """An Event, as a Job tells it."""
    source = Source(hosts=(), settings=Settings(issuer="le"), name=name, uid=f"uid-{name}")
    one = replace(source)
    told = News(reason, note, NOW - ago, (note, str(ago)), **fields)  # type: ignore[arg-type]
    tell_sources(Cluster(api), ("shop", f"{name}-tls"), [one], told)


@pytest.fixture
def line() -> CommandLine:
    line = CommandLine(tenant=("shop", ALL))
    api, week = line.api, timedelta(days=7, hours=1)
    ingress(api, "shop", "shop.certjob.dev", "a.shop.certjob.dev")
    secret(api, "shop-tls", v.SecretState.ISSUED, 61 * DAY + HOUR, "shop.certjob.dev", "a.shop.certjob.dev")
    ingress(api, "pay", "pay.certjob.dev")
    secret(api, "pay-tls", v.SecretState.PLACEHOLDER, week, "pay.certjob.dev")
    failed = "pay.certjob.dev: 203.0.113.9: Timeout during connect (connection); it is tried again after 14:31"
    until = NOW + timedelta(minutes=4)
    news(api, "pay", "CertificateFailed", failed, problem="connection", until=until)
    ingress(api, "www", "www.certjob.dev", **{v.ISSUER: "other"})
    secret(api, "www-tls", v.SecretState.PLACEHOLDER, week, "www.certjob.dev")
    news(api, "www", "CertificateFailed", "another namespace has it (hostClaimed)", problem="hostClaimed")
    labels, notes = {v.REQUEST: "true"}, {v.HOSTS: "mail.certjob.dev", v.NOT_AFTER: f"{NOW + week:{v.NOTED_TIME}}"}
    labels |= {v.MANAGED: "true", v.STATE: "placeholder"}
    made = f"{NOW - timedelta(seconds=10):{v.NOTED_TIME}}"
    mail = {"name": "mail-tls", "labels": labels, "annotations": notes, "creationTimestamp": made}
    api.add(SECRETS, "shop", {"metadata": mail})
    api.requests.clear()
    return line


def test_the_same_table_from_ingresses_secrets_and_events_and_the_source_is_named_once(line: CommandLine) -> None:
    ran = line.run("status", "-n", "shop")
    assert ran.code == 0
    assert words(ran.out) == words(TABLE)
    assert ran.err.count(SOURCE_NOTE) == 1
    assert ran.err.endswith("4 certificates, 3 not ready. Why: kubectl certjob why -n shop pay-tls\n")


def test_as_a_document_it_says_what_it_was_told_from_and_what_is_not_known(line: CommandLine) -> None:
    document = json.loads(line.run("status", "-n", "shop", "-o", "json").out)
    assert document["evidence"] == "objects"
    shop = next(one for one in document["items"] if one["name"] == "shop-tls")
    assert {"certificate", "job"} <= set(shop["unknown"])
    assert (shop["ready"], shop["askedBy"][0]["name"]) == (True, "shop")


def test_why_has_certjobs_words_from_the_event_and_what_to_do(line: CommandLine) -> None:
    ran = line.run("why", "-n", "shop", "ingress/pay")
    assert 'port 80 (connection): "pay.certjob.dev: 203.0.113.9: Timeout during connect' in ran.out
    assert "by itself at 14:31 UTC (in 4m)" in ran.out
    assert "docs/troubleshooting.md#connection" in ran.out


def test_describe_shows_the_events_and_no_jobs_or_claims(line: CommandLine) -> None:
    told = line.run("describe", "-n", "shop", "pay-tls", "--no-lookup").out
    assert "CertificateFailed" in told
    assert "Secret       pay-tls: placeholder until 2026-12-04" in told
    assert "Issuer       le" in told
    assert "claim" not in told


def test_what_was_issued_since_is_no_trouble_any_more(line: CommandLine) -> None:
    secret(line.api, "pay-tls", v.SecretState.ISSUED, 90 * DAY, "pay.certjob.dev")
    news(line.api, "pay", "CertificateIssued", "certificate for pay.certjob.dev", ago=HOUR / 3, warning=False)
    assert "Issued" in line.run("status", "-n", "shop", "pay-tls").out
    failing = "its renewal fails: (connection)"
    news(line.api, "pay", "CertificateExpiring", failing, ago=HOUR / 4, problem="connection", until=NOW + HOUR)
    row = line.run("status", "-n", "shop", "pay-tls").out.splitlines()[1].split()
    assert row[2:4] == ["yes", "Waiting"]


def test_an_event_of_0_1_0_says_it_in_words_alone(line: CommandLine) -> None:
    for event in line.api.all(EVENTS):
        del event["metadata"]["annotations"]
        line.api.add(EVENTS, "shop", event)
    ran = line.run("why", "-n", "shop", "pay-tls")
    assert "Timeout during connect (connection)" in ran.out


WITHOUT = {
    "list events": ("Events", ["no", "?"]),
    "list ingresses": ("Ingresses", ["no", "Waiting"]),
    "list secrets": ("Secrets", ["no", "Waiting"]),
}


@pytest.mark.parametrize("right", WITHOUT)
def test_a_right_that_is_missing_is_named_and_the_rest_is_shown(line: CommandLine, right: str) -> None:
    what, cells = WITHOUT[right]
    line.tenant = ("shop", ALL - {right})
    ran = line.run("status", "-n", "shop", "pay-tls")
    assert ran.code == 0
    assert f"(you may not list {what} in shop)\n" in ran.err
    row = ran.out.splitlines()[1].split()
    assert row[:2] == ["shop", "pay-tls"]
    assert row[2] == cells[0]


VIEW = {"list ingresses", "get ingresses", "list events", "watch events"}
"""As the role `view` has them: no Secrets."""


def test_without_secrets_nothing_is_guessed_and_events_tell_what_was_issued(line: CommandLine) -> None:
    line.tenant = ("shop", VIEW)
    news(line.api, "mail", "CertificateIssued", "certificate for mail.certjob.dev", warning=False)
    rows = {row.split()[1]: row.split()[2:4] for row in line.run("status", "-n", "shop").out.splitlines()[1:]}
    assert rows == {
        "mail-tls": ["?", "Issued"],
        "pay-tls": ["?", "Waiting"],
        "shop-tls": ["?", "?"],
        "www-tls": ["?", "Failed"],
    }
    assert "4 certificates, 2 not ready" not in line.run("status", "-n", "shop").err
    assert "4 certificates, 4 not known. Why: " in line.run("status", "-n", "shop").err
    assert "now: " not in line.run("why", "-n", "shop", "shop-tls").out
    waited = line.run("wait", "-n", "shop", "shop-tls", "--timeout", "0")
    assert (waited.code, "you may not read whether it is there" in waited.err) == (4, True)


def test_labels_are_looked_for_where_they_may_be_read(line: CommandLine) -> None:
    found = line.api.stored(INGRESSES, "shop", "pay")
    assert found is not None
    line.api.add(INGRESSES, "shop", found | {"metadata": found["metadata"] | {"labels": {"app": "pay"}}})
    line.tenant = ("shop", VIEW)
    assert line.run("status", "-n", "shop", "-l", "app=pay", "-o", "name").out == "secret/pay-tls\n"
    line.tenant = ("shop", {"list events"})
    assert line.run("status", "-n", "shop", "-l", "app=pay").code == 3


@pytest.mark.parametrize(("chosen", "count"), [(("--issuer", "le"), 1), (("--issued-before", "2030-01-01"), 4)])
def test_what_may_be_meant_is_not_said_not_to_be_there(
    line: CommandLine, chosen: tuple[str, ...], count: int
) -> None:
    """Only mail-tls names no issuer; and when it was issued nothing of a tenant's says."""
    line.tenant = ("shop", ALL | {"patch ingresses"})
    ran = line.run("renew", "-n", "shop", *chosen, "--dry-run=client")
    assert f"(of {count} certificate{'s' * (count != 1)} you may not know whether it is meant)\n" in ran.err
    assert ran.code == (3 if chosen[0] == "--issued-before" else 0)


@pytest.mark.parametrize("command", ["renew", "retry"])
def test_who_may_not_read_what_asks_is_told_that_right(line: CommandLine, command: str) -> None:
    line.tenant = ("shop", set())
    ran = line.run(command, "-n", "shop", "pay-tls")
    assert ran.code == 3
    assert "error: shop/pay-tls: what asks for it may not be read (list ingresses, list secrets)\n" in ran.err


SERVED = HostView(("203.0.113.9",), ServedCertificate("1", "CN=ca", NOW + 30 * DAY, placeholder=False, trusted=True))


def test_without_any_right_a_host_says_what_it_serves(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    line.tenant = ("shop", set())
    monkeypatch.setattr(from_here, "_look", lambda host, patience: SERVED)
    ran = line.run("status", "-n", "shop", "shop.certjob.dev")
    assert ran.code == 0
    assert ran.out.splitlines()[1].split()[:7] == ["shop", "?", "yes", "Issued", "shop.certjob.dev", "?", "30d"]
    monkeypatch.setattr(from_here, "_look", lambda host, patience: HostView((), None, "nobody answers"))
    ran = line.run("status", "-n", "shop", "shop.certjob.dev")
    assert ran.err.endswith("Why: kubectl certjob why -n shop shop.certjob.dev\n")


def test_without_any_right_a_list_names_one_and_a_secret_is_all_question_marks(line: CommandLine) -> None:
    line.tenant = ("shop", set())
    ran = line.run("status", "-n", "shop")
    assert (ran.code, ran.out) == (3, "")
    assert "error: not allowed: " in ran.err
    ran = line.run("status", "-n", "shop", "pay-tls")
    assert (ran.code, ran.out.splitlines()[1].split()) == (0, ["shop", "pay-tls", *"??????"])


def test_tenants_wait_too_and_hear_of_it_by_an_event(line: CommandLine) -> None:
    with running(line, "wait", "-n", "shop", "mail-tls", "--timeout", "20s") as ran:
        eventually(lambda: "shop/mail-tls  10s: being ordered\n" in line.err.getvalue())
        labels = {v.REQUEST: "true", v.MANAGED: "true", v.STATE: "issued"}
        notes = {v.HOSTS: "mail.certjob.dev", v.NOT_AFTER: f"{NOW + 90 * DAY:{v.NOTED_TIME}}"}
        line.api.add(SECRETS, "shop", {"metadata": {"name": "mail-tls", "labels": labels, "annotations": notes}})
        news(
            line.api, "mail", "CertificateIssued", "certificate for mail.certjob.dev", ago=timedelta(0), warning=False
        )
    assert (ran[0].code, ran[0].out) == (0, "shop/mail-tls  Issued, until 2027-02-25\n")


def test_logs_are_not_for_tenants(line: CommandLine) -> None:
    ran = line.run("logs", "-n", "shop", "pay-tls")
    assert ran.code == 3
    assert "get pods/log" in ran.err
    assert "kubectl certjob describe -n shop pay-tls" in ran.err


ISSUERS = """
NAME  DEFAULT READY CA SOLVERS CERTIFICATES ORDERS LEFT CHECKED
le    ?       ?     ?  ?       2            ?           ?
other ?       ?     ?  ?       1            ?           ?
"""


def test_issuers_are_those_that_her_own_ingresses_and_secrets_name(line: CommandLine) -> None:
    ran = line.run("issuers", "-n", "shop")
    assert (ran.code, words(ran.out)) == (0, words(ISSUERS))
    assert ran.err.count(SOURCE_NOTE) == 1
    assert "(of 1 certificate you may not know the issuer; what names none gets the default one)\n" in ran.err
    document = json.loads(line.run("issuers", "-n", "shop", "-o", "json").out)
    jsonschema.validate(document, json.loads((DOCS / "status.schema.json").read_text()))
    assert document["evidence"] == "objects"
    assert {"default", "ready", "ca", "limits", "checkedAt"} <= set(document["items"][0]["unknown"])
    assert line.run("issuers", "-n", "shop", "-o", "name").out == "configmap/le\nconfigmap/other\n"


def test_issuers_without_any_right_name_one_and_where_nothing_is_named_it_is_said(line: CommandLine) -> None:
    line.tenant = ("empty", ALL)
    assert line.run("issuers", "-n", "empty").err.endswith("No issuer is named in namespace empty.\n")
    line.tenant = ("shop", set())
    ran = line.run("issuers", "-n", "shop")
    assert (ran.code, ran.out) == (3, "")
    assert "error: not allowed: " in ran.err


def test_thousands_of_secrets_are_not_asked_for_one_by_one(line: CommandLine) -> None:
    for number in range(300):
        ingress(line.api, f"many{number}", f"many{number}.certjob.dev")
    line.api.requests.clear()
    assert len(line.run("status", "-n", "shop").out.splitlines()) == 305
    assert sum("/secrets/" in request.path for request in line.api.requests) == 100
    line.api.requests.clear()
    assert line.run("status", "-n", "shop", "many299-tls").out.splitlines()[1].split()[2] == "no"


@pytest.mark.parametrize("asked", [True, False])
def test_a_secret_that_is_not_certjobs_is_told(line: CommandLine, asked: bool) -> None:
    line.api.add(SECRETS, "shop", {"metadata": {"name": "foreign-tls"}, "data": {"tls.key": "the key"}})
    if asked:
        ingress(line.api, "foreign", "foreign.certjob.dev")
    told = line.run("why", "-n", "shop", "foreign-tls").out
    assert "foreignSecret" in told
    assert "needs a change" in told
    assert "goes" not in told


def test_what_is_served_is_compared_with_nothing_where_nothing_is_known(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = ServedCertificate("1", "CN=Pebble", NOW + 30 * DAY, placeholder=False, trusted=False)
    monkeypatch.setattr(from_here, "_look", lambda host, patience: HostView(("203.0.113.9",), served))
    told = line.run("describe", "-n", "shop", "shop-tls").out
    assert "a certificate is served: not trusted here, until 2026-12-27, of CN=Pebble" in told.replace("; ", "\n")
    waited = line.run("wait", "-n", "shop", "shop-tls", "--for=served", "--timeout", "0").err
    assert "shop.certjob.dev: a certificate that is not trusted here is served" in waited


def test_doctor_of_who_may_read_nothing_could_not_find_out(line: CommandLine) -> None:
    line.kustomize = lambda path: b'{"kind": "Namespace", "metadata": {"name": "certjob"}}'
    ran = line.run("doctor")
    assert (ran.code, {row.split()[0] for row in ran.out.splitlines()}) == (3, {"?"})
