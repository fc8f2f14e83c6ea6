"""What an issuer's own Job finds, and where it says so."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certs.authority import make_authority
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.findings import CheckReason, finding_line
from issuer_job.checks.check import check_issuer
from issuer_job.checks.questions import QUESTIONS
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Cluster, Unreachable
from issuer_job.issuers.load import issuer_version
from issuer_job.issuers.state import ACCOUNT_URL, CHECKED_EPOCH, CHECKED_VERSION, note_in_state
from tests.fakes.acme import Reply, Request, problem
from tests.fakes.ca import acme_server
from tests.fakes.odd import ANSWERS, NOBODY, WORDS
from tests.worlds.check import annotate, check, credentials, events_of, found, launch, one, pod, state
from tests.worlds.job import ISSUER, JobWorld, ingress

DNS: dict[str, Any] = {"allowedNamespaces": ["shop"], "solvers": [{"dns01": {"provider": "cloudflare"}}]}


def test_a_good_issuer_is_ready_and_has_its_account(world: JobWorld) -> None:
    assert check(world) is v.ExitCode.DONE
    data = state(world).data
    assert (data["checkResult"], data["checkFindings"]) == ("ready", "[]")
    assert data[ACCOUNT_URL] == world.ca.accounts[0]
    [event] = events_of(world)
    assert (event["reason"], event["type"], event["regarding"]["kind"]) == ("IssuerReady", "Normal", "ConfigMap")


def test_the_result_names_the_version_and_the_job_and_leaves_the_account_alone(world: JobWorld) -> None:
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    before = dict(state(world).data)
    assert check(world) is v.ExitCode.DONE
    data = state(world).data
    assert before.items() <= data.items()
    config_map = world.api.stored(CONFIGMAPS, v.NAMESPACE, ISSUER)
    assert config_map is not None
    assert data[CHECKED_VERSION] == issuer_version(config_map)
    assert data[CHECKED_EPOCH].isdigit()
    assert len(world.ca.accounts) == 1
    assert len(world.ca.ordered) == 1, "a test orders nothing"


def test_one_event_for_each_version_and_outcome(world: JobWorld) -> None:
    check(world)
    check(world)
    assert len(events_of(world)) == 1
    world.set_issuer(profile="gone")
    check(world)
    check(world)
    assert [event["reason"] for event in events_of(world)].count("IssuerNotReady") == 1
    annotate(world, check="1")
    check(world)
    assert len(events_of(world)) == 3


def test_an_issuer_whose_yaml_is_wrong_is_named_by_path(world: JobWorld) -> None:
    world.set_issuer(sever="x", email="y")
    assert check(world) is v.ExitCode.PERMANENT
    [finding] = found(world)
    assert finding.reason == CheckReason.BROKEN
    assert finding.message == "unknown field `sever`, perhaps `server` - at `$.sever`"
    [event] = events_of(world)
    assert (event["reason"], event["type"]) == ("IssuerNotReady", "Warning")
    assert finding.message in event["note"]
    assert world.ca.requests == []


FINDINGS: list[tuple[dict[str, Any], CheckReason, str, str]] = [
    ({"server": "https://127.0.0.1:1/dir"}, CheckReason.UNREACHABLE, "$.server", "connection to 127.0.0.1"),
    (
        {"caBundle": "-----BEGIN CERTIFICATE-----\nx\n"},
        CheckReason.BUNDLE,
        "$.caBundle",
        "no readable PEM",
    ),
    ({"profile": "gone"}, CheckReason.PROFILE, "$.profile", "it offers: tlsserver"),
    ({"externalAccount": {"keyId": "k"}}, CheckReason.EAB, "$.externalAccount", "no key eab-hmac-key"),
    ({"existingAccountKey": "tls.key"}, CheckReason.EXISTING_KEY, "$.existingAccountKey", "no key tls.key of Secret"),
    (DNS, CheckReason.DNS, "$.solvers[0].dns01.options.auth_token", "cloudflare needs auth_token"),
    (
        {"allowedNamespaces": ["shop"], "solvers": [{"dns01": {"provider": "nobody"}}]},
        CheckReason.DNS,
        "$.solvers[0].dns01.provider",
        "nobody",
    ),
    ({"fallback": {"issuer": "gone"}}, CheckReason.FALLBACK, "$.fallback.issuer", "there is no issuer gone"),
    (
        {"routeAnnotations": {"a.dev/b": "c"}},
        CheckReason.ROUTES,
        "$.routeAnnotations.a.dev/b",
        "does not have the line a.dev/b=c",
    ),
    ({"pathType": "ImplementationSpecific"}, CheckReason.ROUTES, "$.pathType", "ImplementationSpecific in pathTypes"),
]


@pytest.mark.parametrize(("fields", "reason", "path", "words"), FINDINGS, ids=[path for _, _, path, _ in FINDINGS])
def test_what_is_wrong_is_found(
    world: JobWorld, fields: dict[str, Any], reason: CheckReason, path: str, words: str
) -> None:
    world.set_issuer(**fields)
    finding = one(world)
    assert (finding.reason, finding.path) == (reason, path)
    assert words in finding.message
    [event] = events_of(world)
    assert event["reason"] == "IssuerNotReady"
    assert finding_line(finding) in event["note"]


def test_what_the_bundle_does_not_vouch_for_and_what_has_another_name(tmp_path: Path) -> None:
    with acme_server("ca.example.org") as new_ca:
        world = JobWorld(tmp_path, *new_ca())
        other = make_authority(now=world.clock.read()).cert_chain_pems.decode()
        world.set_issuer(caBundle=other)
        finding = one(world)
        world.set_issuer(server=world.server.replace("127.0.0.1", "localhost"))
        misnamed = one(world)
    assert (finding.reason, finding.path) == (CheckReason.UNREACHABLE, "$.caBundle")
    assert "certificate verify failed" in finding.message
    assert (misnamed.reason, misnamed.path) == (CheckReason.UNREACHABLE, "$.server")
    assert "not valid for 'localhost'" in misnamed.message


def test_an_external_account_that_the_ca_needs_but_the_issuer_lacks(world: JobWorld) -> None:
    world.ca.directory["meta"]["externalAccountRequired"] = True
    finding = one(world)
    assert (finding.reason, finding.path) == (CheckReason.EAB_NEEDED, "$.externalAccount")


@pytest.mark.parametrize("key", [b"not base64!", b"\xff\xfe", b""])
def test_an_external_account_key_that_is_none(world: JobWorld, key: bytes) -> None:
    world.set_issuer(externalAccount={"keyId": "k"})
    credentials(world, {"eab-hmac-key": key})
    finding = one(world)
    assert finding.reason == CheckReason.EAB
    assert "base64url" in finding.message
    assert "not base64!" not in json.dumps(dict(state(world).data))


def test_an_external_account_is_needed_once(world: JobWorld) -> None:
    """Google's end after a week; the account that was made with one stays."""
    world.set_issuer(externalAccount={"keyId": "k"})
    credentials(world, {"eab-hmac-key": b"bWFjLWtleS1vZi1lbm91Z2gtYnl0ZXM"})
    assert check(world) is v.ExitCode.DONE
    world.api.remove(SECRETS, v.NAMESPACE, f"credentials-{ISSUER}")
    assert check(world) is v.ExitCode.DONE
    [finding] = found(world)
    assert (finding.reason, finding.warning) == (CheckReason.EAB, True)
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE


