"""Issuers tested by their own Jobs, keys taken over and replaced: on the real API server, policies and Pebble."""

from __future__ import annotations

import json
import os
import re
import secrets
import ssl
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeClient
from issuer_job.issuers.state import ACCOUNT_URL, read_findings
from issuer_job.record.record import Phase
from tests.e2e import world
from tests.e2e.api import kubectl, wait_for
from tests.e2e.own_issuer import DIRECTORY, OwnIssuer, account_keys, ca_pem, create_secret
from tests.e2e.renewals import edit, wait_renewed
from tests.e2e.sweeps import run_sweep

pytestmark = pytest.mark.usefixtures("no_sweeps")

PAGE = Path(__file__).resolve().parents[2] / "docs/issuers.md"
EAB_PORT, EAB_MANAGEMENT_PORT = 14900, 15900
MAC_KEY = urlsafe_b64encode(b"a key of thirty-two bytes, or so").rstrip(b"=")


@pytest.fixture
def issuer() -> Iterator[OwnIssuer]:
    own = OwnIssuer(f"own-{secrets.token_hex(4)}")
    yield own
    own.clean_up()


def issue(namespace: str, issuer: OwnIssuer, name: str) -> str:
    """A certificate from the issuer; the account that it was ordered with."""
    host, secret = f"{name}.{namespace}.test", f"{name}-tls"
    world.create(namespace, world.manifest(name, [host], issuer=issuer.name))
    found = world.wait_phase(namespace, secret, Phase.ISSUED, Phase.WAITING)
    if found.phase is Phase.WAITING:
        # For some seconds the webhook launches with the number of the account key that it has read before.
        assert found.retry is not None
        assert found.retry.problem.type == "accountReplaced"
        wait_for(lambda: launched_again(namespace, name, secret), what="it is launched with the new key", seconds=120)
    record = world.wait_issued(namespace, secret, [host])
    assert record.issued is not None
    return record.issued.account


def launched_again(namespace: str, name: str, secret: str) -> bool:
    """As a user does it who does not want to wait: any new value ends the back-off."""
    if world.phase(namespace, secret) == Phase.WAITING:
        kubectl("annotate", "ingress", "-n", namespace, name, f"{v.RETRY}={time.time()}", "--overwrite")
    wait_for(lambda: world.phase(namespace, secret) in {Phase.ISSUED, Phase.WAITING}, what="an outcome", seconds=120)
    return world.phase(namespace, secret) == Phase.ISSUED


def test_a_good_issuer_is_ready_and_kubectl_describe_shows_it(issuer: OwnIssuer) -> None:
    issuer.apply()
    assert issuer.check() is v.ExitCode.DONE, issuer.said
    assert issuer.said[-1] == f"{issuer.name}: ready"
    assert world.wait_event(v.NAMESPACE, issuer.name, "IssuerReady")  # told once the result is written down
    assert issuer.state.account_url


def test_the_sweep_tests_a_new_issuer_and_one_that_was_edited(issuer: OwnIssuer) -> None:
    issuer.apply(check="", profile="no-such-profile")
    run_sweep()
    wait_for(lambda: issuer.state.data.get("checkResult") == "notReady", what="the issuer is tested", seconds=120)
    [finding] = read_findings(issuer.state.data)
    assert (finding.reason, finding.path) == ("ProfileNotOffered", "$.profile")
    assert "shortlived" in finding.message
    told = world.wait_event(v.NAMESPACE, issuer.name, "IssuerNotReady")
    assert len(world.events(v.NAMESPACE, issuer.name, "IssuerNotReady")) == 1
    assert told.startswith("Warning: ProfileNotOffered: ")


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256"])
def test_accounts_with_every_algorithm_of_key_order_and_roll_over(
    namespace: str, issuer: OwnIssuer, algorithm: str
) -> None:
    issuer.apply(accountKeyAlgorithm=algorithm)
    first = issue(namespace, issuer, "before")
    assert issuer.roll_over() is v.ExitCode.DONE, issuer.said
    assert f"{issuer.name}: account key 2 took the place of key 1" in issuer.said
    assert (issuer.state.number, issuer.state.account_url) == (2, first)
    assert issue(namespace, issuer, "after") == first


def test_another_account_orders_in_the_place_of_one_that_is_of_no_more_use(namespace: str, issuer: OwnIssuer) -> None:
    """Made by the issuer's Job with the rights that it has; the former key is there, and not in use."""
    issuer.apply()
    first = issue(namespace, issuer, "before")
    assert issuer.reset_account() is v.ExitCode.DONE, issuer.said
    assert any("whose key is number 2 in the place of 1" in line for line in issuer.said)
    second = issuer.state.account_url
    assert second not in ("", first)
    assert len(account_keys(issuer.name)) == 2
    assert issue(namespace, issuer, "after") == second


