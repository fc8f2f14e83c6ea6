"""The flags, spelt as kubectl's. One place says what each means and which of them kubectl itself gets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

FORMATS = ("wide", "json", "yaml", "name")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True)
class Flags:
    """What all commands understand; empty where it was not said. `request_timeout` in seconds, 0 is kubectl's."""

    namespace: str = ""
    all_namespaces: bool = False
    selector: str = ""
    output: str = ""
    context: str = ""
    kubeconfig: str = ""
    as_user: str = ""
    as_group: tuple[str, ...] = ()
    request_timeout: float = 0.0
    certjob_namespace: str = ""
    verbosity: int = 0

    @property
    def kubectl(self) -> list[str]:
        """Those that say which cluster is meant and as whom, for a kubectl that is run."""
        given = {"context": self.context, "kubeconfig": self.kubeconfig, "as": self.as_user}
        groups = [f"--as-group={group}" for group in self.as_group]
        return [f"--{name}={value}" for name, value in given.items() if value] + groups

    @property
    def everywhere(self) -> Flags:
        """The same for all namespaces."""
        return replace(self, namespace="", all_namespaces=True, selector="")


class Seconds(click.ParamType[float]):
    """A length of time as kubectl reads it: 90s, 3m, 1h30m, or a number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, int | float):
            return float(value)
        if _DURATION.fullmatch(value):
            return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
        if value.isascii() and value.isdecimal():
            return float(value)
        raise click.BadParameter(f"{value!r} is not a duration such as 90s, 3m or 1h30m", ctx, param)


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def completed_by(what: str) -> Completion:
    """How the shell completes it: by that function of `sight.completing`, which asks the cluster."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        from issuer_job.cli.sight import completing

        found: list[str] = getattr(completing, what)(context, incomplete)
        return found

    return complete


NAMES = click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=completed_by("certificates"))
"""Of certificates: see `sight.names`."""
CLUSTER: tuple[Decorator, ...] = (
    click.option("--context", metavar="NAME", help="The kubeconfig's context to use."),
    click.option("--kubeconfig", metavar="FILE", help="Path of the kubeconfig."),
    click.option("--as", "as_user", metavar="USER", help="On whose behalf to ask, by impersonation."),
    click.option("--as-group", metavar="GROUP", multiple=True, help="In which group; may be said several times."),
    click.option(
        "--request-timeout",
        type=Seconds(),
        default=0.0,
        metavar="DURATION",
        help="How long to wait for one answer of the API server; 10s if not said.",
    ),
    click.option(
        "--certjob-namespace",
        metavar="NAME",
        envvar="CERTJOB_NAMESPACE",
        help="Where certjob is installed; found out if not said.",
    ),
    click.option("-v", "--v", "verbosity", type=int, default=0, metavar="LEVEL", help="1 and more: print requests."),
)
NAMESPACE: tuple[Decorator, ...] = (
    click.option(
        "-n",
        "--namespace",
        metavar="NAME",
        help="The namespace; the context's if not said.",
        shell_complete=completed_by("namespaces"),
    ),
)
SCOPE: tuple[Decorator, ...] = (
    *NAMESPACE,
    click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces."),
    click.option(
        "-l", "--selector", metavar="LABELS", help="Only certificates whose Ingress or Secret has these labels."
    ),
)
OUTPUT: tuple[Decorator, ...] = (
    click.option("-o", "--output", type=click.Choice(FORMATS), help="Another form of output."),
)
