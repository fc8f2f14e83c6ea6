"""Wrong issuers are refused with a message that names the field, and the published JSON Schema agrees."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from issuer_job import vocabulary as v
from issuer_job.issuers.load import MAX_PROBLEMS, IssuerError, parse_issuer
from issuer_job.issuers.schema import Dns01, Http01, Issuer, Selector, Solver, nameserver
from issuer_job.issuers.types import CA, SELF_SIGNED, directory_of, lifetime_of, type_of, uses_route
from tests import schema
from tests.worlds.documents import MANIFESTS

SERVER = "https://ca.certjob.dev/dir"
PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
DNS = {"dns01": {"provider": "cloudflare"}}


def parse(text: str, **data: str) -> Issuer:
    return parse_issuer({"metadata": {"name": "le"}, "data": {v.ISSUER_KEY: text, **data}})


def written(fields: dict[str, Any]) -> str:
    return yaml.safe_dump({"server": SERVER, **fields} if fields.get("type", "acme") == "acme" else fields)


def dns(**fields: Any) -> dict[str, Any]:
    return {"solvers": [{"dns01": {"provider": "ddns", **fields}}]}


def selector(**fields: Any) -> dict[str, Any]:
    return {"solvers": [{"selector": fields, "dns01": {"provider": "ddns"}}]}


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(schema.issuer_schema())


FULL: dict[str, Any] = {
    "type": "acme",
    "server": SERVER,
    "email": "a@certjob.dev, b@certjob.dev",
    "caBundle": PEM,
    "externalAccount": {"keyId": "kid-1"},
    "accountKeyAlgorithm": "ES384",
    "existingAccountKey": "tls.key",
    "keyAlgorithm": "rsa-4096",
    "profile": "shortlived",
    "preferredChain": "ISRG Root X2",
    "lifetime": "168h",
    "privateNames": True,
    "allowedNamespaces": ["team-*", "shop"],
    "allowedHosts": [{"namespaces": ["team-*"], "suffixes": ["certjob.dev"]}],
    "ingressClasses": ["traefik", ""],
    "fallback": {"issuer": "other", "after": "1d"},
    "solvers": [
        {"selector": {"dnsNames": ["a.certjob.dev"]}, "http01": {"ingressClass": "traefik"}},
        {
            "selector": {"dnsZones": ["Certjob.dev."], "ingressClasses": ["traefik"]},
            "dns01": {
                "provider": "cloudflare",
                "options": {"zone_id": "abc", "depth": 2, "internal": False},
                "zone": "certjob.dev.",
                "nameservers": ["10.0.0.53", "10.0.0.53:5353", "2001:db8::1", "[2001:db8::1]:53"],
                "propagationTimeout": "1m30s",
                "ttl": 120,
            },
        },
    ],
    "routeAnnotations": {"example.org/redirect": "off"},
    "pathType": "ImplementationSpecific",
    "limits": {"orders": 0, "perRegisteredDomain": 1, "perExactSet": 2, "failedValidations": 3},
}
OTHERS: list[dict[str, Any]] = [
    {"type": "selfsigned", "lifetime": "3650d"},
    {"type": "ca", "keyAlgorithm": "ecdsa-p384", "privateNames": True, "fallback": {"issuer": "x"}},
    {"server": SERVER},
    {"server": SERVER, "caBundleKey": "ca.pem"},
    {"server": SERVER, "externalAccount": None, "fallback": None},
]

WRONG: list[tuple[dict[str, Any], str, str]] = [
    # What would be for everybody
    ({"allowedNamespaces": []}, "$.allowedNamespaces", "is empty: leave it out"),
    ({"allowedHosts": []}, "$.allowedHosts", "is empty: leave it out"),
    ({"ingressClasses": []}, "$.ingressClasses", "is empty: leave it out"),
    ({"solvers": [{"selector": {"dnsNames": []}}]}, "$.solvers[0].selector.dnsNames", "is empty"),
    ({"solvers": [{"selector": {"dnsZones": []}}]}, "$.solvers[0].selector.dnsZones", "is empty"),
    ({"solvers": [{"selector": {"ingressClasses": []}}]}, "$.solvers[0].selector.ingressClasses", "is empty"),
    ({"type": "selfsigned", "allowedNamespaces": []}, "$.allowedNamespaces", "is empty: leave it out"),
    # The server
    ({"server": "http://ca.dev/"}, "$.server", "https URL"),
    ({"server": "ca.dev"}, "$.server", "https URL"),
    ({"server": "https://"}, "$.server", "https URL"),
    ({"server": "https://user@ca.dev/"}, "$.server", "https URL"),
    ({"server": "https://ca.dev/#x"}, "$.server", "https URL"),
    ({"server": "https://ca.dev:99999/"}, "$.server", "https URL"),
    ({"server": "https://ca dev/"}, "$.server", "https URL"),
    ({"server": "https://bücher.dev/"}, "$.server", "https URL"),
    ({"server": ""}, "$.server", "missing"),
    ({"server": 7}, "$.server", "Expected `str`"),
    ({"server": "https://x/" + "y" * 2000}, "$.server", "length"),
    # The account
    ({"email": "nobody"}, "$.email", "not a mail address"),
    ({"email": "a b@x.dev"}, "$.email", "not a mail address"),
    ({"email": "a@b@x.dev"}, "$.email", "not a mail address"),
    ({"email": "mailto:a@x.dev"}, "$.email", "leave out mailto"),
    ({"email": "a@x.dev?subject=x"}, "$.email", "not a mail address"),
    ({"email": "ü@x.dev"}, "$.email", "not a mail address"),
    ({"email": "A <a@x.dev>"}, "$.email", "not a mail address"),
    ({"email": ", ".join(f"a{n}@x.dev" for n in range(11))}, "$.email", "more than 10"),
    ({"email": ["a@x.dev"]}, "$.email", "Expected `str`"),
    ({"caBundle": "text"}, "$.caBundle", "no PEM"),
    ({"caBundle": PEM, "caBundleKey": "ca.pem"}, "$.caBundleKey", "given, too"),
    ({"caBundleKey": "../ca.pem"}, "$.caBundleKey", "key of a ConfigMap"),
    ({"caBundleKey": "absent.pem"}, "$.caBundleKey", "no PEM certificates in absent.pem"),
    ({"externalAccount": {}}, "$.externalAccount", "keyId"),
    ({"externalAccount": {"keyId": ""}}, "$.externalAccount.keyId", "length"),
    ({"externalAccount": {"keyId": 12}}, "$.externalAccount.keyId", "Expected `str`"),
    ({"externalAccount": {"keyId": "a\x7fb"}}, "$.externalAccount.keyId", "characters"),
    ({"externalAccount": {"keyId": "k", "hmacKey": "x"}}, "$.externalAccount.hmacKey", "unknown field"),
    ({"externalAccount": "kid"}, "$.externalAccount", "Expected `object"),
    ({"accountKeyAlgorithm": "HS256"}, "$.accountKeyAlgorithm", "HS256"),
    ({"accountKeyAlgorithm": "es256"}, "$.accountKeyAlgorithm", "es256"),
    ({"existingAccountKey": "a/b"}, "$.existingAccountKey", "key of a Secret"),
    # The certificate
    ({"keyAlgorithm": "rsa-512"}, "$.keyAlgorithm", "rsa-512"),
    ({"keyAlgorithm": "RSA"}, "$.keyAlgorithm", "RSA"),
    ({"profile": "two words"}, "$.profile", "profile"),
    ({"profile": "x" * 101}, "$.profile", "length"),
    ({"preferredChain": "a\nb"}, "$.preferredChain", "common name"),
    ({"lifetime": "a week"}, "$.lifetime", "duration"),
    ({"lifetime": "0h"}, "$.lifetime", "between one second and ten years"),
    ({"lifetime": 168}, "$.lifetime", "Expected `str`"),
    ({"lifetime": "168 h"}, "$.lifetime", "duration"),
    # Who may use it
    ({"allowedNamespaces": "all"}, "$.allowedNamespaces", "Expected `array`"),
    ({"allowedNamespaces": ["shop", "Team A"]}, "$.allowedNamespaces[1]", "matches no namespace"),
    ({"allowedNamespaces": ["x"] * 1001}, "$.allowedNamespaces", "length"),
    ({"allowedHosts": [{"namespaces": ["shop"]}]}, "$.allowedHosts[0]", "suffixes"),
    ({"allowedHosts": [{"namespaces": [], "suffixes": ["a.dev"]}]}, "$.allowedHosts[0].namespaces", "length"),
    ({"allowedHosts": [{"namespaces": ["a"], "suffixes": ["*.a.dev"]}]}, "$.allowedHosts[0]", "not a DNS name"),
    ({"ingressClasses": ["Traefik!"]}, "$.ingressClasses[0]", "no Ingress class"),
    ({"privateNames": "maybe"}, "$.privateNames", "Expected `bool`"),
    ({"fallback": "other"}, "$.fallback", "Expected `object"),
    ({"fallback": {"after": "1h"}}, "$.fallback", "issuer"),
    ({"fallback": {"issuer": "Other"}}, "$.fallback.issuer", "name of an issuer"),
    ({"fallback": {"issuer": "le"}}, "$.fallback.issuer", "its own fallback"),
    ({"fallback": {"issuer": "x", "after": "soon"}}, "$.fallback.after", "duration"),
    # Solvers
    ({"solvers": {"http01": {}}}, "$.solvers", "Expected `array`"),
    ({"solvers": [{}]}, "$.solvers[0]", "exactly one"),
    ({"solvers": [{"http01": {}, **DNS}]}, "$.solvers[0]", "exactly one"),
    ({"solvers": [{"http01": {}}, {"http02": {}}]}, "$.solvers[1].http02", "perhaps `http01`"),
    ({"solvers": [{"http01": {}} for _ in range(51)]}, "$.solvers", "length"),
    ({"solvers": [{"http01": {"ingressClass": "a b"}}]}, "$.solvers[0].http01.ingressClass", "no Ingress class"),
    ({"solvers": [{"http01": {"class": "a"}}]}, "$.solvers[0].http01.class", "unknown field"),
    (selector(dnsNames=["a_b.dev"]), "$.solvers[0].selector.dnsNames[0]", "not a host name"),
    (selector(dnsNames=["bücher.dev"]), "$.solvers[0].selector.dnsNames[0]", "Punycode"),
    (selector(dnsNames=["a.dev", "*.*.dev"]), "$.solvers[0].selector.dnsNames[1]", "not a host name"),
    (selector(dnsName=["a.dev"]), "$.solvers[0].selector.dnsName", "perhaps `dnsNames`"),
    (selector(dnsZones=["*.a.dev"]), "$.solvers[0].selector.dnsZones[0]", "all names below it"),
    (selector(dnsZones=[""]), "$.solvers[0].selector.dnsZones[0]", "not the name of a zone"),
    (selector(dnsZones="a.dev"), "$.solvers[0].selector.dnsZones", "Expected `array`"),
    (selector(ingressClasses=["a b"]), "$.solvers[0].selector.ingressClasses[0]", "no Ingress class"),
    (selector(dnsNames=["a.dev"] * 1001), "$.solvers[0].selector.dnsNames", "length"),
    (
        {"solvers": [{"selector": {"dnsNames": ["*.a.dev"]}, "http01": {}}]},
        "$.solvers[0].selector.dnsNames[0]",
        "needs dns01",
    ),
    ({"solvers": [{"dns01": {}}]}, "$.solvers[0].dns01", "provider"),
    (dns(provider=""), "$.solvers[0].dns01.provider", "length"),
    (dns(provider="Cloudflare"), "$.solvers[0].dns01.provider", "lower case"),
    (dns(options={"auth_token": "x"}), "$.solvers[0].dns01.options.auth_token", "belongs in Secret"),
    (dns(options={"auth_secret": "x"}), "$.solvers[0].dns01.options.auth_secret", "belongs in Secret"),
    (dns(options={"zone-id": "x"}), "$.solvers[0].dns01.options.zone-id", "no option"),
    (dns(options={"zone_id": ["x"]}), "$.solvers[0].dns01.options[...]", "Expected"),
    (dns(options={"zone_id": "x" * 1001}), "$.solvers[0].dns01.options.zone_id", "longer than 1000"),
    (dns(options={f"o{n}": "x" for n in range(51)}), "$.solvers[0].dns01.options", "length"),
    (dns(zone="a_b.dev"), "$.solvers[0].dns01.zone", "not the name of a zone"),
    (dns(nameservers=["ns1.certjob.dev"]), "$.solvers[0].dns01.nameservers[0]", "no IP address"),
    (dns(nameservers=["10.0.0.1", "10.0.0.2:0"]), "$.solvers[0].dns01.nameservers[1]", "no IP address"),
    (dns(nameservers=["2001:db8::1:99999999"]), "$.solvers[0].dns01.nameservers[0]", "no IP address"),
    (dns(nameservers=["10.0.0.1"] * 9), "$.solvers[0].dns01.nameservers", "length"),
    (dns(propagationTimeout="5m"), "$.solvers[0].dns01.propagationTimeout", "longer than 4m"),
    (dns(propagationTimeout="2"), "$.solvers[0].dns01.propagationTimeout", "duration"),
    (dns(propagationTimeout=120), "$.solvers[0].dns01.propagationTimeout", "Expected `str`"),
    (dns(ttl=0), "$.solvers[0].dns01.ttl", ">= 1"),
    (dns(ttl=86401), "$.solvers[0].dns01.ttl", "<= 86400"),
    (dns(ttl="60"), "$.solvers[0].dns01.ttl", "Expected `int`"),
    # Routes and limits
    ({"routeAnnotations": {"a b": "x"}}, "$.routeAnnotations.a b", "annotation"),
    ({"routeAnnotations": {"certjob.io/route": "x"}}, "$.routeAnnotations.certjob.io/route", "certjob's own"),
    ({"routeAnnotations": {"a.dev/b": "x\ny"}}, "$.routeAnnotations.a.dev/b", "one line"),
    ({"routeAnnotations": {"a.dev/b": True}}, "$.routeAnnotations[...]", "Expected `str`"),
    ({"pathType": "Exact"}, "$.pathType", "Exact"),
    ({"limits": {"orders": -1}}, "$.limits.orders", ">= 0"),
    ({"limits": {"perExactSet": "5"}}, "$.limits.perExactSet", "Expected `int`"),
    ({"limits": {"perDay": 5}}, "$.limits.perDay", "unknown field"),
    # Fields that nobody knows, and fields of other types of issuer
    ({"sever": "typo"}, "$.sever", "perhaps `server`"),
    ({"qqqq": 1}, "$.qqqq", "unknown field"),
    ({"type": "vault"}, "$.type", "vault"),
    *(
        (
            {"type": kind, field: FULL.get(field, "ca.pem")},
            f"$.{field}",
            f"only for type acme, and this is type {kind}",
        )
        for kind, field in [
            ("ca", "server"),
            ("ca", "email"),
            ("ca", "solvers"),
            ("ca", "externalAccount"),
            ("ca", "existingAccountKey"),
            ("selfsigned", "profile"),
            ("selfsigned", "preferredChain"),
            ("selfsigned", "caBundle"),
            ("selfsigned", "caBundleKey"),
            ("selfsigned", "accountKeyAlgorithm"),
            ("selfsigned", "routeAnnotations"),
            ("selfsigned", "pathType"),
            ("selfsigned", "limits"),
        ]
    ),
]


def identify(value: object) -> str | None:
    return value if isinstance(value, str) and value.startswith("$") else ""


def test_the_tables_reach() -> None:
    assert len(WRONG) + len(NO_DOCUMENT) >= 100


@pytest.mark.exhaustive
@pytest.mark.parametrize(("fields", "path", "words"), WRONG, ids=identify)
def test_a_wrong_field_is_named_by_its_path(fields: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(IssuerError) as told:
        parse(written(fields))
    message = str(told.value)
    assert message.startswith("issuer le: ")
    assert f"at `{path}`" in message
    assert words in message
    assert len(message) < 500


NO_DOCUMENT = [
    ("", "object"),
    ("- server", "object"),
    ("server: [", "not YAML: .* at line"),
    ("\tserver: x", "not YAML: .* at line 1"),
    ("server: a\nemail: b\nserver: c", r"`server` is given twice - at `\$\.server`"),
    ("solvers: [{dns01: {provider: a, provider: b}}]", r"given twice - at `\$\.solvers\[0\]\.dns01\.provider`"),
    ("profile: on", r"on is ambiguous: quote it if it is text - at `\$\.profile`"),
    ("privateNames: yes", r"yes is ambiguous.* at `\$\.privateNames`"),
    ("allowedNamespaces: [no]", r"no is ambiguous.* at `\$\.allowedNamespaces\[0\]`"),
    ("solvers: [{dns01: {provider: x, options: {zone_id: 0123}}}]", r"0123 is ambiguous.*options\.zone_id`"),
    ("solvers: [{dns01: {provider: x, ttl: 1:30}}]", r"1:30 is ambiguous.*dns01\.ttl`"),
    (
        "externalAccount: {keyId: 2026-01-01}",
        r"timestamp is not expected.*quote it.* at `\$\.externalAccount\.keyId`",
    ),
    ("1: x", r"the key '1' is not text"),
    ("off: x", r"the key 'off' is not text"),
    ("? [a, b]\n: x", "the key"),
    ("x: &a {}\ny: *a", "anchors and aliases are not read - at line 1"),
    ("x: {<<: {a: b}}", "the key '<<'"),
    ("[" * 5000, "deeper than 20 levels"),
    ("x: [" + "a," * 50_000 + "]", "more than 20000 parts"),
    ("server: !!python/object:os.system x", r"python/object:os\.system is not expected"),
    ("server: !!binary aGk=", "binary is not expected"),
    ("server: https://x\n---\nserver: https://y", "another document"),
    ("x" * 300_000, "larger than"),
    ("server: \x00", "not YAML"),
]


@pytest.mark.parametrize(("text", "words"), NO_DOCUMENT, ids=[text[:20] for text, _ in NO_DOCUMENT])
def test_what_is_no_document_or_could_be_read_in_two_ways(text: str, words: str) -> None:
    with pytest.raises(IssuerError, match=f"issuer le: .*{words}"):
        parse(text)


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(IssuerError, match="anchors and aliases"):
        parse("\n".join(lines))


def test_several_problems_are_told_at_once_but_not_hundreds() -> None:
    with pytest.raises(IssuerError) as told:
        parse(written({"email": "x", "profile": "a b", "lifetime": "y"}))
    assert re.findall(r"at `([^`]+)`", str(told.value)) == ["$.email", "$.profile", "$.lifetime"]
    with pytest.raises(IssuerError) as told:
        parse(written({"ingressClasses": ["a b"] * 1000}))
    assert str(told.value).count("no Ingress class") == MAX_PROBLEMS


def test_every_field_is_read() -> None:
    issuer = parse(written(FULL))
    assert issuer.contacts == ("a@certjob.dev", "b@certjob.dev")
    assert issuer.wanted_lifetime == timedelta(hours=168)
    assert issuer.fallback is not None
    assert issuer.fallback.patience == timedelta(days=1)
    solver = issuer.solvers[1].dns01
    assert solver is not None
    assert (solver.patience, solver.ttl, solver.zone) == (timedelta(seconds=90), 120, "certjob.dev")
    assert solver.options == {"zone_id": "abc", "depth": 2, "internal": False}
    assert issuer.own_class == "traefik"


def test_names_and_zones_may_be_written_as_dns_writes_them() -> None:
    solver = Solver(selector=Selector(dns_names=("A.Certjob.DEV.",), dns_zones=("DEV.",)), dns01=Dns01(provider="x"))
    assert solver.selector == Selector(dns_names=("a.certjob.dev",), dns_zones=("dev",))
    assert Dns01(provider="x", zone="Certjob.dev.").zone == "certjob.dev"
    assert parse(written(selector(dnsNames=["*.Certjob.Dev"]))).solver("*.certjob.dev", None) is not None


def test_issuers_of_other_types() -> None:
    assert type_of(parse("type: selfsigned")) is SELF_SIGNED
    found = parse("type: ca\nlifetime: 30d")
    assert (type_of(found), directory_of(found), lifetime_of(found)) == (CA, "ca", timedelta(days=30))
    assert not uses_route(found, "a.certjob.dev", "traefik")


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("10.0.0.53", ("10.0.0.53", 53)),
        ("10.0.0.53:5353", ("10.0.0.53", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
    ],
)
def test_nameservers(text: str, server: tuple[str, int]) -> None:
    assert nameserver(text) == server


@pytest.mark.parametrize("text", ["", "a.dev", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1:65536", "[10.0.0.1]:5", "[::1:5"])
def test_what_is_no_nameserver(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|''"):
        nameserver(text)


# Which solver is for which host


def solver(number: int, **lists: Any) -> Solver:
    """They are told apart by the provider's name."""
    return Solver(selector=Selector(**lists), dns01=Dns01(provider=f"p{number}"))


