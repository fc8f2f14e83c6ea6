"""The documents name what is there: files, targets, keys, phases, reasons, warnings. Nothing checks their prose."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import pytest
import yaml

from certs import hostnames, validity
from issuer_job import vocabulary as v
from issuer_job.acme_client import problems
from issuer_job.demand import ingress as wants
from issuer_job.demand import plan
from issuer_job.hosts.precedence import Denial
from issuer_job.http01 import probe_http
from issuer_job.issue import order
from issuer_job.issuers.load import parse_issuer
from issuer_job.issuers.options import Options
from issuer_job.issuers.schema import Issuer
from issuer_job.launch import outcome
from issuer_job.record import phases, record
from issuer_job.record.phases import LaunchReason
from issuer_job.status import status
from issuer_job.tenant_secrets import access as secrets
from issuer_job.tenant_secrets import judgement
from supply import figures
from tests.schema import page_of_problems
from tests.worlds.documents import ROOT, anchors, first_column, source
from webhook import bounded_calls, decide_ingress, policy

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
NOT_A_NAME = re.compile(r"[A-Z*<$]|\.\.\.")
"""In a path: a placeholder or a pattern."""

WORDS: dict[str, Iterable[type[StrEnum]]] = {
    "phase": [record.Phase],
    "webhook reason": [policy.AdmissionReason],
    "outcome": [outcome.OutcomeReason],
    "reason of a plan or notice": [plan.PlanReason, wants.NoticeReason],
    "sweep reason": [LaunchReason],
    "verdict of the look": [validity.ValidityReason, judgement.Misfit],
    "probe reason": [probe_http.ProbeReason],
    "host reason": [hostnames.HostReason],
}
"""Tables of the troubleshooting page by the head of their first column: all of these words and no others."""
BY_LITERAL = {"webhook reason", "outcome", "log event"}
"""Some of their words are literals in the code, not of an enumeration."""
RFC8555_TYPES = frozenset(
    {"badCSR", "badNonce", "caa", "connection", "dns", "externalAccountRequired", "malformed", "rateLimited"}
    | {"rejectedIdentifier", "serverInternal", "tls", "unauthorized", "unsupportedIdentifier", "userActionRequired"}
)
"""Error types of RFC 8555, section 6.7, that the page names."""


def code(text: str) -> Iterator[str]:
    """What stands in backticks: spans and fenced blocks."""
    fenced = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
    yield from fenced.findall(text)
    yield from re.findall(r"`([^`\n]+)`", fenced.sub("", text))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_relative_links_resolve(path: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if link.startswith("https://"):
            continue
        file, _, fragment = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        assert not fragment or fragment in anchors(target), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_files_named_exist(path: Path) -> None:
    top = r"(?:certs|issuer_job|webhook|manifests|tests|docs|\.ci)/[^\s`:,;()#]*"
    for name in re.findall(rf"(?<![\w./-]){top}", "\n".join(code(path.read_text()))):
        assert NOT_A_NAME.search(name) or (ROOT / name).exists(), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_make_targets_exist(path: Path) -> None:
    makefiles = (ROOT / "Makefile").read_text() + (ROOT / "tests/cluster/cluster.mk").read_text()
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefiles, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z0-9-]*)", "\n".join(code(path.read_text()))))
    assert named <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_labels_and_annotations_are_the_codes(path: Path) -> None:
    for key in set(re.findall(r"(?:[a-z]+\.)?certjob\.io/[a-zA-Z-]*[a-zA-Z]", path.read_text())):
        key = v.EPOCH_PREFIX if key.startswith(v.EPOCH_PREFIX) else key
        assert f'"{key}"' in source(), key


@pytest.mark.parametrize("head", WORDS)
def test_tables_of_words_are_complete_and_true(head: str) -> None:
    named = first_column(TROUBLESHOOTING.read_text(), head)
    known = {str(word) for kind in WORDS[head] for word in kind}
    if head == "reason of a plan or notice":  # explained elsewhere on the page by the same word
        known -= {*policy.AdmissionReason, *outcome.OutcomeReason}
    assert known <= set(named)
    for word in set(named) - known:
        assert head in BY_LITERAL, word
        assert f'"{word}"' in source(), word


def test_problem_types_are_complete_and_true() -> None:
    assert TROUBLESHOOTING.read_text() == page_of_problems(), "make schema"
    named = set(first_column(TROUBLESHOOTING.read_text(), "type"))
    own = set(re.findall(r'Problem\(\s*(?:type=)?"([a-zA-Z]+)"', source())) | {*secrets.Refusal, *Denial}
    own |= {order.CLOCK_SKEW, problems.UNUSABLE, status.UNREADABLE}
    assert own | problems.PERMANENT_TYPES <= named
    assert named - own - problems.PERMANENT_TYPES - {problems.NO_TYPE} <= RFC8555_TYPES


def test_events_are_complete_and_true() -> None:
    written = set(re.findall(r'"(Certificate[A-Z][A-Za-z]+)"', source())) - {"CertificateStatusList"}
    assert written == set(first_column(TROUBLESHOOTING.read_text(), "reason"))


def test_log_events_are_the_codes() -> None:
    for word in first_column(TROUBLESHOOTING.read_text(), "log event"):
        assert f'"{word}"' in source(), word


def test_warnings_are_the_codes() -> None:
    """Between the dots each must be a part of the code's text; numbers and names that it fills in count as dots."""
    filled = source().replace("{MAX_NAMES}", str(decide_ingress.MAX_NAMES)).replace("{LATER}", bounded_calls.LATER)
    warnings = first_column(TROUBLESHOOTING.read_text(), "warning")
    assert len(warnings) > 30
    for warning in warnings:
        for part in warning.split("..."):
            assert part.strip(" :;()") in filled, warning


