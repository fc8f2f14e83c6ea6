"""The account of an earlier installation: its key comes from the operator, its account is found and kept."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.account.keys import account_secret, thumbprint
from issuer_job.acme_client import AcmeClient, normal_account_key
from issuer_job.attempt.findings import CheckReason
from issuer_job.cluster.api import CONFIGMAPS, SECRETS
from issuer_job.issuers.load import Issuers, issuer_version
from issuer_job.issuers.state import ACCOUNT_NUMBER, TAKEN_OVER, note_in_state
from issuer_job.upkeep import bootstrap
from tests.fakes.acme import problem
from tests.worlds.account import another, retry
from tests.worlds.check import account_numbers, check, credentials, found, one, state
from tests.worlds.job import ISSUER, JobWorld, ingress
from tests.worlds.sweep import run, with_webhook

pytestmark = pytest.mark.exhaustive

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: Key, form: PrivateFormat = PrivateFormat.TraditionalOpenSSL) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


OLD = pem(ec.generate_private_key(ec.SECP256R1()))


def registered(world: JobWorld, key: bytes = OLD) -> str:
    """An account that an earlier program made with the key; its URL."""
    with AcmeClient.connect(
        world.server, ca_bundle_pem=world.ca_pem, account_key_pem=key, account_url=None, user_agent="kube-lego"
    ) as client:
        return client.ensure_account(terms_agreed=True).url


@pytest.fixture
def earlier(world: JobWorld) -> str:
    """The URL of the account to be taken over."""
    url = registered(world)
    world.set_issuer(existingAccountKey="tls.key")
    credentials(world, {"tls.key": OLD})
    return url


def stored_key(world: JobWorld, number: int = 1) -> bytes:
    secret = world.api.stored(SECRETS, v.NAMESPACE, names.account(ISSUER, world.server, number))
    assert secret is not None
    return b64decode(secret["data"][v.ACCOUNT_KEY])


FORMS: list[tuple[str, bytes, bytes]] = [
    ("PKCS#1, as kube-lego and cert-manager have it", pem(RSA_KEY), b"-----BEGIN RSA PRIVATE KEY-----"),
    ("PKCS#8 of RSA", pem(RSA_KEY, PrivateFormat.PKCS8), b"-----BEGIN PRIVATE KEY-----"),
    ("SEC 1", pem(ec.generate_private_key(ec.SECP256R1())), b"-----BEGIN EC PRIVATE KEY-----"),
    ("SEC 1, P-384", pem(ec.generate_private_key(ec.SECP384R1())), b"-----BEGIN EC PRIVATE KEY-----"),
    ("PKCS#8", pem(ec.generate_private_key(ec.SECP256R1()), PrivateFormat.PKCS8), b"-----BEGIN PRIVATE KEY-----"),
]


@pytest.mark.parametrize(("key", "first_line"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS])
def test_every_form_of_key_is_taken_over_with_its_account(world: JobWorld, key: bytes, first_line: bytes) -> None:
    assert key.startswith(first_line)
    url = registered(world, key)
    # kube-lego's Secret has the account's URL beside the key; it is not needed.
    world.set_issuer(existingAccountKey="tls.key")
    credentials(world, {"tls.key": key, "acme-registration-url": b"https://acme-v01.api.letsencrypt.org/acme/reg/1"})
    assert check(world) is v.ExitCode.DONE
    assert (world.ca.accounts, state(world).account_url) == ([url], url)
    assert stored_key(world) == normal_account_key(key)
    assert state(world).data[TAKEN_OVER] == thumbprint(key)


def test_an_order_takes_it_over_just_as_well(world: JobWorld, earlier: str) -> None:
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    assert world.ca.accounts == [earlier]
    assert [order.account for order in world.ca.ordered] == [earlier]
    assert account_numbers(world) == [1]


def test_an_open_order_of_the_earlier_installation_goes_on(world: JobWorld, earlier: str) -> None:
    with AcmeClient.connect(
        world.server, ca_bundle_pem=world.ca_pem, account_key_pem=OLD, account_url=earlier, user_agent="old"
    ) as client:
        client.new_order(["shop.certjob.dev"])
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    assert {order.account for order in world.ca.ordered} == {earlier}


def test_neither_bootstrap_nor_sweep_make_a_key_for_it(world: JobWorld, earlier: str) -> None:
    issuers = Issuers.from_config_maps(world.api.all(CONFIGMAPS, v.NAMESPACE))
    bootstrap.make_account_keys(world.cluster, issuers.valid)
    with_webhook(world)
    run(world)
    assert account_numbers(world) == []


def test_it_takes_the_place_of_an_account_that_is_in_use(world: JobWorld) -> None:
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    url = registered(world)
    world.set_issuer(existingAccountKey="tls.key")
    credentials(world, {"tls.key": OLD})
    assert check(world) is v.ExitCode.DONE
    assert (state(world).number, state(world).account_url) == (2, url)
    assert account_numbers(world) == [1, 2]
    assert stored_key(world, 2) == normal_account_key(OLD)
    assert world.run(secret=another(world, 1)) is v.ExitCode.DONE
    assert world.ca.ordered[-1].account == url


def test_it_helps_an_issuer_that_is_held_back(world: JobWorld) -> None:
    """One whose accounts the CA gave up, say."""
    assert check(world) is v.ExitCode.DONE
    world.apply(ingress())
    until = (world.clock.read() + timedelta(hours=20)).isoformat()
    held = {"blockedUntil": until, "blockedReason": "x", "blockedVersion": configured_version(world)}
    note_in_state(world.cluster, ISSUER, world.server, held)
    assert world.run() is v.ExitCode.LATER
    url = registered(world)
    world.set_issuer(existingAccountKey="tls.key")
    credentials(world, {"tls.key": OLD})
    assert check(world) is v.ExitCode.DONE
    assert state(world).account_url == url
    assert world.run(secret=another(world, 1)) is v.ExitCode.DONE
    assert world.ca.ordered[-1].account == url


def configured_version(world: JobWorld) -> str:
    stored = world.api.stored(CONFIGMAPS, v.NAMESPACE, ISSUER)
    assert stored is not None
    return issuer_version(stored)


def test_a_job_in_flight_with_the_former_key_leaves_it_to_its_next_launch(world: JobWorld) -> None:
    world.apply(ingress())
    world.run()
    second = another(world, 2)
    old = world.pod(secret=second)
    registered(world)
    world.set_issuer(existingAccountKey="tls.key")
    credentials(world, {"tls.key": OLD})
    check(world)
    assert world.issue(old) is v.ExitCode.LATER
    assert retry(world, second).problem.type == "accountReplaced"
    world.relaunch(secret=second)
    assert world.run(secret=second) is v.ExitCode.DONE


def test_it_is_taken_over_once(world: JobWorld, earlier: str) -> None:
    check(world)
    check(world)
    world.apply(ingress())
    world.run()
    assert account_numbers(world) == [1]
    assert "accountNumber" not in state(world).data


def test_once_it_is_taken_over_the_credentials_may_go(world: JobWorld, earlier: str) -> None:
    check(world)
    world.api.remove(SECRETS, v.NAMESPACE, f"credentials-{ISSUER}")
    assert check(world) is v.ExitCode.DONE
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    assert world.ca.accounts == [earlier]


def test_another_key_is_another_account(world: JobWorld, earlier: str) -> None:
    check(world)
    other = pem(RSA_KEY)
    url = registered(world, other)
    credentials(world, {"tls.key": other})
    assert check(world) is v.ExitCode.DONE
    assert (state(world).number, state(world).account_url) == (2, url)


def test_a_key_whose_number_was_taken_but_that_was_never_stored(world: JobWorld) -> None:
    """The pod died between the two writes."""
    world.apply(ingress())
    world.run()
    url = registered(world)
    world.set_issuer(existingAccountKey="tls.key")
    credentials(world, {"tls.key": OLD})
    world.api.fail("POST", "/certjob/secrets", RuntimeError("killed"))
    with pytest.raises(RuntimeError):
        check(world)
    assert state(world).data[ACCOUNT_NUMBER] == "2"
    assert check(world) is v.ExitCode.DONE
    assert (state(world).number, state(world).account_url) == (2, url)
    assert stored_key(world, 2) == normal_account_key(OLD)


def test_a_number_that_holds_another_key_is_passed_over(world: JobWorld, earlier: str) -> None:
    """Left by a rollover that did not come to its end, say."""
    other = account_secret(ISSUER, world.server, 1, normal_account_key(pem(RSA_KEY)))
    world.api.add(SECRETS, v.NAMESPACE, other)
    assert check(world) is v.ExitCode.DONE
    assert (state(world).number, state(world).account_url) == (2, earlier)


BAD: list[tuple[str, dict[str, bytes], str]] = [
    ("no Secret", {}, "there is no key tls.key of Secret credentials-test-ca (existingAccountKey)"),
    ("no key", {"other": b"x"}, "there is no key tls.key"),
    ("text", {"tls.key": b"text"}, "not an unencrypted PEM private key"),
    ("empty", {"tls.key": b""}, "not an unencrypted PEM private key"),
    ("Ed25519", {"tls.key": pem(ed25519.Ed25519PrivateKey.generate(), PrivateFormat.PKCS8)}, "RSA, P-256 or P-384"),
    ("P-521", {"tls.key": pem(ec.generate_private_key(ec.SECP521R1()))}, "RSA, P-256 or P-384"),
    (
        "short RSA",
        {"tls.key": pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))},
        "has 1024 bits; CAs take 2048 to 4096",
    ),
]


@pytest.mark.parametrize(("keys", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_key_that_cannot_be_taken_over_is_named(world: JobWorld, keys: dict[str, bytes], words: str) -> None:
    world.set_issuer(existingAccountKey="tls.key")
    if keys:
        credentials(world, keys)
    finding = one(world)
    assert (finding.reason, finding.path) == (CheckReason.EXISTING_KEY, "$.existingAccountKey")
    assert words in finding.message
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    trouble = retry(world).problem
    assert trouble.type == "brokenIssuer"
    assert words in trouble.detail
    assert world.ca.accounts == [], "no account is made in its place"
    assert account_numbers(world) == []


REFUSED: list[tuple[str, Callable[[JobWorld, str], object], str]] = [
    ("unknown", lambda world, url: world.ca.forget_account(url), "the CA knows no account with key tls.key"),
    (
        "given up",
        lambda world, url: world.ca.script("/account", problem("unauthorized", "deactivated", status=403)),
        "the CA has given up the account of key tls.key",
    ),
]


@pytest.mark.parametrize(("spoil", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_key_that_has_no_account_makes_none(
    world: JobWorld, earlier: str, spoil: Callable[[JobWorld, str], object], words: str
) -> None:
    spoil(world, earlier)
    accounts = len(world.ca.accounts)
    check(world)
    [finding] = found(world)
    assert (finding.reason, finding.path) == (CheckReason.EXISTING_KEY, "$.existingAccountKey")
    assert words in finding.message
    assert len(world.ca.accounts) == accounts
    assert "PRIVATE KEY" not in json.dumps(dict(state(world).data))


def test_an_account_that_the_ca_forgot_later_is_made_anew_with_the_same_key(world: JobWorld, earlier: str) -> None:
    check(world)
    world.ca.forget_account(earlier)
    assert check(world) is v.ExitCode.DONE
    assert account_numbers(world) == [1]
    assert len(world.ca.accounts) == 1