def test_an_external_account_that_the_ca_refuses(world: JobWorld) -> None:
    world.set_issuer(externalAccount={"keyId": "k"})
    credentials(world, {"eab-hmac-key": b"bWFjLWtleS1vZi1lbm91Z2gtYnl0ZXM"})
    nobody = problem("accountDoesNotExist")
    world.ca.script("/account", nobody, problem("unauthorized", "unknown kid", status=403), nobody)
    finding = one(world)
    assert (finding.reason, finding.path) == (CheckReason.EAB_REFUSED, "$.externalAccount.keyId")
    assert "unknown kid" in finding.message


def test_an_external_account_over_which_the_ca_fails(world: JobWorld) -> None:
    """Some know a key id or have an internal error."""
    world.ca.directory["meta"]["externalAccountRequired"] = True
    world.set_issuer(externalAccount={"keyId": "nosuch"})
    credentials(world, {"eab-hmac-key": b"bWFjLWtleS1vZi1lbm91Z2gtYnl0ZXM"})
    world.ca.script("/account", *[problem("serverInternal", "said the CA", status=500)] * 12)
    finding = one(world)
    assert (finding.reason, finding.path) == (CheckReason.ACCOUNT, "$.externalAccount.keyId")
    assert finding.message == "newAccount: serverInternal: said the CA"


