"""What several files of unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.ca import NewCa, acme_server
from tests.worlds.job import JobWorld
from tests.worlds.sweep import with_webhook


@pytest.fixture(scope="session")
def new_ca() -> Iterator[NewCa]:
    with acme_server() as fresh:
        yield fresh


@pytest.fixture
def world(new_ca: NewCa, tmp_path: Path) -> JobWorld:
    return JobWorld(tmp_path, *new_ca())


@pytest.fixture
def swept(world: JobWorld) -> JobWorld:
    """A cluster whose webhook has its certificate, so that a sweep has nothing to do."""
    return with_webhook(world)
