"""`kubectl certjob renew`: which, where it is written, and how long many take."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
import yaml

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cli.steering.renewals import Forecast, forecast
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES
from issuer_job.issuers.state import ORDERS, state_body
from issuer_job.record.store import from_config_map
from issuer_job.status.issuer_status import Limit, LimitUse
from issuer_job.status.shown import CertificateStatus
from issuer_job.status.status import status
from tests.worlds import seen
from tests.worlds.cli import NOW, CommandLine, Terminal
from tests.worlds.seen import DAY, MINUTE

ASKED = "2026-11-27T14:27:10Z"


@pytest.fixture
def line() -> CommandLine:
    made = seen.four_certificates()
    for namespace, name in (("shop", "pay"), ("shop", "web"), ("mail", "web")):
        made.api.add(INGRESSES, namespace, seen.ingress(name))
    return made


def asked(line: CommandLine, name: str = "web", namespace: str = "shop") -> str:
    return seen.annotations_of(line.api, INGRESSES, namespace, name).get(v.RENEW, "")


def asked_on_record(line: CommandLine, name: str) -> str:
    return seen.annotations_of(line.api, CONFIGMAPS, v.NAMESPACE, name).get(v.RENEW, "")


def many(line: CommandLine, count: int, *, left: timedelta = 50 * DAY) -> None:
    for number in range(count):
        record = seen.wanted("many", f"n{number}-tls", f"n{number}.certjob.dev")
        seen.put(line.api, seen.issued(record, left=left))


def test_what_asks_says_from_now_on_that_it_must_not_be_older_than_now(line: CommandLine) -> None:
    ran = line.run("renew", "-n", "shop", "shop-tls")
    assert asked(line) == ASKED
    follow = "kubectl certjob status -w -n shop shop-tls"
    assert (ran.code, ran.out) == (0, f"shop/shop-tls: renewal asked for (Ingress web); follow: {follow}\n")


def test_the_time_is_the_api_servers(line: CommandLine) -> None:
    line.api.date = "Fri, 27 Nov 2026 14:00:00 GMT"
    line.run("renew", "-n", "shop", "shop-tls")
    assert asked(line) == "2026-11-27T14:00:00Z"


def test_selectors_narrow_each_other(line: CommandLine) -> None:
    def chosen(*arguments: str) -> list[str]:
        ran = line.run("renew", "--dry-run=client", *arguments)
        return [text.partition(":")[0] for text in ran.out.splitlines()]

    both = ["mail/mail-tls", "shop/shop-tls"]
    assert chosen("-A") == chosen("-A", "--issuer", "letsencrypt") == both
    assert chosen("-A", "--issuer", "zerossl") == []
    # mail's is 61 days old, shop's 29.
    assert chosen("-A", "--issued-before", "2026-10-01") == ["mail/mail-tls"]
    assert chosen("-A", "--issued-before", "2026-11-27T00:00:00+01:00") == both
    assert chosen("-n", "shop", "--issued-before", "2026-10-01") == []
    assert chosen("-n", "shop", "ingress/web") == ["shop/shop-tls"]


@pytest.mark.parametrize("wrong", [[], ["--issued-before", "soon", "-A"], ["--issued-before", "2026-13-01", "-A"]])
def test_which_has_to_be_said(line: CommandLine, wrong: list[str]) -> None:
    assert line.run("renew", "-n" if not wrong else "--yes", *(wrong or ["shop"])).code == 2


def test_without_a_certificate_there_is_nothing_to_renew(line: CommandLine) -> None:
    ran = line.run("renew", "-n", "shop", "pay-tls")
    assert (ran.code, ran.out) == (1, "")
    assert "shop/pay-tls: there is no certificate yet that could be renewed" in ran.err


def test_one_that_is_not_an_hour_old_is_renewed_when_it_is(line: CommandLine) -> None:
    seen.put(line.api, seen.issued(seen.wanted("shop", "new-tls", "new.certjob.dev"), left=90 * DAY - 20 * MINUTE))
    ran = line.run("renew", "-n", "shop", "new-tls")
    assert ran.out.endswith("(Ingress web); done at 2026-11-27 15:07 UTC, when it is an hour old\n")


def test_an_operator_without_a_right_to_what_asks_writes_on_the_record(line: CommandLine) -> None:
    line.api.fail("PATCH", "/ingresses/", seen.no_right("ingresses"))
    ran = line.run("renew", "-n", "shop", "shop-tls")
    assert "(record shop.shop-tls)" in ran.out
    assert (asked(line), asked_on_record(line, "shop.shop-tls")) == ("", ASKED)
    stored = line.api.stored(CONFIGMAPS, v.NAMESPACE, "shop.shop-tls")
    assert stored is not None
    assert f"{from_config_map(stored).renewal_asked:%Y-%m-%dT%H:%M:%SZ}" == ASKED


def test_the_record_may_be_asked_for_and_both_may_be_refused(line: CommandLine) -> None:
    line.run("renew", "-n", "shop", "shop-tls", "--record")
    assert (asked(line), asked_on_record(line, "shop.shop-tls")) == ("", ASKED)
    line.api.fail("PATCH", "/ingresses/", seen.no_right("ingresses"))
    line.api.fail("PATCH", "/configmaps/", seen.no_right("configmaps"))
    ran = line.run("renew", "-n", "shop", "shop-tls")
    assert (ran.code, ran.out) == (3, "")
    assert 'cannot patch resource "configmaps"' in ran.err


def test_many_are_said_before_they_are_done_and_need_a_yes(line: CommandLine) -> None:
    many(line, 21)
    sentence = "21 certificates would be renewed, 50 a sweep, the last in about 5m; within the limits"
    ran = line.run("renew", "-n", "many", "--issuer", "letsencrypt")
    assert (ran.code, ran.out, ran.err) == (2, "", f"error: {sentence}: --yes does it\n")
    ran = line.run("renew", "-n", "many", "--issuer", "letsencrypt", "--dry-run=client")
    assert (ran.code, ran.out) == (0, f"{sentence} (dry run)\n")
    assert "PATCH" not in {request.method for request in line.api.requests}
    ran = line.run("renew", "-n", "many", "--issuer", "letsencrypt", "--yes")
    assert (ran.code, ran.out) == (0, f"{sentence.replace('would be', 'are')}\n")
    # The sweeps spread them: admission would launch all at once.
    assert asked_on_record(line, names.record("many", "n7-tls")) == ASKED


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_at_a_terminal_it_is_asked(line: CommandLine, answer: str, code: int) -> None:
    many(line, 21)
    line.stdin = Terminal(answer)
    ran = line.run("renew", "-n", "many", "--issuer", "letsencrypt")
    assert ran.code == code
    assert "Go on? [y/N]" in ran.err
    assert bool(asked_on_record(line, names.record("many", "n7-tls"))) is (code == 0)


def test_of_many_those_that_cannot_be_asked_for_are_named(line: CommandLine) -> None:
    many(line, 21)
    line.api.fail("PATCH", "/configmaps/many.n3-tls", seen.no_right("configmaps"))
    ran = line.run("renew", "-n", "many", "--issuer", "letsencrypt", "--yes")
    assert ran.code == 3
    assert "error: many/n3-tls: " in ran.err
    assert "error: 1 of 21 could not be asked for" in ran.err


def test_options_and_limits_are_in_the_forecast(line: CommandLine) -> None:
    many(line, 25)
    options = {
        "metadata": {"name": v.OPTIONS_CONFIG_MAP},
        "data": {v.OPTIONS_KEY: yaml.dump({"launchesPerSweep": 5})},
    }
    line.api.add(CONFIGMAPS, v.NAMESPACE, options)
    used = int((NOW + timedelta(hours=2)).timestamp())
    book = json.dumps({"at": 0, "times": {"orders ": [used] * 280}})
    line.api.add(CONFIGMAPS, v.NAMESPACE, state_body("letsencrypt", seen.SERVER, {ORDERS: book}))
    ran = line.run("renew", "-n", "many", "--issuer", "letsencrypt", "--dry-run=server")
    assert ran.out == (
        "25 certificates would be renewed, 5 a sweep, the last in about 3h; letsencrypt has 20 of 300 orders in 3h "
        "left: the rest waits (server dry run)\n"
    )


def shown(count: int) -> list[CertificateStatus]:
    record = seen.issued(seen.wanted("shop", "shop-tls", "shop.certjob.dev"))
    return [status(record, now=NOW, interval=5 * MINUTE)] * count


@pytest.mark.parametrize(
    ("count", "used", "expected"),
    [
        (214, 0, "214 certificates would be renewed, 50 a sweep, the last in about 25m; within the limits"),
        (50, 250, "50 certificates would be renewed, 50 a sweep, the last in about 5m; within the limits"),
        (51, 250, "letsencrypt has 50 of 300 orders in 3h left: the rest waits"),
        (700, 300, "the last in about 9h; letsencrypt has 0 of 300 orders in 3h left: the rest waits"),
    ],
)
def test_how_long_many_take(count: int, used: int, expected: str) -> None:
    use = LimitUse(limit=Limit.ORDERS, used=used, allowed=300, period=3 * 3600)
    found = forecast(shown(count), per_sweep=50, interval=5 * MINUTE, orders={"letsencrypt": use})
    assert expected in found.sentence(would=True)


def test_an_issuer_without_limits_holds_nothing_up() -> None:
    found = forecast(shown(1000), per_sweep=100, interval=5 * MINUTE, orders={})
    assert found == Forecast(1000, 100, 5 * MINUTE)


def test_input_of_a_pipe_is_no_answer(line: CommandLine) -> None:
    many(line, 21)
    line.stdin = io.StringIO("y\n")
    assert line.run("renew", "-n", "many", "--issuer", "letsencrypt").code == 2