def chosen(solvers: list[Solver], host: str, ingress_class: str | None = "traefik") -> int | None:
    found = Issuer(server=SERVER, solvers=tuple(solvers)).solver(host, ingress_class)
    if found is None or found.dns01 is None:
        return None
    return int(found.dns01.provider.removeprefix("p"))


ANY, CLASS, ZONE, SUBZONE, NAME = (
    solver(0),
    solver(1, ingress_classes=("traefik",)),
    solver(2, dns_zones=("certjob.dev",)),
    solver(3, dns_zones=("shop.certjob.dev",)),
    solver(4, dns_names=("a.shop.certjob.dev",)),
)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("host", "number"),
    [
        ("a.shop.certjob.dev", 4),
        ("b.shop.certjob.dev", 3),
        ("shop.certjob.dev", 3),
        ("notshop.certjob.dev", 2),
        ("*.shop.certjob.dev", 3),
        ("certjob.dev", 2),
        ("certjob.org", 1),
    ],
)
def test_the_most_specific_solver_wins_wherever_it_stands(host: str, number: int, backwards: bool) -> None:
    solvers = [ANY, CLASS, ZONE, SUBZONE, NAME]
    assert chosen(solvers[::-1] if backwards else solvers, host) == number


def test_of_equally_specific_solvers_the_first_wins() -> None:
    assert chosen([solver(7, dns_zones=("dev",)), solver(8, dns_zones=("dev",))], "a.dev") == 7
    assert chosen([solver(7), solver(8)], "a.dev") == 7


