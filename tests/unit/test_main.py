"""The command line, and the lines it logs."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from issuer_job import __main__ as program
from issuer_job import last_word, log
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt
from issuer_job.checks import check as check_issuer
from issuer_job.checks import command
from issuer_job.cluster.api import Cluster
from issuer_job.issue import issue
from issuer_job.tenant_secrets.access import Looker, look_by_policy, look_by_version
from tests.fakes.api import FakeApi

ENVIRONMENT = {
    "CERTJOB_RECORD": "shop.web-tls",
    "CERTJOB_RECORD_UID": "u",
    "CERTJOB_EPOCH": "1700000000",
    "CERTJOB_POD_UID": "p",
}


@pytest.fixture(autouse=True)
def keep_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield
    root.handlers, level = before
    root.setLevel(level)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No cluster far and wide; the last word goes to `last-word` in the test's directory."""
    (tmp_path / "last-word").touch()
    monkeypatch.setenv("CERTJOB_TERMINATION_LOG", str(tmp_path / "last-word"))
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def said(tmp_path: Path) -> dict[str, object]:
    """The last word, but for what it took."""
    word = last_word.read((tmp_path / "last-word").read_text())
    assert word is not None
    assert word.seconds >= sum(word.steps.values())
    measured = {"seconds", "cpuSeconds", "peakMib"}
    return {key: value for key, value in msgspec.to_builtins(word).items() if key not in measured}


@pytest.mark.parametrize("command", ["issue", "sweep", "bootstrap", "responder"])
def test_outside_of_a_cluster(
    command: str, outside: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert program.main([command]) == v.ExitCode.RETRY
    if command == "responder":  # which has no end to speak of
        assert (tmp_path / "last-word").read_text() == ""
    else:
        assert said(tmp_path) == {"work": command, "exitCode": 1, "problem": "apiServer"}
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["level"], line["event"]) == ("error", "api-server")
    assert "neither a service account nor a kubeconfig" in line["problem"]


