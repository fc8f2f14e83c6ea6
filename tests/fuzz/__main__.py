"""`make fuzz FUZZ="..."`: runs each target for --seconds (300), or for --inputs; ends with 1 if any found something.

With names only those. Inputs that were found are beside the corpus, in the folder --corpus (default: a new one);
`--replay FILE NAME` runs one of them again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.fuzz import engines
from tests.fuzz.engines import Report
from tests.fuzz.target import Target

TOGETHER = 2
"""Targets at once."""


def main() -> int:
    """The command line."""
    options = _options()
    if options.one or options.replay:
        return _one(options)
    names = options.target or [target.name for target in _targets()]
    corpus = Path(options.corpus or tempfile.mkdtemp(prefix="certjob-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    print(f"inputs are kept in {corpus}", flush=True)
    with ThreadPoolExecutor(TOGETHER) as pool:
        ended = list(pool.map(lambda name: _in_a_process(name, options, corpus), names))
    reports = [report for report, _ in ended if report]
    print(
        f"{sum(report.inputs for report in reports)} inputs, {len(reports)} of {len(names)} targets without a finding"
    )
    return int(any(code for _, code in ended))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*")
    parser.add_argument("--seconds", type=float, default=300.0, help="for each target")
    parser.add_argument("--inputs", type=int, help="so many for each target, the same ones each time")
    parser.add_argument("--corpus", default="", help="a folder that is kept and begun with")
    parser.add_argument("--replay", type=Path, help="a file with one input, for the one target that is named")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _targets() -> list[Target]:
    """Imports the product, so that coverage is to be counted before, or not at all."""
    from tests.fuzz import objects, wire

    return [*objects.targets(), *wire.targets()]


def _in_a_process(name: str, options: argparse.Namespace, corpus: Path) -> tuple[Report | None, int]:
    """Its report, and the exit code: a finding may end a process, and coverage is counted in one."""
    command = [sys.executable, "-m", "tests.fuzz", "--one", name, "--corpus", str(corpus)]
    command += ["--inputs", str(options.inputs)] if options.inputs else ["--seconds", str(options.seconds)]
    started, log = time.monotonic(), corpus / f"{name}.log"
    with log.open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    seconds, path = time.monotonic() - started, corpus / f"{name}.json"
    slowest = engines.slowest_of(path)
    if not code and slowest.is_file():  # as long as it takes where no branches are counted
        with log.open("ab") as output:
            again = [sys.executable, "-m", "tests.fuzz", "--replay", str(slowest), "--corpus", str(corpus), name]
            code = subprocess.run(again, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if code or not path.is_file():
        print(f"{name:20} FOUND SOMETHING after {seconds:.0f} s, exit code {code}: {log}", flush=True)
        print("\n".join(log.read_text(errors="replace").splitlines()[-15:]), flush=True)
        return None, code or 1
    report = engines.read(path)
    print(
        f"{name:20} {report.inputs:9} inputs in {report.seconds:5.0f} s by {report.engine:10}"
        f" slowest {report.slowest * 1000:5.1f} ms, most memory {report.largest / 2**20:5.1f} MiB",
        flush=True,
    )
    return report, 0


def _one(options: argparse.Namespace) -> int:
    guided = engines.guided() and not options.inputs and not options.replay
    if guided:
        engines.instrument()
    (target,) = (target for target in _targets() if target.name == options.target[0])
    path = Path(options.corpus) / f"{target.name}.json"
    if options.replay:
        once = engines.by_replay(target, options.replay.read_bytes())
        print(f"{once.slowest * 1000:.1f} ms, {once.largest / 2**20:.1f} MiB")
        if path.is_file():
            engines.write(path, replace(engines.read(path), slowest=once.slowest))
        return 0
    if guided:
        engines.by_atheris(target, seconds=options.seconds, corpus=Path(options.corpus) / target.name, report=path)
    if options.inputs:
        report = engines.by_number(target, inputs=options.inputs)
    else:
        report = engines.by_hypothesis(target, seconds=options.seconds)
    engines.write(path, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