@pytest.mark.parametrize(
    "answer", [problem("notFound", "no provisioner", status=404), Reply(404, raw=b"nothing here")]
)
def test_a_directory_that_is_not_there_is_a_matter_of_the_server(world: JobWorld, answer: Reply) -> None:
    world.ca.script("/dir", *[answer] * 2)
    finding = one(world)
    assert (finding.reason, finding.path) == (CheckReason.UNREACHABLE, "$.server")
    assert world.server in finding.message


def test_a_ca_that_wants_an_address(world: JobWorld) -> None:
    world.ca.script("/account", problem("malformed", "Contact information is missing"))
    finding = one(world)
    assert (finding.reason, finding.path) == (CheckReason.CONTACT, "$.email")
    assert "Contact information is missing" in finding.message


@pytest.mark.parametrize(
    ("kind", "reason", "path"),
    [
        ("invalidContact", CheckReason.CONTACT, "$.email"),
        ("unsupportedContact", CheckReason.CONTACT, "$.email"),
        ("userActionRequired", CheckReason.TERMS, "$.server"),
        ("rateLimited", CheckReason.ACCOUNT, "$.server"),
    ],
)
def test_an_account_that_the_ca_refuses(world: JobWorld, kind: str, reason: CheckReason, path: str) -> None:
    world.set_issuer(email="a@x.dev")
    world.ca.script("/account", problem(kind, "said the CA", status=403))
    finding = one(world)
    assert (finding.reason, finding.path) == (reason, path)
    assert "said the CA" in finding.message


def test_an_account_is_shown_as_the_ca_has_it(world: JobWorld) -> None:
    check(world)
    world.ca.forget_account(world.ca.accounts[0])
    assert check(world) is v.ExitCode.DONE
    assert len(world.ca.accounts) == 1
    assert state(world).account_url == world.ca.accounts[0]


def test_a_ca_that_fails_once_is_asked_again(world: JobWorld) -> None:
    world.ca.script("/dir", problem("serverInternal", status=503))
    assert check(world) is v.ExitCode.DONE
    assert world.clock.slept == [3.0]


def test_addresses_are_corrected_once(world: JobWorld) -> None:
    world.set_issuer(email="a@x.dev")
    assert check(world) is v.ExitCode.DONE
    [url] = world.ca.accounts
    assert world.ca.contacts == {url: ["mailto:a@x.dev"]}
    world.ca.contacts.clear()
    check(world)
    assert world.ca.contacts == {}
    world.set_issuer(email="b@x.dev")
    check(world)
    assert world.ca.contacts == {url: ["mailto:b@x.dev"]}
    world.set_issuer(email="")
    check(world)
    assert world.ca.contacts == {url: []}
    assert "x.dev" not in json.dumps({k: x for k, x in state(world).data.items() if k == "contacts"})


def test_addresses_that_the_ca_refuses_for_an_account_that_is_there(world: JobWorld) -> None:
    check(world)
    world.set_issuer(email="a@forbidden.dev")
    [account] = world.ca.accounts
    refused = problem("invalidContact", "forbidden domain")
    world.ca.script(account.removeprefix(world.ca.base), Reply(200, {"status": "valid"}), refused)
    finding = one(world)
    assert (finding.reason, finding.path) == (CheckReason.CONTACT, "$.email")


