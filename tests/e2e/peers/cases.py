"""What certjob has to reach with every ACME server: one function a case, which says in a few words what it saw.

An AssertionError means that it fails. `ServerCannot` means that the server has no way to do it, and that certjob said
so or was not hindered by it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeError
from issuer_job.record.record import Phase
from tests.e2e import dns_world, world
from tests.e2e.api import wait_for
from tests.e2e.own_issuer import orders_of
from tests.e2e.peers.acme2certifier import KEY_ID, MAC_KEY, PROFILES
from tests.e2e.peers.place import ENDS_WITHIN, NOWHERE, Place, somewhere_else
from tests.e2e.sweeps import run_sweep
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.fault_rules import Answer, Change, Request, problem

DOWN_SECONDS = 10.0
HEALS_WITHIN = 420.0
"""An attempt, its back-off and a sweep: nobody helps."""
ALGORITHMS = {"ecdsa-p384": 384, "rsa-2048": 2048, "rsa-3072": 3072, "rsa-4096": 4096}


class ServerCannot(Exception):
    """The server has no way to do this."""


Case = Callable[[Place], str]


def account(place: Place) -> str:
    """An account is made and kept; an address that is missing is told at its field."""
    issuer = place.issuer()
    place.ready(issuer)
    url = issuer.state.account_url
    assert url
    place.ready(issuer)
    assert issuer.state.account_url == url
    if place.server.email:
        place.not_ready(place.issuer(email=None), "$.email")
        return "wants an e-mail address"
    return ""


def one_host(place: Place) -> str:
    """From kubectl apply to the served certificate, and a renewal that is asked for."""
    asked = place.ask(place.issuer())
    first = asked.issued(place.server.root_pem())
    again = asked.renewed(place.server.root_pem(), first)
    return f"lives {_words(again.not_valid_after_utc - datetime.now(UTC))}"


def several_hosts(place: Place) -> str:
    """One order for five."""
    with place.server.proxied() as proxy:
        place.ask(place.issuer(proxy=proxy), count=5).issued(place.server.root_pem())
        assert len(proxy.orders) == 1
    return ""


def certificate_keys(place: Place) -> str:
    """ECDSA and RSA."""
    issuer = place.issuer()
    asked = {name: place.ask(issuer, key_algorithm=name) for name in ALGORITHMS}
    for name, one in asked.items():
        key = one.issued(place.server.root_pem()).public_key()
        assert isinstance(key, rsa.RSAPublicKey if name.startswith("rsa") else ec.EllipticCurvePublicKey)
        assert key.key_size == ALGORITHMS[name]
    return ""


def account_keys(place: Place) -> str:
    """An account for each algorithm that there is for its key."""
    for algorithm in ("ES256", "ES384", "RS256"):
        issuer = place.issuer(accountKeyAlgorithm=algorithm)
        place.ready(issuer)
        place.ask(issuer).issued(place.server.root_pem())
    return ""


def wildcard(place: Place) -> str:
    """A wildcard and its apex, by records at bind9."""
    issuer = place.issuer(solvers=[dns_world.ddns()])
    issuer.credentials({"auth_token": dns_world.tsig_key().encode()})
    apex = f"{place.server.name}.{place.namespace}.dns.test"
    place.ask(issuer, apex, f"*.{apex}").issued(place.server.root_pem())
    return ""


def external_account(place: Place) -> str:
    """Missing, unknown, wrong and right."""
    lacks = place.server.lacks.get("external account")
    if "external" not in place.server.flavours:
        assert "externalAccountRequired" not in place.server.document().get("meta", {})
        raise ServerCannot(lacks)
    issuer = place.issuer(flavour="external")
    place.not_ready(issuer, "ExternalAccountNeeded")
    issuer.credentials({"eab-hmac-key": MAC_KEY})
    place.edit(issuer, externalAccount={"keyId": "nobody"})
    place.not_ready(issuer, "$.externalAccount.keyId")
    if lacks:
        raise ServerCannot(lacks)
    wrong = place.issuer(flavour="external", externalAccount={"keyId": KEY_ID})
    wrong.credentials({"eab-hmac-key": MAC_KEY[::-1]})
    place.not_ready(wrong, "ExternalAccountRefused")
    place.edit(issuer, externalAccount={"keyId": KEY_ID})
    place.ready(issuer)
    place.ask(issuer).issued(place.server.root_pem())
    return ""


def profiles(place: Place) -> str:
    """One that is not offered is told, and corrected without a trace; one that is offered is taken."""
    issuer = place.issuer(profile="no-such")
    place.not_ready(issuer, "ProfileNotOffered", "$.profile")
    asked = place.ask(issuer)
    assert "no-such" in asked.fails()
    offers = "profiles" in place.server.document().get("meta", {})
    place.edit(issuer, profile=PROFILES[1] if offers else None)
    place.ready(issuer)
    place.ask(issuer).issued(place.server.root_pem())
    asked.annotate(v.RETRY)
    asked.issued(place.server.root_pem())
    place.ask(issuer).issued(place.server.root_pem())
    if not offers:
        raise ServerCannot(place.server.lacks["profiles"])
    return ""


def key_change(place: Place) -> str:
    """The account gets another key; where that cannot be, it keeps its own and the issuer stays ready."""
    issuer = place.issuer()
    place.ready(issuer)
    url = issuer.state.account_url
    code = issuer.roll_over()
    if "key change" in place.server.lacks:
        assert "RolloverFailed" in " ".join(issuer.said), issuer.said
        place.ready(issuer)
        assert issuer.state.number == 1
    else:
        assert code is v.ExitCode.DONE, issuer.said
        assert issuer.state.number == 2
    place.ask(issuer).issued(place.server.root_pem(), seconds=HEALS_WITHIN)
    assert issuer.state.account_url == url
    if "key change" in place.server.lacks:
        raise ServerCannot(place.server.lacks["key change"])
    return ""


def renewal_information(place: Place) -> str:
    """A window is noted, a renewal says what it replaces, and a window that is always past orders nothing anew."""
    if "renewalInfo" not in place.server.document():
        raise ServerCannot(place.server.lacks["renewal information"])
    flavour = "forcing" if "forcing" in place.server.flavours else ""
    with place.server.proxied(flavour) as proxy:
        asked = place.ask(place.issuer(proxy=proxy))
        first = asked.issued(place.server.root_pem())
        run_sweep()
        run_sweep()
        assert len(proxy.orders) == 1, "a certificate that is minutes old is renewed by suggestion"
        issued = asked.record.issued
        assert issued is not None
        assert issued.renewal is not None
        asked.renewed(place.server.root_pem(), first)
        [_, second] = [one.request.payload for one in proxy.passed if one.request.step == "newOrder"]
        assert second["replaces"] == issued.cert_id
    return ""


def killed_before_new_order(place: Place) -> str:
    """The server is gone when newOrder comes."""

    def kill(request: Request) -> bool:
        place.server.kill()
        return True

    with place.server.proxied() as proxy:
        proxy.on("newOrder", Change(lambda request, answer: answer), where=kill)
        return _heals(place, proxy)


def killed_after_new_order(place: Place) -> str:
    """The order is made; its answer arrives, and the server is gone."""

    def kill(request: Request, answer: Answer) -> Answer:
        place.server.kill()
        return answer

    with place.server.proxied() as proxy:
        proxy.on("newOrder", Change(kill))
        return _heals(place, proxy)


def killed_with_the_answer(place: Place) -> str:
    """The order is made, and the server is gone before anybody has its answer."""

    def kill(request: Request, answer: Answer) -> Answer:
        place.server.kill()
        return problem("serverInternal", "the server is gone", status=502)

    with place.server.proxied() as proxy:
        proxy.on("newOrder", Change(kill))
        return _heals(place, proxy, most=2)


def killed_at_finalize(place: Place) -> str:
    """The server is gone when the request for the certificate comes."""

    def kill(request: Request) -> bool:
        place.server.kill()
        return True

    with place.server.proxied() as proxy:
        proxy.on("finalize", Change(lambda request, answer: answer), where=kill)
        return _heals(place, proxy)


def hangs_at_new_order(place: Place) -> str:
    """The server stands still when newOrder comes, and goes on after a while."""
    with place.server.proxied() as proxy, ExitStack() as stack:

        def freeze(request: Request) -> bool:
            stack.enter_context(place.server.frozen())
            threading.Timer(DOWN_SECONDS, stack.close).start()
            return True

        proxy.on("newOrder", Change(lambda request, answer: answer), where=freeze)
        start = time.monotonic()
        place.ask(place.issuer(proxy=proxy)).issued(place.server.root_pem(), seconds=HEALS_WITHIN)
        assert len(proxy.orders) == 1, f"{len(proxy.orders)} orders"
        return f"{time.monotonic() - start:.0f} s"


def _heals(place: Place, proxy: FaultProxy, *, most: int = 1) -> str:
    """It comes back after a while, and the certificate comes by itself, with so many orders; the next one has one."""
    start = time.monotonic()
    asked = place.ask(place.issuer(proxy=proxy))
    wait_for(lambda: not place.server.runs, what="the server is gone", seconds=60)
    time.sleep(DOWN_SECONDS)
    place.server.start()
    asked.issued(place.server.root_pem(), seconds=HEALS_WITHIN)
    seconds = time.monotonic() - start
    place.ask(place.issuer(proxy=proxy)).issued(place.server.root_pem())
    orders = len(proxy.orders) - 1
    assert 1 <= orders <= most, f"{orders} orders"
    return f"{seconds:.0f} s" if orders == 1 else f"{seconds:.0f} s, {orders} orders"


def database_lost(place: Place) -> str:
    """Accounts and orders are forgotten: the next certificate comes with a new account, and the one after it."""
    issuer = place.issuer()
    before = place.ask(issuer)
    first = before.issued(place.server.root_pem())
    url = issuer.state.account_url
    place.server.lose_database()
    start = time.monotonic()
    asked = place.ask(issuer)
    asked.issued(place.server.root_pem(), seconds=HEALS_WITHIN)
    seconds = time.monotonic() - start
    place.ask(issuer).issued(place.server.root_pem())
    before.renewed(place.server.root_pem(), first)
    place.ready(issuer)
    return f"new account, {seconds:.0f} s" if issuer.state.account_url != url else f"{seconds:.0f} s"


def authority_replaced(place: Place) -> str:
    """The former bundle is told at its field; with the new one the next certificate comes from the new root."""
    issuer = place.issuer()
    place.ask(issuer).issued(place.server.root_pem())
    place.server.replace_authority()
    place.not_ready(issuer, "DirectoryUnreachable", "$.caBundle")
    asked = place.ask(issuer)
    asked.fails()
    place.edit(issuer, caBundle=place.server.root_pem().decode())
    place.ready(issuer)
    asked.annotate(v.RETRY)
    asked.issued(place.server.root_pem(), seconds=HEALS_WITHIN)
    return ""


def account_reset(place: Place) -> str:
    """An account whose list of orders was asked for, which some servers answer with nothing but errors from then on.
    Another one takes its place, what failed is ordered by the next sweep, and what it gave before is replaced at the
    operator's word.
    """
    issuer, root = place.issuer(), place.server.root_pem()
    before = place.ask(issuer)
    first, spoilt = before.issued(root), issuer.state.account_url
    with suppress(AcmeError):
        orders_of(issuer.name)
    asked = place.ask(issuer)
    world.wait_phase(place.namespace, asked.secret, Phase.ISSUED, Phase.WAITING, seconds=ENDS_WITHIN)
    fails = asked.record.phase is Phase.WAITING
    assert issuer.reset_account() is v.ExitCode.DONE, issuer.said
    assert issuer.state.account_url not in ("", spoilt)
    run_sweep()
    asked.issued(root)
    before.age()
    assert issuer.replace_all() is v.ExitCode.DONE, issuer.said
    run_sweep()
    before.another(root, first)
    return "its list of orders had destroyed the former" if fails else ""


def host_put_right(place: Place) -> str:
    """A host that nobody answers at, then one that answers wrongly, then a right one: three orders at most."""
    with somewhere_else(place.namespace) as another, place.server.proxied() as proxy, ExitStack() as stack:
        issuer = place.issuer(proxy=proxy)
        host = f"wrong.{place.server.name}.{place.namespace}.test"
        stack.callback(world.lead_back, host)
        world.lead_elsewhere(host, NOWHERE)
        asked = place.ask(issuer, host)
        told = [asked.fails()]
        world.lead_back(host)
        world.lead_elsewhere(host, another)
        asked.annotate(v.RETRY)
        told.append(asked.fails(2))
        assert all(host in one for one in told), told
        world.lead_back(host)
        asked.annotate(v.RETRY)
        asked.issued(place.server.root_pem(), seconds=HEALS_WITHIN)
        assert len(proxy.orders) <= 3, f"{len(proxy.orders)} orders"
        place.say(f"{told[0]}; then {told[1]}")
        return f"{len(proxy.orders)} orders"


def refused_at_finalize(place: Place) -> str:
    """What the CA says is told, with the life that it may have refused; corrected, the next try is a good one."""
    too_long = place.server.too_long
    issuer = place.issuer(flavour="" if too_long else "refusing", lifetime=too_long or None)
    asked = place.ask(issuer)
    told = asked.fails()
    place.say(told)
    assert told.startswith("finalize: ")
    assert too_long in told
    place.edit(issuer, lifetime=None)
    place.server.use("")
    asked.annotate(v.RETRY)
    asked.issued(place.server.root_pem())
    return ""


def wrong_address(place: Place) -> str:
    """A wrong path and a wrong host name are told at the server's field."""
    right = place.server.use("")
    issuer = place.issuer(server=right.replace("/directory", "/no-such-directory"))
    place.not_ready(issuer, "DirectoryUnreachable", "$.server")
    place.edit(issuer, server=right.replace(place.server.host, f"other-{place.server.host}"))
    place.not_ready(issuer, "DirectoryUnreachable", "$.server")
    place.edit(issuer, server=right)
    place.ready(issuer)
    return ""