def test_all_lists_of_a_selector_must_match() -> None:
    both = solver(9, dns_zones=("certjob.dev",), ingress_classes=("nginx",))
    assert chosen([both, ANY], "a.certjob.dev", "nginx") == 9
    assert chosen([both, ANY], "a.certjob.dev", "traefik") == 0
    assert chosen([both, ANY], "a.certjob.org", "nginx") == 0
    named = solver(9, dns_names=("a.certjob.dev",), dns_zones=("certjob.org",))
    assert chosen([named], "a.certjob.dev") is None


def test_a_zone_and_a_class_beat_the_zone_alone_but_not_a_longer_zone() -> None:
    both = solver(9, dns_zones=("certjob.dev",), ingress_classes=("traefik",))
    assert chosen([ZONE, both], "a.certjob.dev") == 9
    assert chosen([both, SUBZONE], "a.shop.certjob.dev") == 3


def test_no_class_is_the_empty_class() -> None:
    assert chosen([solver(5, ingress_classes=("",))], "a.dev", None) == 5
    assert chosen([CLASS], "a.dev", None) is None


def test_a_wildcard_passes_http_solvers_by() -> None:
    http = Solver(selector=Selector(dns_zones=("certjob.dev",)), http01=Http01())
    issuer = Issuer(server=SERVER, solvers=(http, ANY))
    assert issuer.solver("a.certjob.dev", None) is http
    assert issuer.solver("*.certjob.dev", None) is ANY
    assert Issuer(server=SERVER).solver("*.certjob.dev", None) is None
    assert uses_route(Issuer(server=SERVER), "a.certjob.dev", None)