@pytest.mark.parametrize("command", ["check-issuer", "rollover-account", "reset-account", "replace-certificates"])
def test_commands_about_an_issuer(
    command: str, outside: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main([command, "letsencrypt"]) == v.ExitCode.RETRY
    with pytest.raises(SystemExit):
        program.main([command])
    assert "issuer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "asks"),
    [
        (["check-issuer"], "check()"),
        (["rollover-account"], "roll_over()"),
        (["reset-account"], "reset_account()"),
        (["replace-certificates"], "replace_all(only_status=False)"),
        (["replace-certificates", "--status"], "replace_all(only_status=True)"),
    ],
)
def test_each_is_what_it_is_called(
    arguments: list[str], asks: str, outside: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    class Noted:
        def __init__(self, *, name: str, **parts: object) -> None:
            self.name = name

        def __getattr__(self, method: str) -> Callable[..., v.ExitCode]:
            def note(**options: bool) -> v.ExitCode:
                given = ", ".join(f"{key}={value}" for key, value in options.items())
                done.append(f"{self.name}: {method}({given})")
                return v.ExitCode.DONE

            return note

    monkeypatch.setattr(command, "IssuerCommand", Noted)
    monkeypatch.setattr(program, "_cluster", lambda seconds: Cluster(FakeApi()))
    assert program.main([*arguments, "letsencrypt"]) == v.ExitCode.DONE
    assert done == [f"letsencrypt: {asks}"]


def test_a_bare_name_is_an_issuers_and_one_with_a_dot_a_records(
    outside: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[str] = []

    def note(kind: str) -> Callable[[Attempt], v.ExitCode]:
        def run(attempt: Attempt) -> v.ExitCode:
            assert attempt.stretch > 0  # how it started is known
            done.append(f"{kind} {attempt.pod.record}")
            return v.ExitCode.DONE

        return run

    monkeypatch.setattr(check_issuer, "check_issuer", note("check"))
    monkeypatch.setattr(issue, "issue", note("issue"))
    monkeypatch.setattr(program, "_cluster", lambda seconds: Cluster(FakeApi()))
    for record in ("letsencrypt", "shop.web-tls", "shop.a"):
        outside.setenv("CERTJOB_RECORD", record)
        assert program.main(["issue"]) == v.ExitCode.DONE
        assert said(tmp_path)["work"] == ("issue" if "." in record else "check")
    assert done == ["check letsencrypt", "issue shop.web-tls", "issue shop.a"]


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_a_pod_that_lacks_its_environment(
    name: str, outside: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    outside.delenv(name)
    assert program.main(["issue"]) == v.ExitCode.PERMANENT
    assert said(tmp_path) == {"work": "issue", "exitCode": 10, "problem": "environment"}
    assert name in json.loads(capsys.readouterr().out)["problem"]


def test_a_bug_has_its_word_and_its_traceback(outside: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outside.setattr(program, "_cluster", lambda seconds: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        program.main(["sweep"])
    assert said(tmp_path) == {"work": "sweep", "exitCode": 1, "problem": "internalError"}


def test_what_the_kubelet_cannot_take_stops_nothing(
    outside: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outside.setenv("CERTJOB_TERMINATION_LOG", "/dev/full")
    outside.setattr(issue, "issue", lambda attempt: v.ExitCode.LATER)
    outside.setattr(program, "_cluster", lambda seconds: Cluster(FakeApi()))
    assert program.main(["issue"]) == v.ExitCode.LATER
    assert "no-last-word" in capsys.readouterr().out


def test_an_epoch_that_is_no_number(outside: pytest.MonkeyPatch) -> None:
    outside.setenv("CERTJOB_EPOCH", "x")
    assert program.main(["issue"]) == v.ExitCode.PERMANENT


@pytest.mark.parametrize(
    ("value", "looker"), [(None, look_by_policy), ("policy", look_by_policy), ("resource-version", look_by_version)]
)
def test_the_environment_says_how_to_look(monkeypatch: pytest.MonkeyPatch, value: str | None, looker: Looker) -> None:
    monkeypatch.delenv("CERTJOB_LOOK", raising=False)
    if value is not None:
        monkeypatch.setenv("CERTJOB_LOOK", value)
    assert program._looker() is looker


@pytest.mark.parametrize("command", ["issue", "sweep", "bootstrap"])
def test_a_way_to_look_that_there_is_not(
    command: str, outside: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outside.setenv("CERTJOB_LOOK", "harder")
    assert program.main([command]) == v.ExitCode.PERMANENT
    assert "CERTJOB_LOOK is none of policy, resource-version" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["issue", "--flag"]])
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    assert ended.value.code == 2
    assert "issue" in capsys.readouterr().err


def test_a_job_starts_without_what_it_does_not_need() -> None:
    script = (
        "import sys, issuer_job.__main__; print(*(m for m in ('kubernetes', 'acme', 'requests') if m in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def line(formatter: logging.Formatter, **fields: object) -> str:
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "step", None, None)
    if fields:
        record.fields = fields
    return formatter.format(record)


def test_json_is_one_object_a_line() -> None:
    text = line(log.JsonFormatter(), hosts=["a.dev"], note="two\nlines", when=ValueError("odd"))
    assert "\n" not in text
    found = json.loads(text)
    assert found["time"].endswith("+00:00")
    assert {key: found[key] for key in found if key != "time"} == {
        "level": "warning",
        "event": "step",
        "hosts": ["a.dev"],
        "note": "two\nlines",
        "when": "odd",
    }


def test_text_is_for_people() -> None:
    assert line(log.TextFormatter(), epoch=5).endswith(" warning step epoch=5")
    assert line(log.TextFormatter()).endswith(" warning step")
    assert line(log.TextFormatter(), hosts=["a.dev"], phase="Issued").endswith(' step hosts=["a.dev"] phase=Issued')


FORGED = "2026-01-01T00:00:00.000+00:00 error forged"


@pytest.mark.parametrize("separator", [*"\n\r\x0b\x0c\x1c\x85\u2028\x00\x7f", "\x1b[2K"])
def test_no_value_begins_a_line_of_its_own_or_moves_the_terminals_cursor(separator: str) -> None:
    said = f"said{separator}{FORGED}"
    for text in (line(log.TextFormatter(), note=said), line(log.TextFormatter(), notes=[said], odd=ValueError(said))):
        assert text.isprintable()
        assert text.splitlines() == [text]
    record = logging.LogRecord("gunicorn.error", logging.ERROR, "f", 1, said, None, None)
    assert log.TextFormatter().format(record).isprintable()


def test_no_value_looks_like_another_pair() -> None:
    assert line(log.TextFormatter(), note="a level=error").endswith(' step note="a level=error"')
    assert line(log.TextFormatter(), note='"a').endswith(r' step note="\"a"')
    assert line(log.TextFormatter(), note="").endswith(' step note=""')


def test_no_line_of_a_traceback_looks_like_an_event() -> None:
    try:
        raise RuntimeError(f"a bug\n{FORGED}\r{FORGED}")
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "bug", None, sys.exc_info())
    first, *rest = log.TextFormatter().format(record).splitlines()
    assert first.endswith(" error bug")
    assert len(rest) >= 4
    assert all(text.startswith("  ") for text in rest)


@pytest.mark.parametrize("formatter", [log.JsonFormatter(), log.TextFormatter()])
def test_a_bug_is_logged_with_its_traceback(formatter: logging.Formatter) -> None:
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "crash", None, sys.exc_info())
    assert "RuntimeError: a bug" in formatter.format(record)


@pytest.mark.parametrize(
    ("style", "kind"), [("json", log.JsonFormatter), ("text", log.TextFormatter), ("", log.JsonFormatter)]
)
def test_configure(style: str, kind: type, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(style)
    [handler] = logging.getLogger().handlers
    assert type(handler.formatter) is kind
    logging.getLogger("issuer_job").info("hello")
    assert "hello" in capsys.readouterr().out
    assert logging.getLogger("urllib3").level == logging.ERROR