@pytest.mark.parametrize(
    "answer",
    [
        problem("malformed", "Contact information is missing"),
        Reply(200, {"status": "valid", "contact": ["mailto:a@x.dev"]}),
    ],
    ids=["says so", "keeps it in silence"],
)
def test_an_address_that_the_ca_keeps_is_no_reason_to_order_nothing(world: JobWorld, answer: Reply) -> None:
    world.set_issuer(email="a@x.dev")
    check(world)
    world.set_issuer(email="")
    [account] = world.ca.accounts
    for _ in range(2):
        world.ca.script(account.removeprefix(world.ca.base), Reply(200, {"status": "valid"}), answer)
        assert check(world) is v.ExitCode.DONE
        [finding] = found(world)
        assert (finding.reason, finding.path, finding.warning) == (CheckReason.CONTACT, "$.email", True)
        assert "a@x.dev" not in finding.message
    assert check(world) is v.ExitCode.DONE
    assert found(world) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("step", ["directory", "newNonce", "newAccount", "account", "contact"])
def test_whatever_a_ca_answers_is_a_finding_and_the_next_test_is_as_good_as_ever(world: JobWorld, step: str) -> None:
    paths = {"directory": "/dir", "newNonce": "/nonce", "newAccount": "/account"}
    for number, name in enumerate(ANSWERS):
        world.set_issuer(f"ca-{number}", default=False, email="a@x.dev")

        def odd(request: Request, name: str = name) -> Reply | None:
            one = paths.get(step, "/acct/")
            found = request.path == one or (one == "/acct/" and request.path.startswith(one))
            asked = bool(request.payload) is (step == "contact") or step not in {"account", "contact"}
            reply = ANSWERS[name](world.ca._answer(request)) if found and asked else None
            return reply and replace(reply, nonce=step != "newNonce")

        world.ca.before = odd
        code = check(world, f"ca-{number}")
        [*told] = found(world, f"ca-{number}")
        assert code is v.ExitCode.DONE or told, name
        said = " ".join(finding.message for finding in told)
        assert not told or step in said or WORDS in said or NOBODY[8:] in said, (name, said)
        world.ca.before = lambda request: None
        assert check(world, f"ca-{number}") is v.ExitCode.DONE, name
        assert found(world, f"ca-{number}") == []


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_ca_that_cannot_change_addresses_is_no_reason_either(world: JobWorld, status: int) -> None:
    check(world)
    world.set_issuer(email="a@x.dev")
    [account] = world.ca.accounts
    refused = problem("rejectedIdentifier", "not implemented", status=status)
    world.ca.script(account.removeprefix(world.ca.base), Reply(200, {"status": "valid"}), refused)
    assert check(world) is v.ExitCode.DONE
    [finding] = found(world)
    assert (finding.reason, finding.path, finding.warning) == (CheckReason.CONTACT, "$.email", True)
    assert "not implemented" in finding.message


def test_warnings_keep_no_issuer_from_being_ready(world: JobWorld) -> None:
    world.set_issuer(
        ingressClasses=["traefik"],
        solvers=[
            {"http01": {}},
            {"http01": {"ingressClass": "nginx"}},
            {"selector": {"ingressClasses": ["nginx"]}, "http01": {}},
            {
                "selector": {"dnsZones": ["certjob.org", "sub.certjob.dev"]},
                "dns01": {"provider": "ddns", "zone": "certjob.dev", "options": {"ddns_server": "10.0.0.1"}},
            },
        ],
    )
    credentials(world, {"auth_token": b"x"})
    assert check(world) is v.ExitCode.DONE
    assert [(f.reason, f.path, f.warning) for f in found(world)] == [
        (CheckReason.SOLVERS, "$.solvers[1].selector", True),
        (CheckReason.SOLVERS, "$.solvers[2].selector.ingressClasses[0]", True),
        (CheckReason.SOLVERS, "$.solvers[3].selector.dnsZones[0]", True),
    ]
    [event] = events_of(world)
    assert event["reason"] == "IssuerReady"
    assert "warning, Solvers: " in event["note"]