# The JSON Schema


@pytest.mark.parametrize("name", schema.FILES)
def test_the_published_schema_is_up_to_date(name: str) -> None:
    assert (schema.DOCS / name).read_text() == schema.text(schema.FILES[name]()), "make schema"
    Draft202012Validator.check_schema(schema.FILES[name]())


def test_every_field_has_a_description() -> None:
    for kind in schema.issuer_schema()["$defs"].values():
        for name, field in kind.get("properties", {}).items():
            described = "description" in field or any("$ref" in part for part in field.get("anyOf", []))
            assert described or kind["title"] == "HostRule", name


def accepts(document: object) -> bool:
    return bool(validator().is_valid(document))


def refusal(document: object) -> str:
    """What the parser has against it, empty if nothing. (JSON is YAML, and quicker to write.)"""
    try:
        parse(json.dumps(document), **{"ca.pem": PEM})
    except IssuerError as problem:
        return str(problem)
    return ""


@pytest.mark.parametrize("document", [FULL, *OTHERS])
def test_good_issuers_are_good_for_both(document: dict[str, Any]) -> None:
    assert refusal(document) == ""
    assert [error.message for error in validator().iter_errors(document)] == []


@pytest.mark.parametrize("path", ["base/issuers.yaml", "../tests/cluster/overlay/issuer.yaml"])
def test_the_shipped_issuers_are_good_for_the_schema(path: str) -> None:
    documents = list(yaml.safe_load_all((MANIFESTS / path).read_text()))
    shipped = [yaml.safe_load(d["data"][v.ISSUER_KEY]) if "data" in d else d for d in documents]
    for document in shipped:
        assert [error.message for error in validator().iter_errors(document)] == []


def test_wrong_types_and_unknown_fields_are_wrong_for_both() -> None:
    by_type = [(fields, path) for fields, path, words in WRONG if words.startswith(("Expected", "unknown", "length"))]
    assert len(by_type) > 25
    for fields, path in by_type:
        assert not accepts({"server": SERVER} | fields), path


def places(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of everything in a document."""
    if path:
        yield path
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def with_value(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(FULL)
    inner: Any = changed
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return {"server": SERVER} | changed


REPLACEMENTS: list[object] = [None, 7, -1, 1.5, True, "", "x", "X Y", "1h", [], ["x"], [[]], {}, {"x": "y"}, [{}]]


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", list(places(FULL)), ids=str)
def test_whatever_stands_there_schema_and_parser_agree_on_its_type(path: tuple[str | int, ...]) -> None:
    """What the schema refuses the parser refuses; what the parser refuses for its type the schema refuses."""
    for value in REPLACEMENTS:
        document = with_value(path, value)
        problem = refusal(document)
        if accepts(document):
            assert not re.search("Expected|unknown field|Invalid enum value|missing required", problem), value
        else:
            assert problem, value
