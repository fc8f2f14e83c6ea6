"""Waits until certificates are there, for scripts and pipelines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

import click

from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.base.flags import NAMES, SCOPE, Seconds
from issuer_job.cli.base.session import Session
from issuer_job.status import moments
from issuer_job.status.plain import clean

if TYPE_CHECKING:
    from issuer_job.cli.sight.feed import Feed
    from issuer_job.cli.telling.waiting import Standing, Target

TICK = 0.5
"""Seconds between two looks at the clock."""


@command(SCOPE)
@NAMES
@click.option("--all", "every", is_flag=True, help="All certificates of the namespace; with -A of all namespaces.")
@click.option(
    "-f", "--filename", "files", multiple=True, metavar="FILE", help="What manifests ask for; - is standard input."
)
@click.option(
    "--for",
    "what",
    type=click.Choice(["issued", "served"]),
    default="issued",
    help="issued: the Secret holds it; served: its hosts show it on port 443, asked from this machine.",
)
@click.option(
    "--timeout", type=Seconds(), default=300.0, metavar="DURATION", help="How long; 5m if not said, 0 looks once."
)
def wait(
    session: Session, names: Sequence[str], every: bool, files: Sequence[str], what: str, timeout: float
) -> Exit:
    """Wait until certificates are there.

    Also for those that certjob does not know yet. A line for each that is there; on stderr what the others do.
    Exit code 0: all are there; 1, at once: one needs a change; 4: it took too long.
    """
    if bool(names) + every + bool(files) != 1:
        raise click.UsageError("one of NAME, --all and -f says what to wait for")
    return _Waiting(session, what, timeout, list(_targets(session, names, files))).run()


def _targets(session: Session, names: Sequence[str], files: Sequence[str]) -> Iterator[Target]:
    from issuer_job.cli.sight.names import read_name
    from issuer_job.cli.telling.absent import is_namespace_enabled
    from issuer_job.cli.telling.manifests import read_manifests, targets
    from issuer_job.cli.telling.waiting import Target

    if not (names or files):
        yield Target(session.namespace)
    for name in names:
        yield Target(session.namespace, read_name(name))
    if files:
        enabled = cache(lambda namespace: bool(is_namespace_enabled(session, namespace)))
        found = list(targets(read_manifests(files), namespace=session.namespace or "default", enabled=enabled))
        if not found:
            raise CommandError(f"nothing in {', '.join(files)} asks certjob for a certificate", Exit.USAGE)
        yield from found


@dataclass
class _Waiting:
    """One run. `told` are those of which was said how they ended, `steps` what was said last of the others."""

    session: Session
    what: str
    timeout: float
    targets: Sequence[Target]
    told: set[str] = field(default_factory=set)
    steps: dict[str, object] = field(default_factory=dict)
    feeds: dict[str | None, Feed] = field(default_factory=dict)

    def run(self) -> Exit:
        """Until all are there, one needs a change, or the time is over."""
        from issuer_job.cli.sight.feed import Feed
        from issuer_job.cli.sight.sight import Choice

        clock = self.session.surroundings.clock
        until = clock() + self.timeout
        try:
            for namespace in dict.fromkeys(target.namespace for target in self.targets):
                self.feeds[namespace] = Feed(Choice(self.session.within(namespace), ()))
                self.feeds[namespace].begin()
            while True:
                standings = self._look()
                if (code := self._ended(standings, late=clock() >= until)) is not None:
                    return code
                self._show(standings)
                for feed in self.feeds.values():
                    feed.wait(TICK / len(self.feeds))
        finally:
            self.session.terminal.live([], err=True)
            for feed in self.feeds.values():
                feed.end()

    def _look(self) -> list[Standing]:
        from issuer_job.cli.telling.waiting import Progress

        now = self.session.now
        every = (
            standing
            for target in self.targets
            for standing in target.standings(self.feeds[target.namespace].current.values(), now)
        )
        found = list({standing.label: standing for standing in every}.values())
        if self.what == "served":
            found = [self._served(one) if one.progress is Progress.DONE else one for one in found]
        return found

    def _served(self, standing: Standing) -> Standing:
        """Whether its hosts show it, from here; one that was seen is not asked again."""
        from issuer_job.cli.sight.from_here import look_at
        from issuer_job.cli.telling.waiting import with_views

        if standing.label in self.told or standing.shown is None:
            return standing
        return with_views(standing, look_at(standing.shown.hosts))

    def _ended(self, standings: Sequence[Standing], *, late: bool) -> Exit | None:
        """Say what is there by now; how it ends, if it does."""
        from issuer_job.cli.telling.waiting import Progress

        terminal = self.session.terminal
        for one in standings:
            if one.progress is not Progress.PENDING and one.label not in self.told:
                terminal.live([], err=True)
                terminal.line(f"{one.label}  {one.text}")
                self.told.add(one.label)
        stuck = [one for one in standings if one.progress is Progress.STUCK]
        pending = [one for one in standings if one.progress is Progress.PENDING]
        count = f"{len(standings)} certificate{'s' * (len(standings) != 1)}"
        if stuck:
            first = stuck[0].shown
            how = f"; why: kubectl certjob why -n {first.namespace} {first.name}" if first is not None else ""
            return self.session.refuse(f"{len(stuck)} of {count} need{'s' * (len(stuck) == 1)} a change{how}")
        if not standings:
            return self.session.refuse("there are no certificates to wait for")
        if not pending:
            return Exit.DONE
        if not late:
            return None
        waited = moments.seconds(timedelta(seconds=self.timeout), whole=True)
        told = "; ".join(f"{one.label}: {one.text}" for one in pending[:5])
        more = f"; and {len(pending) - 5} more" if len(pending) > 5 else ""
        sentence = f"not there after {waited}: {len(pending)} of {count}: {told}{more}"
        return self.session.refuse(sentence, Exit.TIMEOUT)

    def _show(self, standings: Sequence[Standing]) -> None:
        """What the others do: on a terminal drawn anew all the time, else a line when it changes."""
        from issuer_job.cli.telling.waiting import Progress

        terminal = self.session.terminal
        pending = [one for one in standings if one.progress is Progress.PENDING]
        problems = [feed.problem for feed in self.feeds.values() if feed.problem]
        if terminal.err.isatty():
            terminal.live(
                [clean(f"{one.label}  {one.text}") for one in pending] + list(map(clean, problems)), err=True
            )
            return
        for one in pending:
            if self.steps.get(one.label) != one.step:
                self.steps[one.label] = one.step
                terminal.note(f"{one.label}  {one.text}")
        for problem in problems:
            terminal.note_once(f"{problem}; asked again until it answers")
