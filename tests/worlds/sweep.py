"""Sweeps of a JobWorld, and what unit tests of them look at."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta

from certs.keys import key_to_pem
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, MUTATING_WEBHOOKS, SECRETS, Json
from issuer_job.issuers.state import ORDERS
from issuer_job.record import transitions
from issuer_job.record.record import Record
from issuer_job.record.store import to_config_map
from issuer_job.sweep import sweep
from tests.fakes.certs_ca import FakeCA, new_key, pem
from tests.fakes.store import Change
from tests.worlds.job import COMPANY, HOST, JobWorld, ingress
from tests.worlds.samples import PROBLEM

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def with_webhook(world: JobWorld) -> JobWorld:
    """With the webhook's configuration, and its certificate made."""
    webhooks = [{"name": "annotated.certjob.io", "clientConfig": {"service": {"name": v.WEBHOOK_SERVICE}}}]
    world.api.add(MUTATING_WEBHOOKS, None, {"metadata": {"name": v.WEBHOOK_CONFIGURATION}, "webhooks": webhooks})
    run(world)
    return world


def run(
    world: JobWorld,
    *,
    seconds: float = 60,
    interval: timedelta = 5 * MINUTE,
    sleep: Callable[[float], None] = lambda seconds: None,
) -> v.ExitCode:
    """One pass."""
    deadline = time.monotonic() + seconds
    return sweep.sweep(
        world.cluster,
        deadline=deadline,
        interval=interval,
        clock=world.clock.read,
        sleep=sleep,
        looker=world.looker,
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
    """Rises with everything that is really written, but for what was ordered since the pass before: see `counts`."""
    return len([change for change in world.api._store.history if not _counts_only(change)])


def counts(world: JobWorld) -> int:
    """How often the orders of an issuer were counted, or entered."""
    return len([change for change in world.api._store.history if _counts_only(change)])


def _counts_only(change: Change) -> bool:
    if change.old is None or change.new is None or v.ISSUER_STATE not in change.new["metadata"].get("labels", {}):
        return False
    old, new = (
        {key: text for key, text in side["data"].items() if key != ORDERS} for side in (change.old, change.new)
    )
    return old == new


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


def change(world: JobWorld, **data: bytes) -> None:
    """The Secret's owner edits its data."""
    stored = world.api.stored(SECRETS, "shop", "web-tls")
    assert stored is not None
    encoded = {key.replace("_", "."): b64encode(value).decode() for key, value in data.items()}
    world.api.add(SECRETS, "shop", stored | {"data": stored["data"] | encoded})


def by_hand(
    world: JobWorld,
    *,
    hosts: tuple[str, ...] = (HOST,),
    life: timedelta = timedelta(days=30),
    since: timedelta = HOUR,
    signer: FakeCA = COMPANY,
) -> None:
    """The Secret's owner puts a certificate of his own there, valid `since` before the world's now and for `life`."""
    now = world.clock.read()
    certificate, key = own_certificate(hosts, now - since, now + life, signer=signer)
    change(world, tls_crt=certificate, tls_key=key)


def own_certificate(
    hosts: tuple[str, ...], start: datetime, end: datetime, *, signer: FakeCA = COMPANY
) -> tuple[bytes, bytes]:
    """A chain and its key."""
    key = new_key()
    return pem(signer.issue(hosts, key, not_before=start, not_after=end)), key_to_pem(key)
