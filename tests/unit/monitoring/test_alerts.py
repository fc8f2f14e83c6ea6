"""Each alert fires for what it is about, and for nothing that looks like it; promtool runs Prometheus' own engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.worlds.prometheus import alerts, promtool, write_rules

pytestmark = pytest.mark.process

MINUTE, HOUR, DAY = 60, 3600, 86400
SNAPSHOT = "view_snapshot_timestamp_seconds"
SERVING = "webhook_serving_certificate_not_after_timestamp_seconds"
SWEPT = "sweep_last_success_timestamp_seconds"
FIRES = """clamp_max(count(ALERTS{{alertname="Certjob{}",alertstate="firing"}}), 1) or vector(0)"""
MINUTES = 180
"""How long the series go. Prometheus' time begins with 0 here."""


@dataclass(frozen=True)
class Series:
    """One series of certjob's, with a sample a minute; `rising`: it is the time, as of something that goes on."""

    name: str
    value: float = 0
    labels: str = ""
    rising: bool = False

    def line(self) -> dict[str, str]:
        return {
            "series": f"certjob_{self.name}{{{self.labels}}}",
            "values": f"{self.value}+{60 * self.rising}x{MINUTES}",
        }


def shop(name: str = "web", **fields: float) -> list[Series]:
    """A certificate: not_before, not_after, ready, failures."""
    labels = f'namespace="shop",name="{name}",issuer_name="le"'
    renamed = {
        "not_before": "certificate_not_before_timestamp_seconds",
        "not_after": "certificate_not_after_timestamp_seconds",
        "ready": "certificate_ready",
    }
    made = [Series(renamed[key], value, labels) for key, value in fields.items() if key in renamed]
    if "failures" in fields:
        made.append(Series("certificate_failures", fields["failures"], f'{labels},type="connection"'))
    return made


WELL = [
    Series(SWEPT, rising=True),
    Series(SNAPSHOT, rising=True),
    Series("sweep_interval_seconds", 300),
    Series("policies_in_force", 1),
    Series(SERVING, 30 * DAY),
    Series("issuer_ready", 1, 'issuer_name="le"'),
    Series("issuer_limit", 300, 'issuer_name="le",limit="orders"'),
    Series("issuer_limit_used", 100, 'issuer_name="le",limit="orders"'),
    Series("certificate_ready", 1, 'namespace="shop",name="good",issuer_name="le"'),
    Series("certificate_not_before_timestamp_seconds", -DAY, 'namespace="shop",name="good",issuer_name="le"'),
    Series("certificate_not_after_timestamp_seconds", 89 * DAY, 'namespace="shop",name="good",issuer_name="le"'),
]
"""An installation in which all is well, all the time."""


def living(life: int, left: float, *, at: int) -> dict[str, float]:
    """Of a certificate that lives so many seconds, and of which that share is left at a time."""
    return {"not_before": at - life * (1 - left), "not_after": at + life * left}


def many(count: int) -> list[Series]:
    """So many certificates fail in the same way."""
    return [one for number in range(count) for one in shop(f"web-{number}", ready=0, failures=2)]


# alert; series; seconds; whether it fires then.
CASES: list[tuple[str, list[Series], int, bool]] = [
    ("CertificateExpired", shop(**living(90 * DAY, 0, at=HOUR)), HOUR, True),
    ("CertificateExpired", shop(**living(90 * DAY, 0.05, at=HOUR)), HOUR, False),
    ("CertificateExpiring", shop(**living(90 * DAY, 0.05, at=HOUR)), HOUR, True),
    ("CertificateExpiring", shop(**living(90 * DAY, 0.11, at=HOUR)), HOUR, False),
    ("CertificateExpiring", shop(**living(90 * DAY, 0, at=HOUR)), HOUR, False),
    # Half of ten minutes, and a third of six days: on their way, as those of ninety days with a third left.
    ("CertificateExpiring", shop(**living(600, 0.5, at=HOUR)), HOUR, False),
    ("CertificateRenewalFailing", shop(failures=1, **living(600, 0.5, at=HOUR)), HOUR, False),
    ("CertificateExpiring", shop(**living(6 * DAY, 0.3, at=HOUR)), HOUR, False),
    ("CertificateRenewalFailing", shop(failures=3, **living(90 * DAY, 0.2, at=HOUR)), HOUR, True),
    ("CertificateRenewalFailing", shop(failures=3, **living(90 * DAY, 0.3, at=HOUR)), HOUR, False),
    ("CertificateRenewalFailing", shop(**living(90 * DAY, 0.2, at=HOUR)), HOUR, False),
    ("CertificateNotIssued", shop(ready=0), 31 * MINUTE, True),
    ("CertificateNotIssued", shop(ready=0), 29 * MINUTE, False),
    ("CertificateNotIssued", shop(ready=1), HOUR, False),
    ("CertificateNotIssued", shop(ready=0, **living(90 * DAY, 0, at=0)), HOUR, False),
    ("ProblemsManyAtOnce", many(11), 6 * MINUTE, True),
    ("ProblemsManyAtOnce", many(10), HOUR, False),
    ("CertificateNotIssued", many(11), HOUR, False),
    ("CertificateNotIssued", many(10), HOUR, True),
    ("IssuerNotReady", [Series("issuer_ready", 0, 'issuer_name="zero"')], 16 * MINUTE, True),
    ("IssuerNotReady", [Series("issuer_ready", 0, 'issuer_name="zero"')], 14 * MINUTE, False),
    (
        "IssuerLimitNear",
        [
            Series("issuer_limit", 50, 'issuer_name="le",limit="domain"'),
            Series("issuer_limit_used", 46, 'issuer_name="le",limit="domain"'),
        ],
        61 * MINUTE,
        True,
    ),
    (
        "IssuerLimitNear",
        [
            Series("issuer_limit", 50, 'issuer_name="le",limit="domain"'),
            Series("issuer_limit_used", 45, 'issuer_name="le",limit="domain"'),
        ],
        2 * HOUR,
        False,
    ),
]
"""What is added to an installation in which all is well."""

