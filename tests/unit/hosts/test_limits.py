"""What counts against an issuer's limits, and until when an order has to wait."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from issuer_job.hosts.limits import UNDER_WAY, Ledger, OverLimit, PlannedOrder
from issuer_job.issuers.schema import CaLimits
from issuer_job.record.record import Counted, LedgerEntry, Phase, Record
from issuer_job.upkeep.domains import registered_domain
from tests.worlds.samples import HOSTS, NOW, SETTINGS, attempt, record, source

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ORDER, CERTIFICATE, FAILURE = Counted.ORDER, Counted.CERTIFICATE, Counted.FAILURE
NONE = CaLimits(orders=0, per_registered_domain=0, per_exact_set=0, failed_validations=0)
OTHER = ("c.certjob.dev",)


def entry(
    kind: Counted, *hosts: str, ago: timedelta = HOUR / 2, issuer: str = "le", exempt: bool = False
) -> LedgerEntry:
    return LedgerEntry(at=NOW - ago, kind=kind, issuer=issuer, hosts=hosts, exempt=exempt)


def ledger(*entries: LedgerEntry, of: Record | None = None) -> Ledger:
    made = Ledger(registered_domain)
    made.add(replace(of or record(Phase.ISSUED), ledger=entries))
    return made


def ask(
    asked: Ledger,
    limits: CaLimits,
    *hosts: str,
    of: Record | None = None,
    now: datetime = NOW,
    issuer: str = "le",
    exempt: bool = False,
) -> OverLimit | None:
    return asked.allowed(of, PlannedOrder(issuer, limits, hosts or HOSTS, exempt, "shop"), now)


def until(held: OverLimit | None) -> datetime:
    assert held is not None
    assert (held.problem.type, held.problem.step) == ("heldBack", "limits")
    return held.until


LIMITED = [
    pytest.param(entry(ORDER), replace(NONE, orders=1), timedelta(hours=3), id="orders"),
    pytest.param(entry(CERTIFICATE, "x.certjob.dev"), replace(NONE, per_registered_domain=1), 7 * DAY, id="domain"),
    pytest.param(entry(CERTIFICATE, *HOSTS), replace(NONE, per_exact_set=1), 7 * DAY, id="set"),
    pytest.param(entry(FAILURE, HOSTS[1]), replace(NONE, failed_validations=1), HOUR, id="failures"),
]


@pytest.mark.parametrize(("counted", "limits", "period"), LIMITED)
def test_a_full_limit_holds_back_until_it_is_not_full(
    counted: LedgerEntry, limits: CaLimits, period: timedelta
) -> None:
    asked = ledger(counted)
    assert until(ask(asked, limits)) == counted.at + period
    assert ask(asked, limits, now=counted.at + period - timedelta(microseconds=1)) is not None
    assert ask(asked, limits, now=counted.at + period) is None


@pytest.mark.parametrize(("counted", "limits", "period"), LIMITED)
def test_one_below_the_limit_is_allowed(counted: LedgerEntry, limits: CaLimits, period: timedelta) -> None:
    twice = CaLimits(**{name: 2 * (getattr(limits, name) or 0) for name in limits.__struct_fields__})
    assert ask(ledger(counted), twice) is None


@pytest.mark.parametrize(("counted", "limits", "period"), LIMITED)
def test_another_issuers_doings_do_not_count(counted: LedgerEntry, limits: CaLimits, period: timedelta) -> None:
    assert ask(ledger(counted), limits, issuer="other") is None


@pytest.mark.parametrize(("counted", "limits", "period"), LIMITED)
def test_without_a_limit_everything_is_allowed(counted: LedgerEntry, limits: CaLimits, period: timedelta) -> None:
    assert ask(ledger(*[counted] * 1000), NONE) is None


def test_what_was_far_over_the_limit_waits_until_enough_is_over() -> None:
    """Five counted, three allowed: the third oldest has to go."""
    orders = [entry(ORDER, ago=minutes * timedelta(minutes=10)) for minutes in (5, 4, 3, 2, 1)]
    assert until(ask(ledger(*orders), replace(NONE, orders=3))) == orders[2].at + 3 * HOUR


def test_the_longest_wait_of_several_counts_and_is_named() -> None:
    held = ask(ledger(entry(ORDER), entry(CERTIFICATE, "x.certjob.dev")), CaLimits(orders=1, per_registered_domain=1))
    assert until(held) == NOW - HOUR / 2 + 7 * DAY
    assert held is not None
    assert held.problem.detail == (
        "issuer le: 1 of at most 1 certificates for certjob.dev within 7 days; "
        "there is room again at 2026-05-12 09:30:00 UTC"
    )


def test_a_failure_names_its_host() -> None:
    held = ask(ledger(entry(FAILURE, HOSTS[0])), replace(NONE, failed_validations=1))
    assert held is not None
    assert f"failed validations of {HOSTS[0]} within an hour" in held.problem.detail


def test_another_hosts_failures_do_not_count() -> None:
    assert ask(ledger(entry(FAILURE, "x.certjob.dev")), replace(NONE, failed_validations=1)) is None


def test_a_certificate_of_several_domains_counts_once_for_each() -> None:
    asked = ledger(entry(CERTIFICATE, "a.one.dev", "b.one.dev", "a.two.dev"))
    assert ask(asked, replace(NONE, per_registered_domain=2), "x.one.dev") is None
    assert ask(asked, replace(NONE, per_registered_domain=1), "x.two.dev") is not None


def test_a_set_is_the_same_in_any_order_and_no_part_of_it() -> None:
    asked, limits = ledger(entry(CERTIFICATE, *HOSTS)), replace(NONE, per_exact_set=1)
    assert ask(asked, limits, *reversed(HOSTS)) is not None
    assert ask(asked, limits, HOSTS[0]) is None


def test_what_is_exempt_counts_for_nothing() -> None:
    asked = ledger(entry(CERTIFICATE, *HOSTS, exempt=True), entry(ORDER, exempt=True))
    assert ask(asked, replace(NONE, orders=1, per_registered_domain=1, per_exact_set=1)) is None


@pytest.mark.parametrize(("counted", "limits", "period"), LIMITED)
def test_an_exempt_renewal_is_bound_by_failures_only(
    counted: LedgerEntry, limits: CaLimits, period: timedelta
) -> None:
    bound = ask(ledger(counted), limits, exempt=True) is not None
    assert bound is (counted.kind is Counted.FAILURE)


@pytest.mark.parametrize(
    "limits", [replace(NONE, orders=2), replace(NONE, per_exact_set=2), replace(NONE, per_registered_domain=2)]
)
def test_one_pass_cannot_exceed_a_limit(limits: CaLimits) -> None:
    asked = ledger()
    for _ in range(2):
        assert ask(asked, limits) is None
        asked.count(PlannedOrder("le", limits, HOSTS), NOW)
    assert until(ask(asked, limits)) == NOW + UNDER_WAY


def test_launched_as_exempt_it_counts_for_nothing() -> None:
    asked = ledger()
    asked.count(PlannedOrder("le", NONE, HOSTS, exempt=True), NOW)
    assert ask(asked, replace(NONE, orders=1, per_registered_domain=1, per_exact_set=1)) is None


def under_way(**fields: object) -> Record:
    """Launched by the webhook a minute ago, for example."""
    return record(Phase.AUTHORIZING, attempt=attempt(launched_at=NOW - timedelta(minutes=1), **fields))


@pytest.mark.parametrize(
    "limits", [replace(NONE, orders=1), replace(NONE, per_registered_domain=1), replace(NONE, per_exact_set=1)]
)
def test_an_attempt_under_way_counts_for_a_while_although_nothing_is_written_down(limits: CaLimits) -> None:
    asked = ledger(of=under_way(order_url=""))
    assert until(ask(asked, limits)) == NOW - timedelta(minutes=1) + UNDER_WAY


def test_an_order_that_is_written_down_does_not_count_twice() -> None:
    asked = ledger(entry(ORDER), of=under_way(order_url="https://ca/order/1"))
    assert ask(asked, replace(NONE, orders=2)) is None
    assert ask(asked, replace(NONE, orders=1)) is not None


def test_an_attempt_under_way_that_replaces_counts_for_no_domain() -> None:
    assert ask(ledger(of=under_way(replaces="x.y")), replace(NONE, per_registered_domain=1, per_exact_set=1)) is None


@pytest.mark.parametrize(
    "limits", [replace(NONE, orders=1), replace(NONE, per_registered_domain=1), replace(NONE, per_exact_set=1)]
)
def test_a_records_own_attempt_is_not_in_its_way(limits: CaLimits) -> None:
    mine = under_way(order_url="")
    asked = ledger(of=mine)
    assert ask(asked, limits, of=mine) is None
    theirs = replace(mine, secret_name="other")
    asked.add(theirs)
    assert ask(asked, limits, of=mine) is not None


def test_a_time_in_the_future_holds_nobody_for_longer_than_a_period() -> None:
    asked = ledger(entry(ORDER, ago=-1000 * DAY))
    assert until(ask(asked, replace(NONE, orders=1))) == NOW + 3 * HOUR


def test_an_attempt_under_way_at_another_issuer_takes_nothing_away() -> None:
    """The record has moved to this issuer; another record's attempt was launched at the same moment."""
    there = replace(record().intent, settings=replace(SETTINGS, issuer="old"))
    moved = replace(under_way(order_url=""), intent=there)
    asked = ledger(of=moved)
    asked.add(under_way(order_url=""))
    assert ask(asked, replace(NONE, orders=1), of=moved) is not None


