"""`make peers`: certjob at ACME servers that others wrote, every case at each, and an hour of short certificates.

Prints a table, and writes what was tried into that of docs/acme-servers.md.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from issuer_job.cluster.api import KubeError
from tests.e2e.observe import cluster, namespace
from tests.e2e.peers.acme2certifier import Acme2certifier
from tests.e2e.peers.caddy import Caddy
from tests.e2e.peers.cases import CASES, Case, ServerCannot
from tests.e2e.peers.place import place
from tests.e2e.peers.server import Server, running
from tests.e2e.peers.step_ca import StepCa
from tests.load import lifecycle
from tests.load.soak import Certificates, Every

PAGE = Path(__file__).resolve().parents[2] / "docs/acme-servers.md"
HEADING = "## What was tried"
KINDS: Mapping[str, type[Server]] = {kind.name: kind for kind in (StepCa, Caddy, Acme2certifier)}
SHORT = "certificates of 15 minutes"
HOUR = 60.0
FAILS = "**fails**"
LOOK_SECONDS = 5.0
SHORT_ONES = 4
APART_SECONDS = 75.0
"""From one short certificate to the next, so that their lives lie differently to the sweeps."""

Cells = dict[str, dict[str, str]]
"""By case, by server."""


def main() -> int:
    """The exit code is 1 if a case fails at a server."""
    parser = argparse.ArgumentParser(prog="make peers", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="WORDS", help="cases with these words in them")
    parser.add_argument("--server", action="append", default=[], choices=[*KINDS], help="this server")
    parser.add_argument("--minutes", type=float, default=HOUR, help="of short certificates; 0: none")
    options = parser.parse_args()
    kinds = [kind for name, kind in KINDS.items() if name in (options.server or KINDS)]
    cases = {name: case for name, case in CASES.items() if not options.only or any(w in name for w in options.only)}
    cells: Cells = {name: {} for name in [*cases, *([SHORT] if options.minutes else [])]}
    cluster()  # before the threads: made by several at once, it is made wrongly
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(2 * len(kinds)) as pool:
        root = Path(directory)
        tasks = [pool.submit(every_case, kind, root, cases, cells) for kind in kinds]
        if options.minutes:
            tasks += [pool.submit(short_lives, kind, root, options.minutes, cells) for kind in kinds]
        for task in as_completed(tasks):
            if problem := task.exception():
                traceback.print_exception(problem)
    print(as_table(cells))
    PAGE.write_text(with_cells(PAGE.read_text(), cells))
    failed = any(cell.startswith(FAILS) for row in cells.values() for cell in row.values())
    return 1 if failed or any(task.exception() for task in tasks) else 0


@contextmanager
def space_for(kind: type[Server]) -> Iterator[str]:
    """A namespace of its own, of which nothing is left."""
    name = f"peers-{kind.name}-{secrets.token_hex(3)}"
    with lifecycle.forgotten([name]), namespace(name):
        yield name


def every_case(kind: type[Server], root: Path, cases: Mapping[str, Case], cells: Cells) -> None:
    """One after the other at one server."""
    if not cases:
        return
    with space_for(kind) as space, running(kind, root / kind.name) as server:
        for name, case in cases.items():
            start, said = time.monotonic(), ""
            with place(server, space) as where:
                cells[name][kind.name] = cell = judged(partial(case, where))
                said = "; ".join(where.said)
            if not server.runs:
                server.start()
            print(f"{kind.name}: {name}: {cell} [{time.monotonic() - start:.0f} s] {said}", flush=True)


def judged(case: Callable[[], str]) -> str:
    """What the table says of a case."""
    try:
        seen = case()
    except ServerCannot as cannot:
        return f"the server can't: {cannot}"
    except (AssertionError, KubeError, OSError, RuntimeError) as problem:
        traceback.print_exc()
        return f"{FAILS}: {' '.join(str(problem).split())[:200]}"
    return f"works ({seen})" if seen else "works"


def short_lives(kind: type[Server], root: Path, minutes: float, cells: Cells) -> None:
    """Certificates of 15 minutes with the installation's own sweeps, watched: none ever ends, none is lost."""

    def watched() -> str:
        if "short" not in kind.flavours:
            raise ServerCannot(kind.lacks["short lives"])
        with ExitStack() as stack:
            space = stack.enter_context(space_for(kind))
            server = stack.enter_context(running(kind, root / f"{kind.name}-short"))
            proxy = stack.enter_context(server.proxied("short"))
            where = stack.enter_context(place(server, space))
            issuer, seen = where.issuer(proxy=proxy), Certificates()
            end = time.monotonic() + minutes * 60
            with Every(LOOK_SECONDS, lambda: seen.look(space)):
                for _ in range(SHORT_ONES):
                    where.ask(issuer).issued(server.root_pem())
                    time.sleep(APART_SECONDS)
                time.sleep(max(end - time.monotonic(), 0))
            assert not seen.faults, dict(seen.faults)
            certificates = sum(map(len, seen.serials.values()))
            assert len(proxy.orders) == certificates, f"{len(proxy.orders)} orders for {certificates} certificates"
            return (
                f"{SHORT_ONES} for {minutes:g} minutes: {seen.renewals} renewals, an order each, "
                f"never less than {seen.least_left_seconds:.0f} s left"
            )

    cells[SHORT][kind.name] = cell = judged(watched)
    print(f"{kind.name}: {SHORT}: {cell}", flush=True)


def as_table(cells: Cells) -> str:
    """In Markdown: the cases that are known, in their order."""
    rows = [["case", *(kind.title for kind in KINDS.values())], ["---"] * (1 + len(KINDS))]
    rows += [
        [name, *(cells[name].get(server, "") for server in KINDS)] for name in [*CASES, SHORT] if cells.get(name)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def with_cells(page: str, cells: Cells) -> str:
    """The page with these cells in the table below its heading; what was not tried stays as it was."""
    before, _, rest = page.partition(f"{HEADING}\n")
    told, _, after = rest.partition("\n| ")
    table, _, tail = after.partition("\n\n")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    known: Cells = {row[0]: dict(zip(KINDS, row[1:], strict=False)) for row in rows}
    merged = {name: known.get(name, {}) | cells.get(name, {}) for name in known.keys() | cells.keys()}
    return f"{before}{HEADING}\n{told}\n{as_table(merged)}" + (f"\n{tail}" if tail else "")


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