INSTEAD: list[tuple[str, str, list[Series], int, bool]] = [
    (
        "SweepStale",
        SWEPT,
        [Series(SWEPT, HOUR)],
        HOUR + 21 * MINUTE,
        True,
    ),
    (
        "SweepStale",
        SWEPT,
        [Series(SWEPT, HOUR)],
        HOUR + 19 * MINUTE,
        False,
    ),
    ("SweepStale", SWEPT, [], 22 * MINUTE, True),
    ("SweepStale", SWEPT, [], 15 * MINUTE, False),
    ("PoliciesNotInForce", "policies_in_force", [Series("policies_in_force", 0)], 5 * MINUTE, True),
    ("ViewAbsent", SNAPSHOT, [], 6 * MINUTE, True),
    ("ViewAbsent", SNAPSHOT, [], 4 * MINUTE, False),
    (
        "ViewAbsent",
        SNAPSHOT,
        [Series(SNAPSHOT, 0)],
        17 * MINUTE,
        True,
    ),
    ("ViewAbsent", SNAPSHOT, [Series(SNAPSHOT, HOUR)], HOUR, False),
    ("WebhookDown", SERVING, [], 6 * MINUTE, True),
    (
        "WebhookCertificateEnding",
        SERVING,
        [Series(SERVING, 6 * DAY)],
        2 * HOUR,
        True,
    ),
    (
        "WebhookCertificateEnding",
        SERVING,
        [Series(SERVING, 9 * DAY)],
        2 * HOUR,
        False,
    ),
]
"""The same; what is of that name there is replaced."""


def answers(cases: list[tuple[str, list[Series], int, bool]], directory: Path) -> str:
    """What promtool has to say against them; empty if nothing."""
    write_rules(directory / "rules.yaml")
    tests = [
        {
            "interval": "1m",
            "name": f"{number} {alert} at {at} s: {'fires' if fires else 'does not'}",
            "input_series": [one.line() for one in series],
            "promql_expr_test": [
                {
                    "expr": FIRES.format(alert),
                    "eval_time": f"{at}s",
                    "exp_samples": [{"labels": "{}", "value": int(fires)}],
                }
            ],
        }
        for number, (alert, series, at, fires) in enumerate(cases)
    ]
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (directory / "tests.yaml").write_text(yaml.safe_dump(document))
    done = promtool("test", "rules", directory / "tests.yaml")
    return "" if done.returncode == 0 else done.stdout + done.stderr


def replaced(name: str, series: list[Series]) -> list[Series]:
    return [one for one in WELL if one.name != name] + series


def test_each_alert_fires_for_what_it_is_about_and_for_nothing_else(tmp_path: Path) -> None:
    cases = [(alert, WELL + series, at, fires) for alert, series, at, fires in CASES]
    cases += [(alert, replaced(name, series), at, fires) for alert, name, series, at, fires in INSTEAD]
    assert {f"Certjob{alert}" for alert, _, _, fires in cases if fires} == alerts().keys()
    assert answers(cases, tmp_path) == ""


def test_where_all_is_well_no_alert_fires(tmp_path: Path) -> None:
    quiet = [(alert.removeprefix("Certjob"), WELL, 170 * MINUTE, False) for alert in alerts()]
    assert answers(quiet, tmp_path) == ""


def test_two_pods_of_the_view_tell_of_one_certificate(tmp_path: Path) -> None:
    """While one takes the other's place, no rule finds two where it wants one."""
    twice = [
        Series(one.name, one.value, f'{one.labels},pod="{pod}"'.lstrip(","), one.rising)
        for one in WELL + shop(failures=3, **living(90 * DAY, 0.2, at=HOUR))
        for pod in "ab"
    ]
    assert answers([("CertificateRenewalFailing", twice, HOUR, True)], tmp_path) == ""


def test_the_rules_are_ones_that_prometheus_2_42_reads(tmp_path: Path) -> None:
    write_rules(tmp_path / "rules.yaml")
    done = promtool("check", "rules", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stderr
