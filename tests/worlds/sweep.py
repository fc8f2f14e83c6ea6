"""Sweeps of a JobWorld, and what unit tests of them look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, MUTATING_WEBHOOKS, SECRETS, Json
from issuer_job.record import transitions
from issuer_job.record.record import Record, to_config_map
from issuer_job.sweep import sweep
from tests.worlds.job import JobWorld, ingress
from tests.worlds.samples import PROBLEM

MINUTE = timedelta(minutes=1)


def with_webhook(world: JobWorld) -> JobWorld:
    """With the webhook's configuration, and its certificate made."""
    webhooks = [{"name": "annotated.certjob.io", "clientConfig": {}}]
    world.api.add(MUTATING_WEBHOOKS, None, {"metadata": {"name": "certjob"}, "webhooks": webhooks})
    run(world)
    return world


def run(world: JobWorld, *, seconds: float = 60, interval: timedelta = 5 * MINUTE) -> v.ExitCode:
    """One pass."""
    deadline = time.monotonic() + seconds
    return sweep.sweep(
        world.cluster, deadline=deadline, interval=interval, clock=world.clock.read, looker=world.looker
    )


def passes(world: JobWorld, number: int, *, until: Callable[[], bool] = lambda: False) -> int:
    """So many passes, each five minutes after the one before; how many it took."""
    for done in range(number):
        if until():
            return done
        world.clock.ahead += 5 * MINUTE
        run(world)
    return number


def version(world: JobWorld) -> int:
    """Rises with everything that is really written."""
    return world.api._store.version


def writes_nothing(world: JobWorld) -> bool:
    """Whether a pass writes nothing at all."""
    before = version(world)
    run(world)
    return version(world) == before


def jobs(world: JobWorld) -> int:
    """How many Jobs there are, finished ones too."""
    return len(world.api.all(JOBS))


def orders(world: JobWorld) -> int:
    """How many orders the CA has ever had."""
    return len(world.ca.ordered)


def write(world: JobWorld, record: Record) -> Record:
    """Store a record as it is."""
    world.cluster.update(CONFIGMAPS, v.NAMESPACE, to_config_map(record))
    return record


def issue_one(world: JobWorld, body: Json | None = None, *, secret: str = "web-tls") -> Record:
    """Admission, Job, certificate."""
    world.apply(body or ingress())
    assert world.run(secret=secret) is v.ExitCode.DONE
    return world.record(secret)


def wait_for(world: JobWorld, secret: str = "web-tls", *, wait: timedelta = MINUTE) -> None:
    """Its attempt has failed and is to be tried again after `wait`."""
    write(world, transitions.waiting(world.record(secret), problem=PROBLEM, now=world.clock.read(), wait=wait))


def delete_ingress(world: JobWorld, name: str = "web") -> None:
    """The user deletes it."""
    world.api.remove(INGRESSES, "shop", name)


def secret_is_there(world: JobWorld, name: str = "web-tls") -> bool:
    """Whether the user's namespace holds the Secret."""
    return world.api.stored(SECRETS, "shop", name) is not None
