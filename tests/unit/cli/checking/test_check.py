"""`kubectl certjob check`: the webhook's verdict, what operators know, what this machine sees, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, NAMESPACES, SECRETS, Json, Unreachable
from issuer_job.hosts.claims import claim_body
from issuer_job.issuers.state import CHECK_RESULT, NOT_READY, READY, state_body
from tests.fakes.api import status
from tests.fakes.dns import FakeDns, fake_dns
from tests.worlds.admitting import admit
from tests.worlds.cli import CommandLine, Ran

pytestmark = pytest.mark.process
SERVER = "https://localhost:1/directory"
HOSTS = ("pay.shop.dev", "www.shop.dev")


@pytest.fixture
def dns() -> Iterator[FakeDns]:
    with fake_dns() as world:
        world.zone(".", servers=["127.0.0.1"])
        world.zone("shop.dev", servers=["127.0.0.2"])
        for host in HOSTS:
            world.set(host, "A", "127.0.0.1")
        yield world


@pytest.fixture
def line(dns: FakeDns) -> CommandLine:
    """An operator's, with an issuer that is ready and one Ingress in shop."""
    made = CommandLine(nameservers=(dns.recursive,), http_port=1)
    admit(made.api)
    issuer(made)
    made.api.add(NAMESPACES, None, {"metadata": {"name": "shop"}})
    made.api.add(INGRESSES, "shop", ingress())
    return made


def issuer(line: CommandLine, name: str = "le", *, result: str = READY, **fields: object) -> None:
    document = {"server": SERVER, "privateNames": True, **fields}
    notes = {v.DEFAULT_ISSUER: "true"} if name == "le" else {}
    metadata = {"name": name, "labels": {v.ISSUER: "true"}, "annotations": notes}
    line.api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": metadata, "data": {v.ISSUER_KEY: yaml.dump(document)}})
    data = {CHECK_RESULT: result} if result else {}
    line.api.add(CONFIGMAPS, v.NAMESPACE, state_body(name, SERVER, data))


def ingress(name: str = "pay", hosts: tuple[str, ...] = HOSTS, **notes: str) -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": "shop", "annotations": {v.TLS_ACME: "true", **notes}},
        "spec": {
            "rules": [{"host": host} for host in hosts],
            "tls": [{"hosts": list(hosts), "secretName": "pay-tls"}],
        },
    }


def check(line: CommandLine, *arguments: str) -> Ran:
    return line.run("check", "-n", "shop", *(arguments or ("ingress/pay",)))


def rows(ran: Ran) -> dict[str, str]:
    """By what they are about, verdict and sentence; of several about one thing the last."""
    found = {}
    for text in ran.out.splitlines():
        verdict, rest = text[1:6].strip(), text[7:]
        about = next((word for word in ABOUT if rest.startswith(word)), "")
        found[about] = f"{verdict} {rest[len(about) :].strip()}"
    return found


ABOUT = ("admission", "host policy", "issuer", "DNS", "CAA", "port 80", "limits", "Secret")


def test_an_order_that_would_succeed_is_said_line_by_line(line: CommandLine) -> None:
    ran = check(line)
    assert rows(ran) == {
        "admission": "ok certjob would order 1 certificate for 2 hosts from le into pay-tls (server-side dry run)",
        "host policy": "ok first-claim: both hosts are free or shop's",
        "issuer": "ok le is ready; HTTP-01 for both hosts",
        "DNS": "warn www.shop.dev leads to 127.0.0.1, which no CA on the Internet can reach",
        "CAA": "ok allows both hosts",
        "port 80": rows(ran)["port 80"],
        "limits": "ok 300 of 300 orders, 50 of 50 certificates for shop.dev left",
    }
    assert (ran.code, ran.err) == (0, "")


def test_nothing_is_written(line: CommandLine) -> None:
    before = len(line.api._store.history)
    check(line)
    assert len(line.api._store.history) == before


def test_a_caa_record_that_forbids_is_a_fault_and_1(line: CommandLine, dns: FakeDns) -> None:
    dns.set("shop.dev", "CAA", '0 issue ";"')
    ran = check(line)
    # Its directory cannot be read: who the CA is, is not known.
    assert rows(ran)["CAA"].startswith('? shop.dev: 0 issue ";" restricts who may issue for ')
    dns.set("shop.dev", "CAA", '128 tbs "x"')
    ran = check(line)
    assert rows(ran)["CAA"].startswith('FAIL shop.dev: 128 tbs "x" is critical')
    assert (ran.code, ran.err) == (1, "1 problem: an order would fail\n")


def test_what_the_webhook_says_of_the_ingress_is_said(line: CommandLine) -> None:
    line.api.add(INGRESSES, "shop", ingress(**{v.ISSUER: "nobodys"}))
    ran = check(line)
    assert ran.code == 1
    assert "FAIL  admission  unknown issuer nobodys; known: le -> docs/troubleshooting.md#warnings" in ran.out
    line.api.add(INGRESSES, "shop", ingress(**{v.RENEW_BEFORE: "soon"}))
    ran = check(line)
    assert ran.code == 0
    assert "warn  admission    certjob.io/renew-before: " in ran.out