def test_asking_changes_nothing() -> None:
    asked = ledger(entry(CERTIFICATE, "x.certjob.dev"))
    for _ in range(3):
        assert ask(asked, replace(NONE, per_registered_domain=2)) is None


def test_letsencrypts_limits_are_the_defaults() -> None:
    asked = Ledger(registered_domain)
    for number in range(50):
        one = record(Phase.ISSUED, sources=(source(hosts=(f"h{number}.certjob.dev",)),))
        asked.add(replace(one, ledger=(entry(ORDER), entry(CERTIFICATE, f"h{number}.certjob.dev", ago=DAY))))
    held = ask(asked, CaLimits(), *OTHER)
    assert held is not None
    assert "50 of at most 50 certificates for certjob.dev" in held.problem.detail
    assert ask(asked, CaLimits(), "c.another.dev") is None


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("a.b.certjob.dev", "certjob.dev"),
        ("certjob.dev", "certjob.dev"),
        ("*.certjob.dev", "certjob.dev"),
        ("a.b.co.uk", "b.co.uk"),
        ("a.shop.github.io", "shop.github.io"),
        ("github.io", "github.io"),
        ("co.uk", "co.uk"),
        ("x.www.ck", "www.ck"),
        ("a.b.c.ck", "b.c.ck"),
        ("www.xn--e1afmkfd.xn--p1ai", "xn--e1afmkfd.xn--p1ai"),
        ("a.b.xn--55qx5d.cn", "b.xn--55qx5d.cn"),
        ("a.b.nosuchsuffix", "b.nosuchsuffix"),
        ("localhost", "localhost"),
    ],
)
def test_registered_domains(host: str, domain: str) -> None:
    assert registered_domain(host) == domain


