"""What several files of unit tests share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from issuer_job.cluster import api, changes
from tests.fakes.at_hand import acme_at_hand
from tests.fakes.ca import NewCa
from tests.worlds.job import JobWorld
from tests.worlds.signals import as_at_a_terminal
from tests.worlds.sweep import with_webhook

as_at_a_terminal()


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector shall not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def new_ca() -> Iterator[NewCa]:
    with acme_at_hand() as fresh:
        yield fresh


@pytest.fixture
def world(new_ca: NewCa, tmp_path: Path) -> JobWorld:
    return JobWorld(tmp_path, *new_ca())


@pytest.fixture
def swept(world: JobWorld) -> JobWorld:
    """A cluster whose webhook has its certificate, so that a sweep has nothing to do."""
    return with_webhook(world)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pauses who finds that others write the same object, or create objects in the same namespace."""
    monkeypatch.setattr(changes, "LONGEST_PAUSE", 0.0)
    monkeypatch.setattr(api, "QUOTA_PAUSES", [0.0] * len(api.QUOTA_PAUSES))