def test_one_that_does_not_ask_is_told_how_to(line: CommandLine) -> None:
    line.api.add(INGRESSES, "shop", ingress(**{v.TLS_ACME: "false"}))
    ran = check(line)
    says = "FAIL Ingress shop/pay does not ask for a certificate: annotate it kubernetes.io/tls-acme=true"
    assert rows(ran) == {"admission": f"{says} -> docs/troubleshooting.md#warnings-at-kubectl-apply"}
    assert ran.code == 1


def claim(line: CommandLine, host: str, namespace: str, *, checked: bool = True) -> None:
    body = claim_body(host, namespace, checked=datetime(2026, 1, 1, tzinfo=UTC) if checked else None)
    line.api.add(CONFIGMAPS, v.NAMESPACE, body)


def test_a_host_of_another_namespace_is_a_fault(line: CommandLine) -> None:
    claim(line, HOSTS[0], "team-a")
    assert rows(check(line))["host policy"].startswith(
        "FAIL first-claim: pay.shop.dev is team-a's; to move it: kubectl certjob transfer-host pay.shop.dev shop"
    )
    claim(line, HOSTS[0], "shop")
    claim(line, "*.shop.dev", "team-a")
    assert "is team-a's (by *.shop.dev)" in rows(check(line))["host policy"]


def test_a_host_that_an_older_ingress_names_is_a_fault(line: CommandLine) -> None:
    other = ingress("old", HOSTS[:1]) | {
        "metadata": {"name": "old", "namespace": "team-a", "creationTimestamp": "2020-01-01T00:00:00Z"}
    }
    line.api.add(INGRESSES, "team-a", other)
    assert "another namespace names pay.shop.dev in an older Ingress" in rows(check(line))["host policy"]
    claim(line, HOSTS[0], "shop")  # checked: settled
    assert rows(check(line))["host policy"].startswith("ok")


def test_the_operators_list_is_asked(line: CommandLine) -> None:
    options = {"hostPolicy": "allow-list", "allowedHosts": [{"namespaces": ["shop"], "suffixes": ["pay.shop.dev"]}]}
    body = {"metadata": {"name": v.OPTIONS_CONFIG_MAP}, "data": {v.OPTIONS_KEY: yaml.dump(options)}}
    line.api.add(CONFIGMAPS, v.NAMESPACE, body)
    assert rows(check(line))["host policy"].startswith("FAIL allow-list: no rule gives www.shop.dev to shop")
    body["data"] = {v.OPTIONS_KEY: "hostPolicy: all"}
    line.api.add(CONFIGMAPS, v.NAMESPACE, body)
    assert rows(check(line))["host policy"].startswith("FAIL ConfigMap certjob-options: ")


def test_an_issuer_that_is_not_ready_is_a_fault_and_one_untested_is_not(line: CommandLine) -> None:
    issuer(line, result=NOT_READY)
    assert rows(check(line))["issuer"].startswith("FAIL le is not ready")
    issuer(line, result="")
    assert rows(check(line))["issuer"].startswith("warn le was not tested yet")


def test_hosts_over_dns_are_not_asked_on_port_80(line: CommandLine, dns: FakeDns) -> None:
    provider = {"dns01": {"provider": "rfc2136", "options": {}}}
    issuer(line, solvers=[provider])
    ran = check(line)
    assert {"DNS", "port 80"} & rows(ran).keys() == set()
    assert rows(ran)["issuer"] == "ok le is ready; DNS-01 for both hosts"
    assert {kind for _, _, kind in dns.asked} == {"CAA"}


def test_what_is_over_a_limit_would_wait(line: CommandLine) -> None:
    issuer(line, limits={"orders": 1})
    later = int((datetime(2026, 11, 27, 15, tzinfo=UTC) + timedelta(hours=1)).timestamp())
    book = json.dumps({"at": 0, "times": {"orders ": [later]}})
    line.api.add(CONFIGMAPS, v.NAMESPACE, state_body("le", SERVER, {CHECK_RESULT: READY, "orders": book}))
    ran = check(line)
    assert rows(ran)["limits"].startswith("warn it would wait: issuer le: 1 of at most 1 orders within 3 hours")
    assert ran.code == 0


