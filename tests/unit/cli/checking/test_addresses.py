"""Where hosts lead and what answers there: what is a fault, what is warned of, what cannot be known from here."""

from __future__ import annotations

import pytest

from issuer_job.cli.checking.addresses import (
    Asked,
    IngressAddresses,
    Led,
    Port80,
    ingress_addresses,
    judge_dns,
    judge_port_80,
)
from issuer_job.cli.out.verdicts import Judged, Mark
from issuer_job.dns01.lookup import Addresses
from issuer_job.http01.probe_http import ProbeReason, Seen

NOTHING = Addresses(True)
PUBLIC, PUBLIC6 = "8.8.4.4", "2001:4860:4860::8844"
CONTROLLER = IngressAddresses(frozenset({PUBLIC}))


def led(
    v4: Addresses | str | tuple[str, ...] = (PUBLIC,), v6: Addresses | str | tuple[str, ...] = (), **more: str
) -> Led:
    sides = [Addresses(True, side) if isinstance(side, tuple) else side for side in (v4, v6)]
    return Led(more.get("host", "pay.example.com"), *sides)


def said(found: list[Judged]) -> list[tuple[str, str]]:
    return [(str(one.verdict), one.says) for one in found]


def test_hosts_that_lead_to_the_controller_are_one_good_line() -> None:
    found = judge_dns([led(), led(host="www.example.com")], CONTROLLER)
    assert said(found) == [("ok", "both hosts lead to the ingress controller (8.8.4.4)")]
    assert said(judge_dns([led()], IngressAddresses())) == [("ok", "the host has an address (8.8.4.4)")]
    assert judge_dns([], CONTROLLER) == []


def test_an_aaaa_that_leads_elsewhere_is_warned_of() -> None:
    [found] = judge_dns([led(v6=(PUBLIC6,))], CONTROLLER)
    expected = f"pay.example.com AAAA {PUBLIC6} is not the ingress controller's address; CAs try IPv6 first"
    assert (found.verdict, found.says) == (Mark.WARN, expected)
    assert judge_dns([led(v6=(PUBLIC6,))], IngressAddresses(frozenset({PUBLIC, PUBLIC6})))[0].verdict is Mark.OK


def test_a_host_that_leads_elsewhere_is_right_with_a_proxy_only() -> None:
    [found] = judge_dns([led(("1.1.1.1",))], CONTROLLER)
    assert found.verdict is Mark.WARN
    assert "leads to 1.1.1.1, and the ingress controller is at 8.8.4.4" in found.says


def test_a_load_balancer_that_has_a_name_is_the_alias_of_its_hosts() -> None:
    balancer = IngressAddresses(frozenset({"9.9.9.9"}), frozenset({"lb.cloud.example"}))
    alias = Addresses(True, (PUBLIC,), ("lb.cloud.example",))
    assert judge_dns([led(alias)], balancer)[0].verdict is Mark.OK
    # Its addresses are not known, and nothing else is looked up.
    assert judge_dns([led()], IngressAddresses(names=frozenset({"lb.cloud.example"})))[0].verdict is Mark.OK


def test_no_address_is_a_fault_and_no_answer_is_none() -> None:
    assert said(judge_dns([led(Addresses(False), Addresses(False))], CONTROLLER)) == [
        ("FAIL", "there is no name pay.example.com: a CA cannot ask it")
    ]
    assert said(judge_dns([led(NOTHING, NOTHING)], CONTROLLER)) == [
        ("FAIL", "pay.example.com has no address: a CA cannot ask it")
    ]
    assert said(judge_dns([led("1.2.3.4: Timeout", NOTHING)], CONTROLLER)) == [
        ("?", "pay.example.com could not be looked up: 1.2.3.4: Timeout")
    ]
    # One side is enough to go on.
    assert judge_dns([led((PUBLIC,), "SERVFAIL")], CONTROLLER)[0].verdict is Mark.OK


def test_a_private_address_is_warned_of() -> None:
    [found] = judge_dns([led(("10.0.0.1",))], IngressAddresses(frozenset({"10.0.0.1"})))
    assert (found.verdict, found.says) == (
        Mark.WARN,
        "pay.example.com leads to 10.0.0.1, which no CA on the Internet can reach",
    )


def test_where_the_controller_is_is_in_the_status_of_ingresses() -> None:
    entries = [{"ip": "2001:DB8::1"}, {"hostname": "LB.cloud.example."}, {"ip": "nonsense"}, {}]
    found = ingress_addresses([{"status": {"loadBalancer": {"ingress": entries}}}, {"status": {}}, {}])
    assert found == IngressAddresses(frozenset({"2001:db8::1"}), frozenset({"lb.cloud.example"}))


def asked(seen: Seen, address: str = PUBLIC, host: str = "pay.example.com") -> Asked:
    return Asked(host, address, seen)


FOUND = Seen(ProbeReason.FOREIGN, "HTTP 404 instead of the key authorization", status=404, server="certjob")
REFUSED = Seen(ProbeReason.UNREACHABLE, "Connection refused")
NO_IPV6 = Seen(ProbeReason.UNREACHABLE, "Network is unreachable")


def test_hosts_that_answer_are_one_good_line() -> None:
    found = judge_port_80(Port80((asked(FOUND), asked(FOUND, host="www.example.com"))))
    assert said(found) == [
        ("ok", "both hosts answer from this machine with 404 by certjob; the CA asks from elsewhere")
    ]
    redirect = Seen(ProbeReason.FOREIGN, "HTTP 308", "https://pay.example.com/", status=308)
    assert "answers from this machine with a redirect;" in judge_port_80(Port80((asked(redirect),)))[0].says


def test_a_public_address_that_does_not_answer_is_a_fault_and_a_private_one_is_warned_of() -> None:
    assert said(judge_port_80(Port80((asked(REFUSED),)))) == [
        ("FAIL", f"pay.example.com: {PUBLIC} does not answer (Connection refused)")
    ]
    assert said(judge_port_80(Port80((asked(REFUSED, "10.0.0.1"),)))) == [
        ("warn", "pay.example.com: 10.0.0.1 does not answer (Connection refused); a CA may see more")
    ]


def test_ipv6_that_this_machine_has_not_is_nobodys_fault() -> None:
    found = judge_port_80(Port80((asked(NO_IPV6, PUBLIC6), asked(FOUND))))
    assert [one.verdict for one in found] == [Mark.OK]
    alone = judge_port_80(Port80((asked(NO_IPV6, PUBLIC6),)))
    assert [one.verdict for one in alone] == [Mark.WARN]


def test_an_address_that_is_silent_beside_one_that_answers_is_warned_of() -> None:
    found = judge_port_80(Port80((asked(REFUSED, PUBLIC6), asked(FOUND))))
    assert [one.verdict for one in found] == [Mark.OK, Mark.WARN]
    assert "a CA may not ask another" in found[1].says


@pytest.mark.parametrize("hosts", [("late.example.com",), ("a.example.com", "b.example.com")])
def test_what_was_not_asked_in_time_is_unknown(hosts: tuple[str, ...]) -> None:
    found = judge_port_80(Port80(unasked=hosts))
    assert said(found) == [("?", f"{', '.join(hosts)} could not be asked in time")]