def test_dns_for_everybody_is_warned_of(world: JobWorld) -> None:
    """A CA learns over DNS that the operator has the zone, and nothing of the tenant."""
    solver = {"dns01": {"provider": "ddns", "options": {"ddns_server": "10.0.0.1"}}}
    credentials(world, {"auth_token": b"x"})
    rule = {"namespaces": ["*"], "suffixes": ["certjob.dev"]}
    bounded: list[dict[str, Any]] = [
        {"solvers": [solver | {"selector": {"dnsZones": ["certjob.dev"]}}]},
        {"solvers": [solver], "allowedHosts": [rule]},
        {"solvers": [solver], "allowedNamespaces": ["shop"]},
    ]
    world.set_issuer(solvers=[solver])
    assert check(world) is v.ExitCode.DONE
    [warned] = found(world)
    assert (warned.reason, warned.path, warned.warning) == (CheckReason.SOLVERS, "$.solvers[0]", True)
    assert "allowedHosts" in warned.message
    world.set_options(hostPolicy="allow-list", allowedHosts=[rule])
    check(world)
    assert found(world) == []
    world.set_options(hostPolicy="first-claim")
    for fields in bounded:
        world.set_issuer(**fields)
        check(world)
        assert found(world) == [], fields


def test_many_warnings_hide_no_fault(world: JobWorld) -> None:
    solver = {"selector": {"dnsZones": ["certjob.dev"]}, "http01": {}}
    world.set_issuer(solvers=[solver] * 30, profile="gone")
    assert check(world) is v.ExitCode.PERMANENT
    assert found(world)[0].reason == CheckReason.PROFILE
    assert len(found(world)) == 20


def test_a_chain_of_fallbacks(world: JobWorld) -> None:
    world.set_issuer("other", default=False, fallback={"issuer": ISSUER})
    world.set_issuer(fallback={"issuer": "other"})
    assert check(world) is v.ExitCode.DONE
    [circle] = found(world)
    assert (circle.warning, f"{ISSUER}, other, {ISSUER}" in circle.message) == (True, True)
    world.set_issuer("other", default=False, fallback={"issuer": "x y"})
    assert "issuer other: " in one(world).message


def test_what_the_operator_allows_routes_to_have(world: JobWorld) -> None:
    data = {"annotations": "x=y\na.dev/b=c", "pathTypes": "ImplementationSpecific"}
    world.api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": {"name": v.ROUTE_POLICY}, "data": data})
    world.set_issuer(routeAnnotations={"a.dev/b": "c"}, pathType="ImplementationSpecific")
    assert check(world) is v.ExitCode.DONE
    world.set_issuer(routeAnnotations={"a.dev/b": "d"})
    assert one(world).reason == CheckReason.ROUTES


# Issuers that are no ACME CA


def other_type(world: JobWorld, kind: str, **fields: Any) -> None:
    body = world.api.stored(CONFIGMAPS, v.NAMESPACE, ISSUER)
    assert body is not None
    body["data"] = {v.ISSUER_KEY: json.dumps({"type": kind, **fields})}
    world.api.add(CONFIGMAPS, v.NAMESPACE, body)


def test_a_self_signed_issuer_asks_nobody(world: JobWorld) -> None:
    other_type(world, "selfsigned")
    assert check(world) is v.ExitCode.DONE
    assert world.ca.requests == []
    assert world.api.stored(CONFIGMAPS, v.NAMESPACE, names.issuer_state(ISSUER, "selfsigned")) is not None


def test_a_key_pair_that_can_sign(world: JobWorld) -> None:
    other_type(world, "ca")
    authority = make_authority(now=world.clock.read())
    credentials(world, {"tls.crt": authority.cert_chain_pems, "tls.key": authority.key_pem})
    assert check(world) is v.ExitCode.DONE
    other_type(world, "ca", lifetime="3000d")
    assert check(world) is v.ExitCode.DONE
    [finding] = found(world)
    assert (finding.path, finding.warning) == ("$.lifetime", True)


