"""What makes the inputs: atheris, guided by the branches that they reach, where it is installed, else Hypothesis."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fuzz.mutate import mutated
from tests.fuzz.target import LARGEST, SECONDS, Budget, Target

PRODUCT = ["certs", "issuer_job", "webhook"]


@dataclass(frozen=True)
class Report:
    """What one target's run came to. `slowest` in seconds of CPU, `largest` in bytes of memory, of one input."""

    target: str
    engine: str
    inputs: int
    seconds: float
    slowest: float
    largest: int


def guided() -> bool:
    """Whether inputs can be guided by coverage here."""
    return importlib.util.find_spec("atheris") is not None


def instrument() -> None:
    """Before anything of the product is imported: count its branches."""
    import atheris

    atheris.instrument_imports(include=PRODUCT).__enter__()


def by_number(target: Target, *, inputs: int) -> Report:
    """So many inputs, the same ones each time. Raises what the target raises."""
    budget, started = Budget(target), time.monotonic()
    budget.warm_up()
    for number in range(inputs):
        chance = random.Random(number)
        budget(mutated(chance.choice(target.seeds), target.seeds, chance))
    return _report(budget, "number", time.monotonic() - started)


def by_hypothesis(target: Target, *, seconds: float, batch: int = 2000) -> Report:
    """Inputs from Hypothesis' randomness, others in each run, for so many seconds. Raises what the target raises."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    budget, started = Budget(target), time.monotonic()
    budget.warm_up()

    def one(start: bytes, chance: random.Random) -> None:
        budget(mutated(start, target.seeds, chance))

    drawn = given(st.sampled_from(target.seeds), st.randoms(use_true_random=False))(one)
    while time.monotonic() - started < seconds:
        chosen = settings(
            max_examples=batch,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        chosen(drawn)()
    return _report(budget, "Hypothesis", time.monotonic() - started)


def by_replay(target: Target, data: bytes) -> Report:
    """The one input, as it was found. Raises what the target raises."""
    budget, started = Budget(target), time.monotonic()
    budget.warm_up()
    budget(data)
    return _report(budget, "replay", time.monotonic() - started)


def by_atheris(target: Target, *, seconds: float, corpus: Path, report: Path) -> None:
    """Inputs guided by coverage, kept in `corpus`. Does not come back: the process ends, with 77 after a finding,
    which is beside the corpus then. The report is a file, written on the way.
    """
    import atheris

    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    # Counting branches costs time, too: the slowest input is judged afterwards, in a process that does not.
    budget, started = Budget(target, seconds=5 * SECONDS), time.monotonic()
    budget.warm_up()

    def note() -> None:
        write(report, _report(budget, "atheris", time.monotonic() - started))
        slowest_of(report).write_bytes(budget.worst)

    _every_second(note)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        chance = random.Random(number)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return mutated(data, target.seeds, chance)[:most]

    flags = [
        f"-max_total_time={int(seconds)}",
        f"-max_len={LARGEST}",
        "-timeout=20",
        "-rss_limit_mb=1500",
        "-print_final_stats=0",
        "-verbosity=0",
        f"-artifact_prefix={corpus.parent}/{target.name}-",
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], budget, custom_mutator=mutate)
    atheris.Fuzz()


def _report(budget: Budget, engine: str, seconds: float) -> Report:
    return Report(budget.target.name, engine, budget.inputs, seconds, budget.slowest, budget.largest)


def slowest_of(report: Path) -> Path:
    """Where the input is kept that took longest in the run of this report."""
    return report.with_suffix(".slowest")


def write(path: Path, report: Report) -> None:
    """The report as a file, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(report)))
    part.replace(path)


def read(path: Path) -> Report:
    """The report of such a file."""
    return Report(**json.loads(path.read_text()))


def _every_second(write: Callable[[], None]) -> None:
    def go_on() -> None:
        while True:
            write()
            time.sleep(1)

    threading.Thread(target=go_on, daemon=True).start()
