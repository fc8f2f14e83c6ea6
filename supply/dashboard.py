"""Grafana's dashboard, made from a table: `python -m supply.dashboard` writes it anew. No part of the product."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "manifests" / "optional" / "monitoring" / "dashboard.json"
COLUMNS = 24
"""Of Grafana's grid."""
SCHEMA = 39
"""Of Grafana 10, which later ones read."""
Json = dict[str, Any]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ISSUER = 'issuer_name=~"$issuer"'


@dataclass(frozen=True)
class Query:
    """PromQL and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel; `kind` is Grafana's type, `width` in columns of the grid, `unit` Grafana's word."""

    title: str
    kind: str
    width: int
    queries: tuple[Query, ...]
    unit: str = "short"
    description: str = ""
    red_from: float | None = None
    """From this value on it is shown in red."""


@dataclass(frozen=True)
class Row:
    """Panels of one height, side by side."""

    title: str
    height: int
    panels: tuple[Panel, ...]


def _stat(title: str, expr: str, **fields: Any) -> Panel:
    return Panel(title, "stat", 4, (Query(expr),), **fields)


def _graph(title: str, *queries: tuple[str, str], width: int = 8, **fields: Any) -> Panel:
    return Panel(title, "timeseries", width, tuple(Query(*query) for query in queries), **fields)


_LIFE = "certjob_certificate_not_after_timestamp_seconds - time()"


def _quantiles(name: str, by: str = "") -> tuple[tuple[str, str], ...]:
    return tuple(
        (
            f"histogram_quantile({quantile}, sum by (le{by}) (rate({name}_bucket[$__rate_interval])))",
            f"p{quantile * 100:g}",
        )
        for quantile in (0.5, 0.95)
    )


