"""`make faults`: each row breaks something on the local cluster, measures, heals, and judges what it saw.

The cluster is to have nobody else. The exit code is 1 if a figure of any row was not reached.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.e2e import sweeps
from tests.load import lifecycle
from tests.load.faults import api_rows, etcd_rows, loss_rows, node_rows, version_rows, webhook_rows
from tests.load.faults.report import ROWS, Report

MODULES = (webhook_rows, api_rows, etcd_rows, loss_rows, node_rows, version_rows)
"""Imported for their rows, which run in this order."""


def main() -> int:
    """Run the rows that were asked for, one after the other."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--only", metavar="NAME,...", default="", help="these rows")
    parser.add_argument("--list", action="store_true", help="say which rows there are, and run none")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(ROWS)
    if unknown := [name for name in wanted if name not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; --list names them")
    if options.list:
        print("\n".join(f"{row.name:<22}{row.what}" for row in ROWS.values()))
        return 0
    with sweeps.sweeps_suspended():
        reports = [carry_out(name) for name in wanted]
    print()
    for report in reports:
        print(f"{'ok' if report.ok else 'NOT REACHED':<12}{report.row:<22}{report.seconds:6.0f} s")
    return 0 if all(report.ok for report in reports) else 1


def carry_out(name: str) -> Report:
    """One row; what it raises is a reach that was not reached."""
    report = Report(name)
    print(f"{name}: {ROWS[name].what}", flush=True)
    try:
        ROWS[name].run(report)
    except Exception as problem:  # noqa: BLE001 - the other rows shall have their turn
        traceback.print_exc(limit=-4)
        report.holds("ended", f"{type(problem).__name__}: {problem}"[:300], good=False)
    report.ended = time.monotonic()
    return report


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
