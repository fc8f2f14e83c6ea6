"""Makes a command of a function: its flags, its session, and that what was opened is closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any

import click

from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.base.flags import CLUSTER, NAMESPACE, Decorator, Flags
from issuer_job.cli.base.session import Session, Surroundings

_FIELDS = frozenset(each.name for each in fields(Flags))
Made = Callable[[Callable[..., Any]], click.Command]


def command(*flags: tuple[Decorator, ...], cluster: bool = True, name: str | None = None) -> Made:
    """A command with these groups of flags. `cluster`: it asks the cluster, so it has the flags that say which.

    The function gets the Session and what else its own options and arguments give.
    """
    groups = (*flags, CLUSTER) if cluster else flags

    def made(function: Callable[..., int | None]) -> click.Command:
        @click.pass_context
        @wraps(function)
        def call(context: click.Context, /, **given: Any) -> int | None:
            said = {key: given.pop(key) for key in list(given) if key in _FIELDS}
            session = Session(Flags(**{key: value for key, value in said.items() if value}), _around(context))
            if session.flags.namespace and session.flags.all_namespaces:
                raise click.UsageError("-n and -A exclude each other")
            try:
                if cluster:
                    session.begin(scoped="namespace" in said)
                return function(session, **given)
            finally:
                session.close()

        decorated: Callable[..., Any] = call
        for option in (option for group in reversed(groups) for option in reversed(group)):
            decorated = option(decorated)
        # click reads a decorator's docstring from the function.
        return click.command(name=name or function.__name__.replace("_", "-"))(decorated)

    return made


def leading_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """For the group: the flags of cluster and namespace may also stand before the command."""

    @click.pass_context
    @wraps(function)
    def call(context: click.Context, /, **given: Any) -> None:
        said = {key: value for key, value in given.items() if value}
        if context.invoked_subcommand is not None:
            context.default_map = {context.invoked_subcommand: said}

    decorated: Callable[..., Any] = call
    for option in reversed((*NAMESPACE, *CLUSTER)):
        decorated = option(decorated)
    return decorated


def _around(context: click.Context) -> Surroundings:
    around = context.find_object(Surroundings)
    if around is None:
        raise CommandError("no surroundings", Exit.UNKNOWN)
    return around
