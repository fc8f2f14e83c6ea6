"""Renew now what is still good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from issuer_job import vocabulary as v
from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.base.flags import NAMES, SCOPE
from issuer_job.cli.base.session import Session
from issuer_job.cli.steering.renewals import due_at, forecast, is_from_before, is_renewable
from issuer_job.cli.steering.writer import DRY_RUN, Annotatable, DryRun, Writer, askers_of, record_of
from issuer_job.status import moments
from issuer_job.status.shown import CertificateStatus

if TYPE_CHECKING:
    from issuer_job.cli.sight.sight import Choice
    from issuer_job.cli.steering.renewals import Forecast

MOST_UNASKED = 20
"""Certificates that are renewed without --yes."""


class Moment(click.ParamType[datetime]):
    """A time (RFC 3339), or a day, which begins at 00:00 UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Aware."""
        from issuer_job.record.annotations import read_moment

        if isinstance(value, datetime):
            return value
        found = read_moment(value)
        try:
            return found or datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise click.BadParameter(
                f"{value!r} is no time as 2026-12-01T08:00:00Z, nor a day as 2026-12-01", ctx, param
            ) from None


@command(SCOPE, DRY_RUN)
@NAMES
@click.option("--issuer", metavar="NAME", help="Only certificates of this issuer.")
@click.option("--issued-before", type=Moment(), metavar="TIME", help="Only certificates that were issued before.")
@click.option("--record", "on_record", is_flag=True, help="Write on the records, which is for operators.")
@click.option("-y", "--yes", is_flag=True, help=f"More than {MOST_UNASKED}, without being asked.")
def renew(
    session: Session,
    names: Sequence[str],
    issuer: str | None,
    issued_before: datetime | None,
    on_record: bool,
    yes: bool,
    dry_run: str,
) -> Exit:
    """Have certificates renewed now, which are served until the new ones are there.

    Writes the annotation certjob.io/renew, with the time that it is, on what asks for the certificate, an Ingress or
    a Secret; on the record where that may not be written, and of more than 20: then the sweeps spread them. All
    limits hold, and what is less than an hour old is renewed when it is that old.
    """
    from issuer_job.cli.sight.sight import Choice

    if not (names or issuer or issued_before or session.flags.selector or session.flags.all_namespaces):
        raise click.UsageError("which? NAME, -l, --issuer, --issued-before, or -A for all")
    choice, wanted = Choice(session, names, gone=False), DryRun(dry_run)
    fits: dict[str, Callable[[CertificateStatus], bool]] = {
        "issuer": lambda one: issuer in {None, one.issuer},
        "certificate": lambda one: issued_before is None or is_from_before(one, issued_before),
    }
    found = choice.found()
    chosen = [one for one in found if all(fit(one) for fit in fits.values())]
    unsure = sum(all(fit(one) or field in one.unknown for field, fit in fits.items()) for one in found) - len(chosen)
    for one in chosen if names else ():
        if not is_renewable(one):
            session.terminal.note(f"{one.namespace}/{one.name}: there is no certificate yet that could be renewed")
    chosen = [one for one in chosen if is_renewable(one)]
    if unsure:
        session.terminal.note(f"(of {unsure} certificate{'s' * (unsure != 1)} you may not know whether it is meant)")
    if not chosen:
        return session.refuse("there is no such certificate", Exit.UNKNOWN if unsure else Exit.NO)
    if len(chosen) <= MOST_UNASKED:
        return _Renewing(session, choice, Writer(session, wanted), on_record=on_record).each(chosen)
    expected = _expected(session, choice, chosen)
    if wanted is DryRun.NONE and not yes and (code := _asked_again(session, expected)) is not Exit.DONE:
        return code
    return _Renewing(session, choice, Writer(session, wanted), on_record=True).many(chosen, expected)


class _Renewing:
    """Asks for renewals."""

    def __init__(self, session: Session, choice: Choice, writer: Writer, *, on_record: bool) -> None:
        from issuer_job.status.shown import Evidence

        self._session, self._writer, self._on_record = session, writer, on_record
        self._knows_records = choice.sight.evidence is Evidence.RECORDS
        self._now = (session.cluster.server_time() or session.now).replace(microsecond=0)

    def each(self, chosen: Sequence[CertificateStatus]) -> Exit:
        """A line for each."""
        code = Exit.DONE
        for shown in chosen:
            about = f"{shown.namespace}/{shown.name}"
            try:
                place = self._asked(shown)
            except CommandError as problem:
                self._session.terminal.note(f"error: {about}: {problem}")
                code = Exit.UNKNOWN
                continue
            due = due_at(shown, self._now)
            when = "" if due <= self._now else f"; done at {moments.absolute(due)}, when it is an hour old"
            follow = f"; follow: kubectl certjob status -w -n {shown.namespace} {shown.name}"
            self._session.terminal.line(
                f"{about}: renewal asked for ({place.what}){self._writer.dry_run.suffix}{when or follow}"
            )
        return code

    def many(self, chosen: Sequence[CertificateStatus], expected: Forecast) -> Exit:
        """How it goes, and what went wrong."""
        wrong = 0
        for shown in chosen if self._writer.dry_run is not DryRun.CLIENT else ():
            try:
                self._asked(shown)
            except CommandError as problem:
                wrong += 1
                self._session.terminal.note(f"error: {shown.namespace}/{shown.name}: {problem}")
        would = self._writer.dry_run is not DryRun.NONE
        self._session.terminal.line(f"{expected.sentence(would=would)}{self._writer.dry_run.suffix}")
        if wrong:
            return self._session.refuse(f"{wrong} of {len(chosen)} could not be asked for", Exit.UNKNOWN)
        return Exit.DONE

    def _asked(self, shown: CertificateStatus) -> Annotatable:
        record = [record_of(shown, self._session.certjob_namespace)] if self._knows_records else []
        places = record if self._on_record and record else [*askers_of(shown), *record]
        return self._writer.annotate(places, {v.RENEW: f"{self._now:%Y-%m-%dT%H:%M:%SZ}"})


def _expected(session: Session, choice: Choice, chosen: Sequence[CertificateStatus]) -> Forecast:
    """As far as whoever asks may know. Raises KubeError."""
    from issuer_job.cli.sight.records import RecordSight
    from issuer_job.issuers.options import Options, OptionsError, read_options
    from issuer_job.record.phases import SWEEP_INTERVAL
    from issuer_job.status.issuer_status import Limit, LimitUse

    sight, options, interval = choice.sight, Options(), SWEEP_INTERVAL
    orders: dict[str, LimitUse] = {}
    if isinstance(sight, RecordSight):
        try:
            options = read_options(session.cluster)
        except OptionsError:
            session.terminal.note(
                "(the ConfigMap certjob-options is wrong: nothing is launched until it is corrected)"
            )
        interval = sight.interval
        for name in {one.issuer for one in chosen}:
            for use in sight.issuer(name).limits:
                orders |= {name: use} if use.limit is Limit.ORDERS else {}
    return forecast(chosen, per_sweep=options.launches_per_sweep, interval=interval, orders=orders)


def _asked_again(session: Session, expected: Forecast) -> Exit:
    """Whether whoever is at the terminal says yes."""
    stdin = session.surroundings.stdin
    if not stdin.isatty():
        return session.refuse(f"{expected.sentence(would=True)}: --yes does it", Exit.USAGE)
    session.terminal.note(f"{expected.sentence(would=True)}. Go on? [y/N]")
    return Exit.DONE if stdin.readline().strip().lower() in {"y", "yes"} else Exit.NO