OFFLINE = """
import sys
def forbid(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event in {"socket.connect", "socket.getaddrinfo", "os.mkdir", "os.rename", "subprocess.Popen"}:
        raise SystemExit(f"{event} {arguments}")
sys.dont_write_bytecode = True
import issuer_job.upkeep.domains
assert "tldextract" not in sys.modules, "imported before it is needed"
sys.addaudithook(forbid)
print(issuer_job.upkeep.domains.registered_domain("a.shop.github.io"))
"""


def test_suffixes_need_neither_network_nor_a_writable_directory() -> None:
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("shop.github.io\n", "")


def test_what_a_wildcard_beside_it_covers_makes_no_other_set() -> None:
    """Neither is named in the certificate, so CAs count one set of names."""
    one = replace(NONE, per_exact_set=1)
    asked = ledger(entry(CERTIFICATE, "*.x.dev", "www.x.dev"))
    assert ask(asked, one, "*.x.dev", "api.x.dev") is not None
    assert ask(asked, one, "*.x.dev") is not None
    assert ask(asked, one, "*.x.dev", "x.dev") is None


# No namespace takes the orders of the others.


def ordered(namespace: str, number: int) -> Record:
    """One certificate of the namespace, for which so many orders were made an hour ago."""
    entries = tuple(entry(ORDER, ago=HOUR) for _ in range(number))
    return replace(record(Phase.ISSUED), namespace=namespace, secret_name=f"{namespace}-{number}", ledger=entries)


