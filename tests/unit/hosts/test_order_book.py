"""The book of an issuer's orders: entered by Jobs, counted anew by sweeps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from issuer_job.cluster import changes
from issuer_job.cluster.api import Cluster
from issuer_job.hosts import order_book
from issuer_job.hosts.limits import Ledger, OverLimit, PlannedOrder
from issuer_job.hosts.order_book import BookEntry, OrderBook, Recount, enter
from issuer_job.issuers.schema import CaLimits, Issuer
from issuer_job.issuers.state import ACCOUNT_URL, ORDERS, IssuerState, load_state, write_state
from issuer_job.record.record import Counted, LedgerEntry, Phase, Record
from tests.fakes.api import FakeApi
from tests.worlds.samples import HOSTS, NOW, attempt, issued, record

SERVER = "https://ca/dir"
NONE = CaLimits(orders=0, per_registered_domain=0, per_exact_set=0, failed_validations=0)
HOUR, WEEK = timedelta(hours=1), timedelta(days=7)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(FakeApi())


def of(name: str, *, hosts: tuple[str, ...] = HOSTS, namespace: str = "shop", **fields: object) -> Record:
    """A record whose attempt is about to order."""
    made = record(Phase.ORDERING, attempt=attempt(order_url="", orders_dropped=0))
    intent = replace(made.intent, hosts=hosts)
    return replace(made, **({"secret_name": name, "namespace": namespace, "intent": intent} | fields))


def order(wanted: Record, limits: CaLimits, *, exempt: bool = False) -> PlannedOrder:
    return PlannedOrder("le", limits, wanted.intent.identifiers, exempt, wanted.namespace)


def ask(
    cluster: Cluster,
    wanted: Record,
    limits: CaLimits,
    *,
    now: datetime = NOW,
    exempt: bool = False,
    pressing: bool = False,
) -> OverLimit | None:
    state = load_state(cluster, "le", SERVER)
    return enter(cluster, wanted, order(wanted, limits, exempt=exempt), state, now, pressing=pressing)


def book(cluster: Cluster) -> OrderBook:
    return OrderBook.of(load_state(cluster, "le", SERVER))


def count(cluster: Cluster, *records: Record, limits: CaLimits, now: datetime = NOW) -> None:
    """A sweep over these records."""
    recount = Recount(Ledger(lambda host: ".".join(host.split(".")[-2:])))
    for one in records:
        recount.add(one)
    recount.write(cluster, {"le": Issuer(server=SERVER, limits=limits)}, now=now)


def version(cluster: Cluster) -> str:
    held = load_state(cluster, "le", SERVER).held
    return held["metadata"]["resourceVersion"] if held else ""


def certified(name: str, *, at: datetime = NOW, **fields: object) -> Record:
    """A record that has been ordered and issued."""
    entries = (
        LedgerEntry(at=at, kind=Counted.ORDER, issuer="le"),
        LedgerEntry(at=at, kind=Counted.CERTIFICATE, issuer="le", hosts=HOSTS),
    )
    return replace(of(name, **fields), phase=Phase.ISSUED, issued=issued(), ledger=entries)


def test_of_many_at_once_exactly_as_many_pass_as_the_limit_allows(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LONGEST_PAUSE", 0.001)
    with ThreadPoolExecutor(8) as pool:
        asked = pool.map(lambda n: ask(cluster, of(f"w{n}"), replace(NONE, per_exact_set=3)), range(12))
        assert [held is None for held in asked].count(True) == 3
    assert len(book(cluster).entries) == 3


def test_an_order_costs_one_request(cluster: Cluster) -> None:
    api = cluster.transport
    assert isinstance(api, FakeApi)
    state = load_state(cluster, "le", SERVER)
    api.requests.clear()
    wanted = of("w")
    assert enter(cluster, wanted, order(wanted, CaLimits()), state, NOW, pressing=False) is None
    assert [request.method for request in api.requests] == ["POST"]


@pytest.mark.parametrize(("limits", "exempt"), [(NONE, False), (CaLimits(failed_validations=0), True)])
def test_where_nothing_is_limited_it_costs_none(cluster: Cluster, limits: CaLimits, exempt: bool) -> None:
    assert ask(cluster, of("w"), limits, exempt=exempt) is None
    assert version(cluster) == ""


def test_the_time_is_told_at_which_there_is_room(cluster: Cluster) -> None:
    limits = replace(NONE, per_exact_set=1)
    assert ask(cluster, of("a"), limits) is None
    held = ask(cluster, of("b"), limits, now=NOW + HOUR)
    assert held is not None
    assert held.until == NOW + WEEK
    assert "at most 1 certificates for exactly a.certjob.dev, b.certjob.dev within 7 days" in held.problem.detail
    assert ask(cluster, of("b"), limits, now=NOW + WEEK) is None


def test_a_pod_that_comes_after_a_crash_takes_the_same_place(cluster: Cluster) -> None:
    limits = replace(NONE, orders=1)
    assert ask(cluster, of("a"), limits) is None
    assert ask(cluster, of("a"), limits) is None
    assert len(book(cluster).entries) == 1


def test_an_order_in_the_place_of_a_dropped_one_is_one_more(cluster: Cluster) -> None:
    limits, wanted = replace(NONE, orders=2), of("a")
    assert ask(cluster, wanted, limits) is None
    dropped = replace(wanted, attempt=attempt(order_url="", orders_dropped=1))
    assert ask(cluster, dropped, limits) is None
    assert ask(cluster, dropped, limits) is None
    assert len(book(cluster).entries) == 2
    assert ask(cluster, of("b"), limits) is not None


def test_what_a_record_knows_to_have_failed_is_no_certificate(cluster: Cluster) -> None:
    """Whoever corrects something several times is not held back for what was never issued."""
    limits = replace(NONE, per_exact_set=2)
    for epoch in range(5):
        wanted = of("a", attempt=attempt(epoch=epoch, order_url="", orders_dropped=0))
        assert ask(cluster, wanted, limits, now=NOW + timedelta(minutes=epoch)) is None


def test_a_pressing_order_is_entered_beyond_the_limit(cluster: Cluster) -> None:
    limits = replace(NONE, orders=1)
    assert ask(cluster, of("a"), limits) is None
    assert ask(cluster, of("b"), limits, pressing=True) is None
    assert len(book(cluster).entries) == 2


def test_a_book_that_nobody_can_read_is_empty_and_made_anew(cluster: Cluster) -> None:
    for text in ("{", "[]", '{"entries": 3}', '{"times": {"orders ": ["x"]}}', "[" * 100_000):
        write_state(cluster, load_state(cluster, "le", SERVER), {ORDERS: text})
        assert book(cluster) == OrderBook()
    assert ask(cluster, of("a"), CaLimits()) is None
    assert len(book(cluster).entries) == 1


def test_a_book_never_grows_beyond_what_can_be_stored(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_book, "MOST_BYTES", 2000)
    hosts = tuple(f"host-{n}.certjob.dev" for n in range(50))
    limits = replace(NONE, per_registered_domain=1000)
    assert ask(cluster, of("a", hosts=hosts), limits) is None
    held = ask(cluster, of("b", hosts=hosts), limits)
    assert held is not None
    assert held.until == NOW + timedelta(minutes=5)
    assert ask(cluster, of("c", hosts=hosts), limits, pressing=True) is None


def test_a_sweep_drops_what_the_records_tell_and_counts_it(cluster: Cluster) -> None:
    limits = replace(NONE, per_exact_set=2, orders=10)
    assert ask(cluster, of("a"), limits) is None
    count(cluster, certified("a", at=NOW + timedelta(seconds=5)), limits=limits, now=NOW + HOUR)
    counted = book(cluster)
    assert counted.entries == ()
    assert sum(key.startswith("set ") for key in counted.times) == 1
    assert ask(cluster, of("b"), limits, now=NOW + HOUR) is None
    assert ask(cluster, of("c"), limits, now=NOW + HOUR) is not None


def test_a_sweep_writes_only_what_is_new(cluster: Cluster) -> None:
    limits = CaLimits()
    count(cluster, of("a"), limits=limits)
    assert version(cluster) == ""
    records = [certified(f"w{n}") for n in range(4)]
    count(cluster, *records, limits=limits)
    before = version(cluster)
    for minutes in (0, 5, 60, 179, 181, 600):
        count(cluster, *records, limits=limits, now=NOW + timedelta(minutes=minutes))
    assert version(cluster) == before != ""
    gone = [replace(one, phase=Phase.RETIRED) for one in records]
    count(cluster, *gone, limits=limits, now=NOW + HOUR)
    assert version(cluster) == before


@pytest.mark.parametrize("order_known", [False, True])
def test_an_order_whose_attempt_goes_on_is_kept(cluster: Cluster, order_known: bool) -> None:
    limits = replace(NONE, per_exact_set=1, orders=10)
    wanted = of("a")
    assert ask(cluster, wanted, limits) is None
    ledger = (LedgerEntry(at=NOW + timedelta(seconds=2), kind=Counted.ORDER, issuer="le"),) if order_known else ()
    count(cluster, replace(wanted, ledger=ledger), limits=limits, now=NOW + timedelta(minutes=5))
    [entry] = book(cluster).entries
    assert entry.order is not order_known  # its record has it: it counts once
    assert ask(cluster, of("b"), limits, now=NOW + timedelta(minutes=6)) is not None


def test_what_was_entered_after_the_records_were_listed_is_kept(cluster: Cluster) -> None:
    limits = replace(NONE, per_exact_set=1)
    wanted = of("a")
    assert ask(cluster, wanted, limits, now=NOW + timedelta(seconds=5)) is None
    count(cluster, replace(wanted, phase=Phase.WAITING), limits=limits, now=NOW)
    assert len(book(cluster).entries) == 1
    count(cluster, replace(wanted, phase=Phase.WAITING), limits=limits, now=NOW + timedelta(minutes=5))
    assert book(cluster).entries == ()


def test_the_order_of_a_record_that_was_deleted_goes_on_counting(cluster: Cluster) -> None:
    limits = replace(NONE, per_exact_set=1)
    assert ask(cluster, of("a"), limits) is None
    for days in range(7):
        count(cluster, limits=limits, now=NOW + timedelta(days=days))
        assert ask(cluster, of("b"), limits, now=NOW + timedelta(days=days)) is not None
    count(cluster, limits=limits, now=NOW + WEEK)
    assert book(cluster).entries == ()


def test_what_is_not_listed_counts_as_often_as_it_may_without_being_so(cluster: Cluster) -> None:
    """A sweep lists what has half of its limit: with one certificate unlisted, four more are five."""
    limits = replace(NONE, per_exact_set=5)
    count(cluster, certified("a"), certified("other", hosts=("x.dev",)), limits=limits)
    count(cluster, certified("b"), limits=limits)
    held = [ask(cluster, of(f"w{n}"), limits) for n in range(5)]
    assert [one is None for one in held].count(True) <= 4
    last = held[-1]
    assert last is not None
    assert last.until <= NOW + WEEK


def test_the_domain_is_held_whatever_its_hosts_are_called(cluster: Cluster) -> None:
    limits = replace(NONE, per_registered_domain=3)
    records = [certified(f"w{n}") for n in range(3)]
    count(cluster, *records, limits=limits)
    assert ask(cluster, of("x", hosts=("deep.below.certjob.dev",)), limits) is not None
    assert ask(cluster, of("y", hosts=("certjob.example",)), limits) is None


def test_failures_of_others_in_between_count_at_worst_as_many_as_they_order(cluster: Cluster) -> None:
    limits = replace(NONE, failed_validations=3)
    asked = [ask(cluster, of(f"w{n}", hosts=("a.dev", f"h{n}.dev")), limits) for n in range(5)]
    assert [held is None for held in asked] == [True, True, True, False, False]
    assert asked[3] is not None
    assert asked[3].until == NOW + timedelta(minutes=5)  # the sweep's count tells


def test_an_account_is_written_down_although_others_enter_their_orders(cluster: Cluster) -> None:
    state = IssuerState("le", SERVER)
    assert write_state(cluster, state, {ACCOUNT_URL: "https://ca/acct/1"})
    state = load_state(cluster, "le", SERVER)
    assert ask(cluster, of("a"), CaLimits()) is None
    assert write_state(cluster, state, {ACCOUNT_URL: "https://ca/acct/2"})
    assert len(book(cluster).entries) == 1
    assert not write_state(cluster, state, {ACCOUNT_URL: "https://ca/acct/3"})
    assert load_state(cluster, "le", SERVER).account_url == "https://ca/acct/2"


def test_a_stored_entry_is_read_by_later_versions() -> None:
    """The shape in which it was stored first."""
    text = (
        '{"at":1777975200,"times":{"orders ":[1777986000],"set ab":[1778580000]},"least":{"set":2},"users":["shop"],'
        '"entries":[{"at":1777975200,"record":"shop.web-tls","epoch":5,"namespace":"shop","hosts":["a.dev"]}]}'
    )
    state = IssuerState("le", SERVER, {"data": {ORDERS: text}})
    stored = OrderBook.of(state)
    assert stored.entries == (
        BookEntry(at=1777975200, record="shop.web-tls", epoch=5, namespace="shop", hosts=("a.dev",)),
    )
    assert stored.change() == {ORDERS: text}