def test_every_notice_has_its_warning() -> None:
    """The fixed beginning of each message that `wants` gives is on the page."""
    page = TROUBLESHOOTING.read_text()
    messages = re.findall(r'(?:message = |Notice\(\s*NoticeReason\.[A-Z_]+,\s*)f?"([^"]+)"', source())
    assert len(messages) > 12
    for message in set(messages) - {"not opted in", "the Ingress is being deleted"}:  # never shown
        parts = re.split(r"\{[^}]*\}", message)
        assert max(parts, key=len).strip(" :") in page.replace("...", "") or message.startswith("{len("), message


def test_the_figures_are_those_that_were_kept() -> None:
    readme = (ROOT / "README.md").read_text()
    assert figures.page(readme, json.loads(figures.MEASURED.read_text())) == readme, "make figures"
    assert figures.stamp() in figures.PICTURE.read_text(), "make figures"


def test_what_reliability_says_can_be_repeated() -> None:
    """Each attack and fault stands once, with a figure or the word that there is none; commands are spelt one way."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    tables = [table for table in page.split("\n\n") if table.startswith("| attack or fault |")]
    rows = [row[2:-2].split(" | ") for table in tables for row in table.splitlines()[2:]]
    assert {len(row) for row in rows} == {4}
    assert len(rows) > 60
    assert len({row[0] for row in rows}) == len(rows)
    assert all(cell.strip() for row in rows for cell in row)
    unit, e2e = "`.venv/bin/pytest tests/unit", "`tests/cluster/run .venv/bin/pytest tests/e2e"
    for what, _, commands, _ in rows:
        assert commands.count("pytest") == commands.count(unit) + commands.count(e2e), what
        assert "pytest" in commands or "`make " in commands, what
    for files, chosen in re.findall(r"pytest ([^`]*?) -k \"?([^`\"]+)\"?`", page):
        below = [one for file in files.split() for one in sorted((ROOT / file).rglob("test_*.py")) or [ROOT / file]]
        names = "\n".join(
            f"{one.name} {' '.join(re.findall(r'def (test_[a-z0-9_]+)', one.read_text()))}" for one in below
        )
        assert [word for word in chosen.split(" or ") if word not in names] == [], files


def test_every_fault_is_in_reliability() -> None:
    code = "\n".join(file.read_text() for file in sorted((ROOT / "tests/load/faults").glob("*_rows.py")))
    named = re.findall(r"--only ([a-z0-9,-]+)", (ROOT / "docs" / "reliability.md").read_text())
    assert sorted(name for names in named for name in names.split(",")) == sorted(
        re.findall(r'^@row\("(.+)"\)', code, re.M)
    )


def test_exit_codes() -> None:
    table = dict(re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", (ROOT / "docs/how-it-works.md").read_text(), re.MULTILINE))
    assert table == {str(int(code)): code.name for code in v.ExitCode}


def test_phases_and_arrows() -> None:
    rows = re.findall(r"^\| `([A-Z][a-z]+)` \| [^|]+ \| ([^|]+) \|$", _how_it_works(), re.MULTILINE)
    arrows = {phase: set(re.findall(r"`([A-Z][a-z]+)`", cell)) for phase, cell in rows}
    assert {p: a for p, a in arrows.items() if p in set(record.Phase)} == {
        str(phase): {str(after) for after in afters} for phase, afters in phases.ARROWS.items()
    }


def test_issuer_fields_are_true() -> None:
    """All of them are in docs/issuers.md."""
    named = {name.partition(".")[0] for name in first_column((ROOT / "README.md").read_text(), "field")}
    assert named <= set(Issuer.__struct_encode_fields__)


def test_options_are_complete_and_true() -> None:
    assert first_column((ROOT / "README.md").read_text(), "option") == list(Options.__struct_encode_fields__)


def test_issuers_in_the_readme_are_valid() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    issuers = [d for d in map(yaml.safe_load, blocks) if d["kind"] == "ConfigMap"]
    assert issuers
    for issuer in issuers:
        assert issuer["metadata"]["labels"][v.ISSUER] == "true"
        parse_issuer(issuer)


def _how_it_works() -> str:
    return (ROOT / "docs/how-it-works.md").read_text()
