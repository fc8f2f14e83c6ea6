"""Issuers and the other settings: read, checked, cached."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import msgspec
import pytest

from certs.keys import KeyAlgorithm
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, POD_TEMPLATES, Cluster, Json, KubeError, Unreachable
from issuer_job.issuers.load import IssuerError, Issuers, issuer_version, parse_issuer
from issuer_job.issuers.schema import CaLimits, Issuer
from issuer_job.issuers.state import state_body
from issuer_job.launch.configuration import LIFETIME, PAUSE, SettingsCache
from tests.fakes.api import FakeApi

SERVER = "https://ca.certjob.dev/dir"


def config_map(name: str = "le", *, default: str = "", **fields: object) -> Json:
    document = msgspec.yaml.encode({"server": SERVER, **fields}).decode()
    metadata = {"name": name, "labels": {v.ISSUER: "true"}, "annotations": {v.DEFAULT_ISSUER: default}}
    return {"metadata": metadata, "data": {v.ISSUER_KEY: document}}


def test_defaults() -> None:
    assert parse_issuer(config_map()) == Issuer(server=SERVER)
    assert parse_issuer(config_map()).key_algorithm is KeyAlgorithm.ECDSA_P256
    limits = parse_issuer(config_map(limits={"orders": 7})).limits
    assert limits == CaLimits(orders=7, per_registered_domain=50, per_exact_set=5, failed_validations=5)


def test_every_field() -> None:
    issuer = parse_issuer(
        config_map(
            email="a@x.dev, b@x.dev",
            caBundle="-----BEGIN CERTIFICATE-----\n",
            externalAccount={"keyId": "k"},
            accountKeyAlgorithm="ES384",
            keyAlgorithm="rsa-2048",
            profile="p",
            preferredChain="c",
            privateNames=True,
            allowedNamespaces=["team-*"],
            ingressClasses=["nginx"],
            limits={"orders": 9, "perRegisteredDomain": 8, "perExactSet": 0, "failedValidations": 7},
        )
    )
    assert issuer.limits == CaLimits(orders=9, per_registered_domain=8, per_exact_set=0, failed_validations=7)
    assert issuer.contacts == ("a@x.dev", "b@x.dev")
    assert issuer.external_account is not None
    assert issuer.external_account.key_id == "k"
    assert (issuer.profile, issuer.preferred_chain, issuer.private_names) == ("p", "c", True)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"server": "http://ca.dev"}, r"\$\.server"),
        ({"server": "https://"}, r"\$\.server"),
        ({"server": "https://user@ca.dev/"}, r"\$\.server"),
        ({"server": 7}, r"\$\.server"),
        ({"email": "nobody"}, r"\$\.email"),
        ({"email": "a b@x.dev"}, r"\$\.email"),
        ({"email": "a@b@x.dev"}, r"\$\.email"),
        ({"caBundle": "text"}, r"\$\.caBundle"),
        ({"keyAlgorithm": "rsa-512"}, r"\$\.keyAlgorithm"),
        ({"accountKeyAlgorithm": "HS256"}, r"\$\.accountKeyAlgorithm"),
        ({"externalAccount": {}}, "keyId"),
        ({"allowedNamespaces": "all"}, r"\$\.allowedNamespaces"),
        ({"sever": "typo"}, "sever"),
        ({"limits": {"orders": -1}}, r"\$\.limits\.orders"),
        ({"limits": {"perExactSet": "5"}}, r"\$\.limits\.perExactSet"),
        ({"limits": {"perDay": 5}}, r"perDay.*\$\.limits"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(IssuerError, match=f"issuer le: .*{place}"):
        parse_issuer(config_map(**fields))


@pytest.mark.parametrize("text", ["", "- a", "a: [", "server: !!python/object:os.system x", "x" * 300_000])
def test_what_is_no_document(text: str) -> None:
    with pytest.raises(IssuerError):
        parse_issuer(config_map() | {"data": {v.ISSUER_KEY: text}})


@pytest.mark.parametrize("data", [None, {}, {"other": ""}])
def test_no_document(data: object) -> None:
    with pytest.raises(IssuerError, match=r"no key issuer\.yaml"):
        parse_issuer(config_map() | {"data": data})


@pytest.mark.parametrize("name", ["a.b", "x" * 64])
def test_a_name_that_cannot_become_part_of_others(name: str) -> None:
    with pytest.raises(IssuerError, match="DNS label"):
        parse_issuer(config_map(name))


def test_one_broken_issuer_harms_no_other() -> None:
    found = Issuers.from_config_maps([config_map("b", default="true"), config_map("a", server="x", default="TRUE")])
    assert set(found.valid) == {"b"}
    assert "server" in found.broken["a"]
    assert found.default == "a"
    assert Issuers.from_config_maps([config_map("b", default="false")]).default == ""


def test_every_key_counts_as_an_edit() -> None:
    one, other = config_map(), config_map(email="ops@example.org")
    with_bundle = config_map()
    with_bundle["data"]["root.pem"] = "x"
    another_bundle = config_map()
    another_bundle["data"]["root.pem"] = "y"
    assert (
        len({issuer_version(one), issuer_version(other), issuer_version(with_bundle), issuer_version(another_bundle)})
        == 4
    )
    assert issuer_version(one) == issuer_version(config_map())


def test_a_document_alone_has_the_version_that_older_records_know() -> None:
    """Or an upgrade would look like an edit of every issuer."""
    assert issuer_version({"data": {"issuer.yaml": "server: https://ca.example.org/dir\n"}}) == "eb9d790caa"


def test_who_may_use_it() -> None:
    issuer = Issuer(server=SERVER, allowed_namespaces=("shop", "team-*"), ingress_classes=("nginx", ""))
    assert [issuer.allows_namespace(name) for name in ("shop", "team-a", "team", "shop2")] == [
        True,
        True,
        False,
        False,
    ]
    assert [issuer.allows_class(name) for name in ("nginx", "", None, "traefik")] == [True, True, True, False]
    assert Issuer(server=SERVER).allows_namespace("x")
    assert Issuer(server=SERVER).allows_class(None)


def test_settings_are_kept_for_some_seconds() -> None:
    api = FakeApi()
    api.add(CONFIGMAPS, v.NAMESPACE, config_map())
    now = [0.0]
    settings = SettingsCache(Cluster(api), clock=lambda: now[0])
    assert set(settings.issuers().valid) == {"le"}
    api.add(CONFIGMAPS, v.NAMESPACE, config_map("second"))
    now[0] = LIFETIME - 0.1
    assert set(settings.issuers().valid) == {"le"}
    assert set(settings.issuers(fresh=True).valid) == {"le", "second"}
    api.remove(CONFIGMAPS, v.NAMESPACE, "le")
    now[0] = 2 * LIFETIME
    assert set(settings.issuers().valid) == {"second"}


def test_an_issuer_made_a_moment_ago_is_found_at_once_but_nobody_makes_us_ask_all_the_time() -> None:
    """Whoever applies an issuer and an Ingress together must not depend on when the issuers were last read."""
    api = FakeApi()
    now, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    settings = SettingsCache(Cluster(api), clock=lambda: now[0], sleep=sleep)
    assert settings.issuers().valid == {}
    api.add(CONFIGMAPS, v.NAMESPACE, config_map())
    now[0] = 0.01
    assert set(settings.issuers(fresh=True).valid) == {"le"}
    assert slept == [pytest.approx(PAUSE - 0.01)]


def test_what_cannot_be_read_is_an_error_each_time() -> None:
    api = FakeApi()
    settings = SettingsCache(Cluster(api))
    with pytest.raises(KubeError):
        settings.pod_template()
    api.add(POD_TEMPLATES, v.NAMESPACE, {"metadata": {"name": v.POD_TEMPLATE}})
    assert settings.pod_template()["metadata"]["name"] == v.POD_TEMPLATE
    api.fail("GET", "configmaps", Unreachable("cut"))
    with pytest.raises(Unreachable):
        settings.issuers()
    assert settings.issuers().valid == {}


def test_account_numbers() -> None:
    api = FakeApi()
    assert SettingsCache(Cluster(api)).account_number("le", SERVER) == 1
    api.add(CONFIGMAPS, v.NAMESPACE, state_body("le", SERVER, {"accountNumber": "3"}))
    api.add(CONFIGMAPS, v.NAMESPACE, state_body("bad", SERVER, {"accountNumber": "x"}))
    settings = SettingsCache(Cluster(api))
    assert settings.account_number("le", SERVER) == 3
    assert settings.account_number("bad", SERVER) == 1
    assert settings.account_number("le", SERVER + "2") == 1
    assert names.issuer_state("le", SERVER) != names.issuer_state("le", SERVER + "2")


def test_many_threads_load_once() -> None:
    api = FakeApi()
    api.add(CONFIGMAPS, v.NAMESPACE, config_map())
    settings = SettingsCache(Cluster(api))
    gate = Event()

    def read(_: int) -> int:
        gate.wait(10)
        return len(settings.issuers().valid)

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(read, number) for number in range(8)]
        gate.set()
        assert {future.result() for future in futures} == {1}
    assert len(api.requests) == 1