ROWS = (
    Row(
        "Now",
        4,
        (
            _stat("Certificates", f"sum(certjob_certificates{{{ISSUER}}})"),
            _stat("Not ready", f'sum(certjob_certificates{{{ISSUER},ready="false",state!="Gone"}})', red_from=1),
            _stat("Failing", f"count(certjob_certificate_failures{{{ISSUER}}}) or vector(0)", red_from=1),
            _stat(
                "Next to end", f"min(certjob_certificate_not_after_timestamp_seconds{{{ISSUER}}}) - time()", unit="s"
            ),
            _stat(
                "Last sweep that ended well",
                "time() - max(certjob_sweep_last_success_timestamp_seconds)",
                unit="s",
                description="Alert when more than four intervals ago",
                red_from=1200,
            ),
            _stat(
                "Policies in force",
                "min(certjob_policies_in_force)",
                description="0: a canary was not refused, and nothing is written until it is",
            ),
        ),
    ),
    Row(
        "Certificates",
        8,
        (
            Panel(
                "What fails",
                "table",
                12,
                (Query(f"certjob_certificate_failures{{{ISSUER}}}"),),
                description="Failures in a row, by the type of the last problem",
            ),
            Panel("Not ready", "table", 12, (Query(f"certjob_certificate_ready{{{ISSUER}}} == 0"),)),
        ),
    ),
    Row(
        "",
        8,
        (
            Panel("End first", "table", 12, (Query(f"sort(bottomk(20, {_LIFE}))"),), unit="s"),
            Panel(
                "Due first",
                "table",
                12,
                (Query("sort(bottomk(20, certjob_certificate_renewal_timestamp_seconds - time()))"),),
                unit="s",
                description="Negative: due, and not renewed yet",
            ),
        ),
    ),
    Row(
        "Orders",
        8,
        (
            _graph(
                "Attempts by result",
                (
                    f"sum by (outcome) (rate(certjob_attempts_total{{{ISSUER}}}[$__rate_interval])) * 60",
                    "{{outcome}}",
                ),
                description="In a minute",
            ),
            _graph(
                "Problems by type",
                (f"sum by (type) (rate(certjob_problems_total{{{ISSUER}}}[$__rate_interval])) * 60", "{{type}}"),
                description="In a minute",
            ),
            _graph("From launch to certificate", *_quantiles("certjob_issuance_seconds"), unit="s"),
        ),
    ),
    Row(
        "",
        8,
        (
            _graph(
                "Where Jobs spend their time",
                (
                    "sum by (step) (rate(certjob_issuance_step_seconds_sum[$__rate_interval]))"
                    " / sum by (step) (rate(certjob_issuance_step_seconds_count[$__rate_interval]))",
                    "{{step}}",
                ),
                unit="s",
            ),
            _graph(
                "Limits used",
                (
                    f"certjob_issuer_limit_used{{{ISSUER}}} / certjob_issuer_limit{{{ISSUER}}}",
                    "{{issuer_name}} {{limit}}",
                ),
                unit="percentunit",
                description="By the domain, set of hosts or host that has most",
            ),
            _graph("Issuers ready", (f"certjob_issuer_ready{{{ISSUER}}}", "{{issuer_name}}")),
        ),
    ),
    Row(
        "certjob itself",
        8,
        (
            _graph(
                "Reviews by reason",
                ("sum by (reason) (rate(certjob_webhook_requests_total[$__rate_interval]))", "{{reason}}"),
                unit="reqps",
            ),
            _graph("Answer of the webhook", *_quantiles("certjob_webhook_request_seconds"), unit="s"),
            _graph(
                "Launched by the webhook",
                ("sum by (outcome) (rate(certjob_webhook_launches_total[$__rate_interval])) * 60", "{{outcome}}"),
                description="In a minute",
            ),
        ),
    ),
    Row(
        "",
        8,
        (
            _graph(
                "Sweep", ("certjob_sweep_seconds", "took"), ("certjob_sweep_interval_seconds", "interval"), unit="s"
            ),
            _graph("What the last sweep counted", ("certjob_sweep_items > 0", "{{what}}")),
            _graph(
                "Challenges",
                ("sum by (result) (rate(certjob_responder_requests_total[$__rate_interval]))", "{{result}}"),
                ("max(certjob_responder_challenges)", "open"),
            ),
        ),
    ),
    Row(
        "",
        5,
        (
            Panel(
                "Webhook's certificate ends in",
                "stat",
                6,
                (Query("min(certjob_webhook_serving_certificate_not_after_timestamp_seconds) - time()"),),
                unit="s",
            ),
            Panel(
                "Age of what the view knows",
                "stat",
                6,
                (Query("time() - max(certjob_view_snapshot_timestamp_seconds)"),),
                unit="s",
                red_from=600,
            ),
            Panel(
                "Series left out",
                "stat",
                6,
                (Query("max(certjob_view_truncated)"),),
                description="1: only certificates that fail or are in the last third of their life have their own",
            ),
            Panel("Versions", "table", 6, (Query("count by (version) (certjob_build_info)"),)),
        ),
    ),
)


def dashboard() -> Json:
    """The whole document."""
    return {
        "uid": "certjob",
        "title": "certjob",
        "tags": ["certjob", "tls"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [_datasource(), _issuer()]},
        "panels": list(_panels()),
    }


def _datasource() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _issuer() -> Json:
    query = "label_values(certjob_certificates, issuer_name)"
    return {
        "name": "issuer",
        "label": "Issuer",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "issuer"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels() -> Iterator[Json]:
    number = top = 0
    for row in ROWS:
        if row.title:
            number += 1
            place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
            yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
            top += 1
        left = 0
        for panel in row.panels:
            number += 1
            place = {"x": left, "y": top, "w": panel.width, "h": row.height}
            yield _panel(panel, number) | {"gridPos": place}
            left += panel.width
        top += row.height


def _panel(panel: Panel, number: int) -> Json:
    table = panel.kind == "table"
    steps: list[Json] = [{"color": "text" if panel.red_from is None else "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    made: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                **({"format": "table", "instant": True} if table else {"instant": panel.kind == "stat"}),
            }
            for index, query in enumerate(panel.queries)
        ],
    }
    if table:
        hidden = {"Time": True, "__name__": True, "pod": True, "instance": True, "job": True, "container": True}
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return made


def text() -> str:
    """As it stands in the file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
