"""Move between certjob and another tool: a report, files, or steps that may be repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from issuer_job import vocabulary as v
from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.base.flags import OUTPUT, Decorator, Seconds
from issuer_job.cli.base.session import Session
from issuer_job.cli.out.terminal import Cell, Part, Style
from issuer_job.cli.steering.writer import DRY_RUN, DryRun, Writer
from issuer_job.migrate.plans.steps import MovePlan, MoveRow, WillBe

if TYPE_CHECKING:
    from issuer_job.cli.moving.directions import Direction, MoveWish

HEADERS = ("NAMESPACE", "SECRET", "FOR", "NOW FROM", "WILL BE", "WHY")
DIRECTIONS = ("from-kube-lego", "from-cert-manager", "to-cert-manager")
ROUNDS = 3
"""How often a plan is made anew: what others change meanwhile, the next one has."""
_ONLY: tuple[Decorator, ...] = (
    click.option("-n", "--namespace", metavar="NAME", help="Only this namespace; all if not said."),
)
_STYLES = {WillBe.ADOPTED: Style.GOOD, WillBe.ORDERS: Style.BAD, WillBe.CANNOT: Style.WARN}


@command(_ONLY, OUTPUT, DRY_RUN)
@click.argument("direction", type=click.Choice(DIRECTIONS))
@click.option(
    "--write", "folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Write files."
)
@click.option("--apply", "applies", is_flag=True, help="Do it, step by step; may be repeated.")
@click.option(
    "--issuer",
    "issuers",
    metavar="THEIRS=OURS",
    multiple=True,
    help="Which issuer stands for which; of the other tool's an Issuer is NAMESPACE/NAME.",
)
@click.option("--orders", is_flag=True, help="Move also what will be ordered anew.")
@click.option("--new-accounts", is_flag=True, help="New ACME accounts, in the place of the other tool's.")
@click.option(
    "--connect", metavar="ADDRESS", default="", help="Ask this address for what is served, with every host."
)
@click.option("--no-handshakes", is_flag=True, help="Ask no host for what it serves.")
@click.option("--timeout", type=Seconds(), default="15m", metavar="DURATION", help="For each wait; 15m if not said.")
def migrate(
    session: Session,
    direction: str,
    folder: Path | None,
    applies: bool,
    issuers: Sequence[str],
    orders: bool,
    new_accounts: bool,
    connect: str,
    no_handshakes: bool,
    timeout: float,
    dry_run: str,
) -> Exit:
    """Move between certjob and kube-lego or cert-manager, with no new order.

    Alone it reports what becomes of each certificate, and why. --write has that as files for kustomize and for a
    shell, --apply does it. No Secret's data is read: dates come from Certificates, or from what hosts serve.

    Exit code 1: a line says "orders", or the move could not go on; run again it goes on where it was.
    """
    session.find_certjob()
    from issuer_job.cli.moving.directions import MoveWish, directions

    asked = MoveWish(
        namespace=session.flags.namespace,
        issuers=_pairs(issuers),
        orders=orders,
        new_accounts=new_accounts,
        connect=connect,
        handshakes=not no_handshakes,
    )
    way = directions()[direction](session.cluster, asked, session.surroundings.now)
    return Moving(session, way, asked, timeout, Writer(session, DryRun(dry_run))).run(folder, applies=applies)


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        theirs, equals, ours = text.rpartition("=")
        if not (theirs and equals and ours):
            raise click.UsageError(f"--issuer {text}: say THEIRS=OURS")
        found[theirs] = ours
    return found


@dataclass(frozen=True)
class Moving:
    """One run of the command."""

    session: Session
    way: Direction
    asked: MoveWish
    timeout: float
    writer: Writer

    def run(self, folder: Path | None, *, applies: bool) -> Exit:
        """Report, then files, then the steps."""
        plan = self._planned()
        self._report(plan)
        if folder is not None:
            self._write(plan, folder)
        if plan.refused:
            return self.session.refuse(plan.refused)
        if applies:
            return self._apply(plan)
        if folder is None and plan.steps and not self.session.flags.output:
            self._note("nothing is written: --write DIR makes files of it, --apply does it")
        return self._verdict(plan)

    def _planned(self) -> MovePlan:
        from issuer_job.issuers.options import OptionsError

        try:
            return self.way.plan()
        except OptionsError as problem:
            raise CommandError(str(problem), Exit.NO) from None

    def _verdict(self, plan: MovePlan) -> Exit:
        ordered = any(row.will_be is WillBe.ORDERS for row in plan.rows)
        return Exit.NO if ordered and not self.asked.orders else Exit.DONE

    def _apply(self, plan: MovePlan) -> Exit:
        from issuer_job.migrate.carry.apply import Hands, Stopped

        writer = self.writer
        really = writer.dry_run is DryRun.NONE
        for _ in range(ROUNDS):
            hands = Hands(
                self.session.cluster if writer.dry_run is DryRun.CLIENT else writer.cluster,
                test=self._tested,
                say=self._say,
                patience=self.timeout,
                expected=frozenset((row.namespace, row.secret_name) for row in plan.rows if row.moves),
                writes=writer.dry_run is not DryRun.CLIENT,
                waits=really,
                suffix=writer.dry_run.suffix,
                sleep=self.session.surroundings.sleep,
                clock=self.session.surroundings.clock,
            )
            try:
                hands.carry_out(plan)
            except Stopped as problem:
                for line in problem.lines:
                    self._note(line)
                return Exit.NO
            if not plan.steps or not really:
                break
            plan = self._planned()
        if plan.steps and really:
            return self.session.refuse("something changes what is moved: run it again")
        self._note(self.way.done)
        return self._verdict(plan)

    def _tested(self, name: str) -> list[str]:
        """Has the issuer's Job test it; what is wrong, and how to bring what it lacks."""
        from issuer_job.checks.command import IssuerCommand
        from issuer_job.migrate.carry.written import credential_lines

        said: list[str] = []
        around = self.session.surroundings
        test = IssuerCommand(
            cluster=self.session.cluster, name=name, clock=around.now, sleep=around.sleep, say=said.append
        )
        if test.check() is v.ExitCode.DONE:
            return []
        made = next((issuer for issuer in self._planned().issuers if issuer.name == name), None)
        lines = list(credential_lines(made)) if made is not None else []
        if lines:
            said.append("if it lacks what is secret, these lines copy that, without showing it; then run this again:")
        return said + [part for line in lines for part in line.split("\n")]

    def _say(self, line: str) -> None:
        self.session.terminal.line(line)
        self.writer.tell_warnings()

    def _note(self, line: str) -> None:
        self.session.terminal.note(line)

    def _write(self, plan: MovePlan, folder: Path) -> None:
        from issuer_job.migrate.carry.written import files_of

        files = files_of(plan)
        for path, text in files.items():
            where = folder / path
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_text(text)
            if where.suffix == ".sh":
                where.chmod(0o755)
        self._note(f"{len(files)} files in {folder}")

    def _report(self, plan: MovePlan) -> None:
        from issuer_job.cli.out import forms

        form = self.session.flags.output
        if form in {"json", "yaml"}:
            from issuer_job.cli.moving.document import report

            forms.print_document(self.session.terminal, report(plan.rows, self.session.now), form)
        elif form == "name":
            forms.print_names(self.session.terminal, (f"secret/{row.secret_name}" for row in plan.rows))
        elif plan.rows:
            self.session.terminal.table(HEADERS, map(_cells, plan.rows))
            self._note(_summed_up(plan.rows))
        else:
            self._note(self.way.nothing)
        for note in plan.notes:
            self._note(f"note: {note}")


def _cells(row: MoveRow) -> list[Part]:
    will_be = Cell(str(row.will_be), _STYLES.get(row.will_be, Style.PLAIN))
    return [row.namespace, row.secret_name, row.asker, row.now_from, will_be, row.why]


def _summed_up(rows: Sequence[MoveRow]) -> str:
    return f"{len(rows)} certificate{'s' * (len(rows) != 1)}: {', '.join(_counted(rows))}"


def _counted(rows: Sequence[MoveRow]) -> Iterator[str]:
    counts = Counter(row.will_be for row in rows)
    return (f"{counts[each]} {each}" for each in WillBe if counts[each])