def _words(life: timedelta) -> str:
    return f"{life / timedelta(hours=1):.0f} h"


CASES: dict[str, Case] = {
    "register, `check-issuer`": account,
    "wrong path, wrong host name of the server": wrong_address,
    "one host, and its renewal": one_host,
    "several hosts": several_hosts,
    "ECDSA P-384, RSA 2048, 3072, 4096": certificate_keys,
    "account keys ES256, ES384, RS256": account_keys,
    "wildcard and apex over DNS-01": wildcard,
    "external account (EAB): missing, unknown, wrong, right": external_account,
    "profile: not offered, corrected; offered": profiles,
    "account key change": key_change,
    "renewal information (ARI)": renewal_information,
    "host wrong twice, then right": host_put_right,
    "refused at finalize, then corrected": refused_at_finalize,
    "stands still for 10 s at newOrder": hangs_at_new_order,
    "killed for 10 s before newOrder": killed_before_new_order,
    "killed for 10 s after newOrder": killed_after_new_order,
    "killed for 10 s at newOrder, its answer lost": killed_with_the_answer,
    "killed for 10 s at finalize": killed_at_finalize,
    "database lost": database_lost,
    "another account (`reset-account`), all replaced": account_reset,
    "CA replaced: old bundle, new bundle": authority_replaced,
}
