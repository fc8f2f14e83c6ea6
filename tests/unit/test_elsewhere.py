"""certjob in another namespace than `certjob`: its processes are told, its manifests name it in few spellings."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from issuer_job import vocabulary as v
from issuer_job.cli.doctoring import elsewhere
from issuer_job.cluster import refusals
from issuer_job.cluster.api import Cluster
from issuer_job.tenant_secrets import canary
from issuer_job.upkeep.self_test import boundaries
from supply.elsewhere import main
from tests.fakes.api import FakeApi
from tests.worlds.documents import ROOT
from tests.worlds.manifests import documents, older, optional

OTHER = "tls-system"
Json = dict[str, Any]
STAYS = frozenset({"app.kubernetes.io/name", "priorityClassName", "name", "resourceNames"})
"""Fields that say `certjob` and mean the product, or an object of that name in no namespace."""
STAYS_IN_CEL = (
    "variables.labels[?'app.kubernetes.io/name'].orValue('') == 'certjob'",
    "variables.newL[k] == 'certjob'",
    "object.metadata.name == 'certjob'",
    '"external-dns.alpha.kubernetes.io/controller": "certjob"',
    '"external-dns.kubernetes.io/controller": "certjob"',
)
"""The same in expressions."""
NAMES = "|".join(
    (
        r"certjob(\.|\[\.\])io\b",  # labels and annotations
        r"\bcertjob-[a-z]|certjob/certjob-",  # objects and images
        r"\bcertjob\.(certificates|issuers|itself|json)\b|\bcertjob:(certificate|problem)",  # alerts, a dashboard
    )
)
"""What is called after it."""
PROSE = frozenset({"message", "description", "summary"})


def installed() -> list[Json]:
    """Every object of every installation."""
    return [*documents(), *older().values(), *optional()]


def strings(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Every text of an object, with the field that it is in."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from strings(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each, field)
    elif isinstance(value, str):
        yield field, value


def third_spellings(document: Json) -> list[tuple[str, str]]:
    """What still says `certjob` after the manifests were rewritten, and is no name of something else."""
    found = []
    for field, text in strings(elsewhere.elsewhere(document, OTHER)):
        left = re.sub(NAMES, "", text)
        for known in STAYS_IN_CEL if field in elsewhere.EXPRESSIONS else ():
            left = left.replace(known, "")
        in_prose = field in PROSE and not re.search("(namespace|in) certjob(?!')", left)
        if re.search(r"\bcertjob\b", left) and not in_prose and not (field in STAYS and left == "certjob"):
            found.append((field, text))
    return found


def test_the_namespace_has_two_spellings_in_cel_and_is_a_field_elsewhere() -> None:
    assert [found for document in installed() for found in third_spellings(document)] == []


@pytest.mark.parametrize(
    "document",
    [
        {"expression": "object.metadata.namespace == 'certjob'"},
        {"expression": "request.namespace in ['certjob', 'kube-system']"},
        {"expression": "authorizer.serviceAccount('certjob', 'job')"},
        {"expression": "'certjob' == request.namespace"},
        {"message": "exempt namespace certjob there"},
        {"args": ["--namespace=certjob"]},
        {"url": "https://certjob-webhook.certjob.svc"},
        {"values": ["certjob"]},
        {"kind": "User", "name": "system:serviceaccount:certjob:job"},
    ],
    ids=str,
)
def test_a_third_spelling_is_found(document: Json) -> None:
    assert third_spellings(document)


def test_every_spelling_and_every_field_is_met() -> None:
    """What is rewritten is what is there, and no more."""
    moved = [(text, elsewhere.elsewhere(text, OTHER)) for text in installed()]
    fields = {
        field for pair in moved for (field, old), (_, new) in zip(*map(strings, pair), strict=True) if old != new
    }
    assert fields == {"namespace", elsewhere.LABEL, "values", "name", "expression", "externalName"}
    cel = "\n".join(text for document in installed() for field, text in strings(document) if field == "expression")
    for spelling in (
        "system:serviceaccount:certjob:",
        "request.namespace == 'certjob'",
        "request.namespace != 'certjob'",
    ):
        assert spelling in cel
        assert "certjob" not in elsewhere.SPELLINGS.sub(OTHER, spelling)


def test_everything_is_in_that_namespace_and_nothing_else_changes() -> None:
    made = elsewhere.elsewhere(list(documents()), OTHER)
    assert {d["metadata"]["namespace"] for d in made if "namespace" in d["metadata"]} == {OTHER}
    assert [d["metadata"]["name"] for d in made if d["kind"] == "Namespace"] == [OTHER]
    assert json.dumps(made).replace(OTHER, "certjob") == json.dumps(documents())


def test_it_reads_and_writes_what_kustomize_and_kubectl_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = [document for document in documents() if document["metadata"]["name"] in {"certjob", "certjob-leases"}]
    monkeypatch.setattr(sys, "stdin", io.StringIO("---\n" + yaml.safe_dump_all(some)))
    main(OTHER)
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == elsewhere.elsewhere(some, OTHER) != some


@pytest.mark.parametrize("name", ["tls-system", "a", "0", "a" * 63])
def test_a_namespace_that_certjob_can_have(name: str) -> None:
    assert v.own_namespace(name) == name


@pytest.mark.parametrize("name", ["", "A", "a.b", "-a", "a-", "a" * 64, "a\n", "a/b", "ü", "default", "kube-system"])
def test_a_namespace_that_certjob_cannot_have_ends_the_process_with_a_sentence(name: str) -> None:
    with pytest.raises(SystemExit) as ended:
        v.own_namespace(name)
    assert ended.value.args == (f"CERTJOB_NAMESPACE: certjob can have no namespace {name!r} for itself",)


def test_a_command_that_finds_it_later_has_to_do_with_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its operator's machine says no namespace, and the product was imported before."""
    monkeypatch.setattr(v, "NAMESPACE", OTHER)
    api = FakeApi()
    for one in canary.CANARIES:
        one.problem(Cluster(api))
    paths = [request.path.partition("/namespaces/")[2].partition("/")[0] for request in api.requests]
    assert set(paths) - {""} == {"default", OTHER}
    assert ("namespace", "certjob") not in strings([request.body for request in api.requests])
    assert {boundary.namespace for boundary in boundaries()} == {"", "default", "kube-system", OTHER}
    assert OTHER in refusals.exempt()
    assert [name for name in ("certjob", "kube-system", OTHER) if v.is_excluded(name)] == ["kube-system", OTHER]