def test_a_file_is_tried_as_it_would_be_applied(line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    new = ingress("new", ("new.shop.dev",)) | {"spec": {"rules": [{"host": "new.shop.dev"}]}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    listed = {"apiVersion": "v1", "kind": "List", "items": [new, service]}
    file.write_text(yaml.dump_all([listed, ingress(hosts=("pay.shop.dev", "b.shop.dev"))]))
    before = len(line.api._store.history)
    ran = check(line, "-f", str(file))
    assert ran.out.count("Ingress shop/") == 2
    assert "would order 1 certificate for 1 host from le into new.shop.dev-" in ran.out
    assert "FAIL  DNS          there is no name b.shop.dev: a CA cannot ask it" in ran.out
    assert len(line.api._store.history) == before
    assert ran.code == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "line 2, column 1"),
        ("a: 1", "no Ingress in it"),
        ("", "no Ingress in it"),
        ("- 1", "no Ingress in it"),
        ("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: 7}", "no Ingress in it"),
    ],
)
def test_a_file_that_is_none_is_wrong_usage(line: CommandLine, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    ran = check(line, "-f", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert "none.yaml: [Errno 2] No such file or directory" in check(line, "-f", str(tmp_path / "none.yaml")).err
    assert line.run("check").code == 2


def test_what_the_api_server_takes_for_no_ingress_is_its_sentence(line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(yaml.dump(ingress("odd") | {"spec": {"rules": "none", "tls": [7]}}))
    line.api.fail("POST", "/ingresses", status(422, "Invalid", "spec.rules: Invalid value"))
    ran = check(line, "-f", str(file))
    assert (ran.code, rows(ran)["admission"].partition(" ->")[0]) == (
        1,
        "FAIL Ingress shop/odd is refused: spec.rules: Invalid value",
    )


def test_a_secret_that_asks_is_checked(line: CommandLine) -> None:
    metadata = {
        "name": "db-tls",
        "namespace": "shop",
        "labels": {v.REQUEST: "true"},
        "annotations": {v.HOSTS: "pay.shop.dev"},
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "type": v.TLS_SECRET_TYPE, "metadata": metadata}
    line.api.add(SECRETS, "shop", secret | {"data": {"tls.key": "c2VjcmV0"}})
    ran = check(line, "secret/db-tls")
    assert rows(ran)["admission"].startswith("ok certjob would order 1 certificate for 1 host from le into db-tls")
    assert check(line, "db-tls", "--as", "x").code == 0


def test_names_are_those_of_secrets_and_hosts_too(line: CommandLine) -> None:
    assert check(line, "pay-tls").out == check(line).out
    assert check(line, "pay.shop.dev").code == 0
    ran = check(line, "nothing-tls")
    assert (ran.code, ran.err) == (1, "error: there is nothing in namespace shop that asks for nothing-tls\n")


def test_tenants_are_told_what_their_rights_tell(line: CommandLine, dns: FakeDns) -> None:
    line.api.fail("GET", "/namespaces/certjob/", status(403, "Forbidden", "no"), times=99)
    line.api.fail("GET", "/mutatingwebhook", status(403, "Forbidden", "no"), times=99)
    line.api.fail("GET", "/namespaces/shop$", status(403, "Forbidden", "no"), times=99)
    dns.set(HOSTS[0], "A")
    ran = check(line)
    found = rows(ran)
    assert ran.code == 0
    assert "you may not read namespace certjob" in ran.err
    assert found["admission"].startswith("ok certjob would order 1 certificate for 2 hosts from the default issuer")
    assert found["host policy"].startswith("? ")
    assert found["issuer"].startswith("? ")
    assert "warn  DNS          there is no name pay.shop.dev: a CA cannot ask it, if it asks port 80" in ran.out
    assert "limits" not in found


def test_who_may_not_update_the_ingress_is_told_so(line: CommandLine) -> None:
    words = 'ingresses.networking.k8s.io "pay" is forbidden: User "jo" cannot patch resource "ingresses"'
    line.api.fail("PATCH", "/ingresses/pay", status(403, "Forbidden", words))
    ran = check(line)
    assert (
        "?     admission    certjob would order 1 certificate for 2 hosts from le into pay-tls if it is asked"
        in ran.out
    )
    assert 'User "jo" cannot patch' in ran.out


def test_who_else_refuses_it_is_told(line: CommandLine) -> None:
    words = 'admission webhook "policy.example.org" denied the request: hosts need a ticket'
    line.api.fail("PATCH", "/ingresses/pay", status(403, "Forbidden", words))
    ran = check(line)
    assert ran.code == 1
    assert "is refused: webhook policy.example.org: hosts need a ticket" in ran.out


def test_an_api_server_that_is_away_is_3(line: CommandLine) -> None:
    line.api.fail("PATCH", "/ingresses/pay", Unreachable("connection refused"))
    ran = check(line)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == "error: the API server cannot be reached: connection refused\n"


def test_it_is_published_as_json(line: CommandLine) -> None:
    found = json.loads(check(line, "ingress/pay", "-o", "json").out)
    assert (found["apiVersion"], found["kind"]) == ("certjob.io/v1", "CheckReport")
    [subject] = found["subjects"]
    assert subject["name"] == "Ingress shop/pay"
    assert subject["findings"][0] == {
        "verdict": "ok",
        "about": "admission",
        "says": "certjob would order 1 certificate for 2 hosts from le into pay-tls (server-side dry run)",
        "docs": "",
    }
