"""Waiting until every authoritative server of a zone has the TXT records. Bounded, and advisory: then the CA is told.

CAs ask the authoritative servers themselves, mostly from several places, so each of them counts; one that never
answers us, for instance over IPv6 where we have none, is not waited for as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from issuer_job.dns01.lookup import Address, NoAnswer, Place, Silent
from issuer_job.polling import Poll

SILENCE = timedelta(seconds=10)
"""How long a server that has not answered yet is waited for."""

Ask = Callable[[Address, str], frozenset[str]]
"""The TXT values that a server has under a name. Raises NoAnswer."""


@dataclass(frozen=True)
class Lag:
    """A server that lacks values under a name. `silent`: it did not answer at all."""

    server: Address
    name: str
    silent: bool


def wait(
    wanted: Mapping[Place, Iterable[str]],
    ask: Ask,
    *,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    deadline: datetime,
) -> list[Lag]:
    """Ask every server for every name until all have all values, quickly at first; what is missing at the end."""
    open_questions = {
        (server, place.name): set(values) for place, values in wanted.items() for server in place.servers
    }
    answered: set[Address] = set()
    started = clock()
    poll = Poll(started=started, deadline=deadline)
    given_up: list[Lag] = []
    with ThreadPoolExecutor(max_workers=16) as pool:
        while open_questions:
            silent_now: set[Address] = set()

            def one(question: tuple[Address, str], silent_now: set[Address] = silent_now) -> frozenset[str] | None:
                if question[0] in silent_now:  # not once more in this round, for another name
                    return None
                try:
                    return ask(*question)
                except Silent:
                    silent_now.add(question[0])
                except NoAnswer:
                    pass
                return None

            for question, values in zip(list(open_questions), pool.map(one, list(open_questions)), strict=True):
                if values is not None:
                    answered.add(question[0])
                    if open_questions[question] <= values:
                        del open_questions[question]
            if clock() - started >= SILENCE:
                silent = [question for question in open_questions if question[0] not in answered]
                given_up += [Lag(*question, silent=True) for question in silent]
                for question in silent:
                    del open_questions[question]
            delay = poll.delay(now=clock()) if open_questions else None
            if delay is None:
                break
            sleep(delay.total_seconds())
    return [*given_up, *(Lag(*question, silent=question[0] not in answered) for question in open_questions)]