def test_all_that_an_issuer_has_given_is_replaced_by_the_next_sweep(namespace: str, issuer: OwnIssuer) -> None:
    issuer.apply()
    names_of = ["one", "two"]
    for name in names_of:
        issue(namespace, issuer, name)
        edit(namespace, f"{name}-tls", lambda issued: replace(issued, at=issued.at - timedelta(hours=2)))
    before = [world.record(namespace, f"{name}-tls") for name in names_of]
    assert issuer.replace_all() is v.ExitCode.DONE
    assert f"{issuer.name}: 2 certificates, 2 of them from before" in issuer.said[0]
    run_sweep()
    for name, former in zip(names_of, before, strict=True):
        assert former is not None
        wait_renewed(namespace, f"{name}-tls", former)
    assert "2 certificates are from before" in world.wait_event(v.NAMESPACE, issuer.name, "IssuerRenewsAll")
    issuer.said.clear()
    issuer.replace_all(only_status=True)
    assert f"{issuer.name}: 2 certificates, 0 of them from before" in issuer.said[0]


@pytest.mark.parametrize(
    ("program", "secret", "more"),
    [
        ("kube-lego", "kube-lego-account", {"acme-registration-url": b"https://acme-v01.test/reg/1"}),
        ("cert-manager", "letsencrypt-account-key", {}),
    ],
)
def test_the_account_of_an_earlier_installation_goes_on(
    namespace: str, issuer: OwnIssuer, program: str, secret: str, more: dict[str, bytes]
) -> None:
    """Both keep PKCS#1 in tls.key; kube-lego has the account's URL beside it. The command is the documented one."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    with AcmeClient.connect(
        DIRECTORY, ca_bundle_pem=ca_pem(), account_key_pem=pem, account_url=None, user_agent=program
    ) as earlier:
        url = earlier.ensure_account(terms_agreed=True).url
    create_secret(namespace, secret, {"tls.key": pem} | more)
    command = documented(secret).replace(f"-n {program} ", f"-n {namespace} ")
    command = command.replace("credentials-letsencrypt", names.credentials(issuer.name))
    subprocess.run(["sh", "-c", command], check=True, timeout=60, stdout=subprocess.DEVNULL)
    issuer.apply(existingAccountKey="tls.key")
    assert issue(namespace, issuer, "web") == url
    assert issuer.check() is v.ExitCode.DONE, issuer.said
    assert issuer.state.data[ACCOUNT_URL] == url


def documented(words: str) -> str:
    """The shell commands of docs/issuers.md with these words in them."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    [found] = [block for block in blocks if words in block]
    return str(found)


@pytest.fixture(scope="module")
def pebble_with_eab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The directory of a second Pebble, which demands external account bindings."""
    state = Path(os.environ["CERTJOB_CLUSTER_STATE"])
    document = json.loads((state / "pebble.json").read_text())
    own = document["pebble"]
    address = own["listenAddress"].partition(":")[0]
    own |= {
        "listenAddress": f"{address}:{EAB_PORT}",
        "managementListenAddress": f"{address}:{EAB_MANAGEMENT_PORT}",
        "externalAccountBindingRequired": True,
        "externalAccountMACKeys": {"kid-1": MAC_KEY.decode()},
    }
    config = tmp_path_factory.mktemp("pebble") / "pebble.json"
    config.write_text(json.dumps(document))
    flags = [f"-config={config}", "-dnsserver=10.200.0.2:53"]
    command = [str(state / "bin/pebble"), *flags]
    environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1"}
    directory = DIRECTORY.replace(":14000/", f":{EAB_PORT}/")
    with (config.parent / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: answers(directory), what="the second Pebble answers")
        yield directory
    finally:
        process.terminate()
        process.wait(10)


def answers(directory: str) -> bool:
    context = ssl.create_default_context(cadata=ca_pem().decode())
    try:
        with urlopen(directory, context=context, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_a_ca_that_demands_an_external_account(namespace: str, issuer: OwnIssuer, pebble_with_eab: str) -> None:
    issuer.apply(server=pebble_with_eab)
    assert issuer.check() is v.ExitCode.PERMANENT
    assert "ExternalAccountNeeded" in issuer.said[-1]
    issuer.apply(server=pebble_with_eab, externalAccount={"keyId": "kid-1"})
    assert issuer.check() is v.ExitCode.PERMANENT
    assert "there is no key eab-hmac-key of Secret" in issuer.said[-1]
    issuer.credentials({"eab-hmac-key": MAC_KEY})
    issuer.apply(server=pebble_with_eab, externalAccount={"keyId": "another"})
    assert issuer.check() is v.ExitCode.PERMANENT
    assert "ExternalAccountRefused" in issuer.said[-1]
    assert issuer.said[-1].endswith(" - at `$.externalAccount.keyId`")
    issuer.apply(server=pebble_with_eab, externalAccount={"keyId": "kid-1"})
    assert issuer.check() is v.ExitCode.DONE, issuer.said
    assert issue(namespace, issuer, "web") == issuer.state.account_url