def run(*arguments: str, namespace: str) -> subprocess.CompletedProcess[str]:
    """In an interpreter of its own, which is told its namespace."""
    command = [sys.executable, *arguments]
    environment = os.environ | {"CERTJOB_NAMESPACE": namespace}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.process
@pytest.mark.parametrize("module", ["issuer_job", "webhook.gunicorn_conf"])
def test_no_process_starts_in_a_namespace_that_is_none(module: str) -> None:
    ended = run("-m", module, "sweep", namespace="no namespace")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "CERTJOB_NAMESPACE: certjob can have no namespace 'no namespace' for itself\n"


@pytest.mark.process
def test_all_goes_on_there_and_nothing_asks_about_another(tmp_path: Path) -> None:
    ended = run("-m", "tests.worlds.elsewhere", str(tmp_path), namespace=OTHER)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["namespaces"] == ["default", "shop", OTHER]
    assert ("namespace", "certjob") not in strings(told["bodies"])
    assert not re.search(r"certjob\.svc|accounts?:certjob", ended.stdout)
    assert (told["job"]["namespace"], told["orders"]) == (OTHER, 1)
    assert told["serving"] == [f"certjob-webhook.{OTHER}.svc", f"certjob-webhook.{OTHER}.svc.cluster.local"]
    assert [user.split(":")[2].split()[0] for user in told["users"]] == [OTHER] * 3
    assert told["excluded"] == ["kube-system", OTHER]