def test_a_key_pair_that_cannot(world: JobWorld) -> None:
    other_type(world, "ca")
    missing = one(world)
    assert (missing.reason, missing.path) == (CheckReason.AUTHORITY, "$.type")
    assert "no key tls.crt and no key tls.key" in missing.message
    assert "is not there or is empty" in missing.message
    old = make_authority(now=world.clock.read() - timedelta(days=800))
    other = make_authority(now=world.clock.read())
    credentials(world, {"tls.crt": old.cert_chain_pems, "tls.key": old.key_pem})
    assert "expired" in one(world).message
    credentials(world, {"tls.crt": other.cert_chain_pems, "tls.key": old.key_pem})
    assert "do not belong together" in one(world).message
    credentials(world, {"tls.crt": b"x", "tls.key": b"not-a-key"})
    assert "not-a-key" not in one(world).message


# How it ends


def test_an_issuer_that_is_gone_or_was_made_anew_is_left_alone(world: JobWorld) -> None:
    gone = pod(world)
    world.api.remove(CONFIGMAPS, v.NAMESPACE, ISSUER)
    assert check_issuer(gone) is v.ExitCode.SUPERSEDED
    world.set_issuer()
    assert check_issuer(gone) is v.ExitCode.SUPERSEDED
    assert events_of(world) == []


def test_without_the_policies_nothing_is_done(world: JobWorld) -> None:
    attempt = pod(world)
    world.policies.in_force = False
    assert check_issuer(attempt) is v.ExitCode.LATER
    assert world.ca.requests == []


def test_the_outcome_is_written_whoever_else_writes_the_state(world: JobWorld) -> None:
    attempt = pod(world)
    sent = world.api.send
    once = iter([True])

    def meanwhile(method: str, path: str, *, body: bytes | None, timeout: float) -> Any:
        if method == "PUT" and "issuer-state" in path and b"checkResult" in (body or b"") and next(once, False):
            note_in_state(Cluster(world.api), ISSUER, world.server, {"blockedReason": "somebody's"})
        return sent(method, path, body=body, timeout=timeout)

    class Meddled:
        send = staticmethod(meanwhile)
        stream = world.api.stream

    attempt.cluster = Cluster(Meddled())
    assert check_issuer(attempt) is v.ExitCode.DONE
    assert state(world).data["blockedReason"] == "somebody's"
    assert state(world).data["checkResult"] == "ready"


def test_an_event_that_cannot_be_written_stops_nothing(world: JobWorld) -> None:
    world.api.fail("POST", "/events", Unreachable("cut"), times=5)
    assert check(world) is v.ExitCode.DONE
    assert state(world).data["checkResult"] == "ready"


def test_no_secret_is_told(world: JobWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    world.set_issuer(externalAccount={"keyId": "k"}, **DNS)
    credentials(world, {"eab-hmac-key": b"VEhFLUhNQUMtS0VZ", "auth_token": b"THE-TOKEN"})
    check(world)
    stored = json.dumps([*world.api.all(CONFIGMAPS), *events_of(world)])
    logged = " ".join(str(getattr(record, "fields", "")) for record in caplog.records)
    for text in ("VEhFLUhNQUMtS0VZ", "THE-TOKEN", "PRIVATE KEY"):
        assert text not in stored + logged


def test_every_check_is_a_question_with_an_answer_of_its_own() -> None:
    assert len({question.__name__ for question in QUESTIONS}) == len(QUESTIONS) >= 4


def test_the_key_that_a_test_makes_is_the_one_that_orders_use(world: JobWorld) -> None:
    launch(world)
    check(world)
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.accounts) == 1
    stored = world.api.stored(SECRETS, v.NAMESPACE, names.account(ISSUER, world.server, 1))
    assert stored is not None
    assert b64decode(stored["data"]["number"]) == b"1"