def ask_for(namespace: str, limits: CaLimits, *records: Record, exempt: bool = False) -> OverLimit | None:
    made = Ledger(registered_domain)
    for one in records:
        made.add(one)
    return made.allowed(None, PlannedOrder("le", limits, OTHER, exempt, namespace), NOW)


HUNDRED = replace(NONE, orders=100)
OTHERS = [ordered(f"n{number}", 1) for number in range(5)]


@pytest.mark.parametrize(
    ("own", "others", "held"),
    [
        pytest.param(89, 0, False, id="alone it has all but what is kept for newcomers"),
        pytest.param(90, 0, True, id="alone, the last tenth"),
        pytest.param(49, 1, False, id="within what the shares of the others leave"),
        pytest.param(45, 5, True, id="beyond it"),
        pytest.param(9, 5, False, id="within its own share"),
    ],
)
def test_a_namespace_has_more_than_its_share_only_of_what_the_others_shares_leave(
    own: int, others: int, held: bool
) -> None:
    answer = ask_for("hog", HUNDRED, ordered("hog", own), *OTHERS[:others])
    assert (answer is not None) is held


def test_when_only_what_is_kept_is_left_each_other_namespace_still_has_its_share() -> None:
    hog, full = ordered("hog", 50), ordered("full", 10)
    assert ask_for("hog", HUNDRED, hog, full, *OTHERS) is not None
    assert ask_for("full", HUNDRED, hog, full, *OTHERS) is not None
    assert ask_for("n1", HUNDRED, hog, full, *OTHERS) is None
    assert ask_for("new", HUNDRED, hog, full, *OTHERS) is None


def test_it_says_whose_orders_they_are_and_when_there_is_room() -> None:
    held = ask_for("hog", HUNDRED, ordered("hog", 50), *OTHERS)
    assert until(held) == NOW + 2 * HOUR
    assert held is not None
    assert "50 of at most 10 orders of namespace hog, while the rest is kept for others, within 3 hours" in str(held)


def test_what_the_ca_does_not_count_is_nobodys_share() -> None:
    assert ask_for("hog", HUNDRED, ordered("hog", 60), *OTHERS, exempt=True) is None


@pytest.mark.parametrize(("failures", "held"), [(4, False), (5, True)])
def test_failed_validations_of_a_namespace_take_from_its_share_for_an_hour(failures: int, held: bool) -> None:
    hog = ordered("hog", 5)
    failed = tuple(entry(FAILURE, f"h{number}.certjob.dev") for number in range(failures))
    hog = replace(hog, ledger=hog.ledger + failed)
    full = ordered("other", 60)
    answer = ask_for("hog", HUNDRED, hog, full, *OTHERS)
    assert (answer is not None) is held
    assert answer is None or until(answer) == NOW + HOUR / 2
    assert ask_for("n1", HUNDRED, hog, full, *OTHERS) is None


@pytest.mark.parametrize(("share", "held"), [(None, True), (20, False), (0, False), (1, False)])
def test_the_operator_sets_the_share(share: int | None, held: bool) -> None:
    limits = replace(HUNDRED, per_namespace=share)
    answer = ask_for("hog", limits, ordered("hog", 15), ordered("other", 60), *OTHERS)
    assert (answer is not None) is held


def test_the_share_is_a_tenth_and_at_least_one() -> None:
    assert [replace(NONE, orders=orders).share for orders in (300, 5, 0)] == [30, 1, 0]
    assert CaLimits().share == 30


def test_a_certificate_that_nobody_wants_any_more_keeps_nothing_for_its_namespace() -> None:
    gone = [replace(one, phase=Phase.RETIRED) for one in OTHERS]
    assert ask_for("hog", HUNDRED, ordered("hog", 60), *gone) is None
