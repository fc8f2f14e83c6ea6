"""The command line: which command, and how it ends. Nothing that goes wrong ends in a traceback, but with `-v`."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import click
from click.shell_completion import ShellComplete

from issuer_job.cli.base import endings
from issuer_job.cli.base.command import leading_flags
from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.base.session import Surroundings
from issuer_job.cli.out.terminal import Terminal
from issuer_job.cli.reading import completion
from issuer_job.cli.registry import COMMANDS
from issuer_job.cluster.api import KubeError
from issuer_job.status.plain import clean

_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and what was no UTF-8."""
_SHORT = re.compile(r"(-[A-Za-z])=(.*)", re.DOTALL)
PROGRAM = "kubectl certjob"


class Commands(click.Group):
    """Imports a command when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All, in the registry's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None."""
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        found: click.Command = getattr(import_module(f"issuer_job.cli.{row.module}"), row.function)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Their lines, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.line) for name, row in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@leading_flags
def root() -> None:
    """TLS certificates by certjob: what is there, why not, and what to do.

    Names are those of Secrets; or ingress/NAME, secret/NAME, or a host. Exit codes: 0 done, or yes; 1 the answer is
    no; 2 wrong usage; 3 could not find out; 4 `wait` was not long enough; 130 interrupted.
    """


def run(arguments: Sequence[str], surroundings: Surroundings | None = None) -> int:
    """Run one command, and return its exit code. Whatever goes wrong is a sentence on stderr."""
    around = surroundings or Surroundings()
    terminal = Terminal.of(around.out, around.err, around.environment)
    if odd := next(filter(_ODD.search, arguments), None):
        terminal.note(f"error: {odd!a} has characters that no name has")
        return Exit.USAGE
    try:
        code = root.main(
            _as_click_has_it(arguments),
            prog_name=PROGRAM,
            complete_var=completion.VARIABLE,
            standalone_mode=False,
            obj=around,
        )
        return int(code or 0)
    except click.exceptions.NoArgsIsHelpError as asked:
        _lines(terminal, asked.format_message())
        return Exit.USAGE
    except click.UsageError as problem:
        _lines(terminal, f"error: {problem.format_message()}")
        if problem.ctx is not None:
            terminal.note(f"See '{problem.ctx.command_path} --help'.")
        return Exit.USAGE
    except click.ClickException as problem:
        terminal.note(f"error: {problem.format_message()}")
        return Exit.USAGE
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.BROKEN_PIPE
    except CommandError as problem:
        terminal.note(f"error: {problem}")
        return problem.code
    except KubeError as problem:
        terminal.note(f"error: {endings.told(problem)}")
        return Exit.UNKNOWN
    except Exception as problem:  # noqa: BLE001 - a bug is told as one
        if {"-v", "--v"} & {word.partition("=")[0] for word in arguments}:
            _lines(terminal, traceback.format_exc())
        terminal.note(f"error: this is a fault of certjob (-v 1 shows where): {type(problem).__name__}: {problem}")
        return Exit.UNKNOWN


def _as_click_has_it(arguments: Sequence[str]) -> list[str]:
    """kubectl understands `-o=json`, too."""
    given: list[str] = []
    for number, word in enumerate(arguments):
        if word == "--":
            return given + list(arguments[number:])
        found = _SHORT.fullmatch(word)
        given += found.groups() if found else (word,)
    return given


def _lines(terminal: Terminal, text: str) -> None:
    for line in text.rstrip("\n").split("\n"):
        terminal.note(line)


def complete() -> Any:
    """The console script kubectl_complete-certjob: kubectl asks it what may follow the words so far."""
    for line in completed(sys.argv[1:], Surroundings()):
        print(line)
    sys.exit(0)


def completed(words: Sequence[str], around: Surroundings) -> Iterator[str]:
    """What may stand in the place of the last word, as cobra's programs say it: a tab before the description, and
    last that no names of files are meant.
    """
    *before, incomplete = words or [""]
    asked = ShellComplete(root, {"obj": around}, PROGRAM, completion.VARIABLE)
    for item in asked.get_completions(_as_click_has_it(before), incomplete):
        text = COMMANDS[item.value].line if item.value in COMMANDS else item.help or ""
        yield clean(f"{item.value}") + (f"\t{clean(text)}" if text else "")
    yield ":4"


def main() -> Any:
    """The console script kubectl-certjob."""
    logging.disable()  # what Jobs and pods log, people are told in sentences
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = run(sys.argv[1:])
    if code == Exit.BROKEN_PIPE:  # what is left in the buffer shall not be tried again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
