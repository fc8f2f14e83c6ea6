"""What tests of an issuer's account say in one line each."""

from __future__ import annotations

from issuer_job.record.record import Retry
from tests.worlds.job import JobWorld, ingress


def retry(world: JobWorld, secret: str = "web-tls") -> Retry:
    found = world.record(secret).retry
    assert found is not None
    return found


def another(world: JobWorld, number: int) -> str:
    """One more Ingress; its Secret."""
    world.apply(ingress(f"more{number}", secret=f"more{number}-tls", hosts=(f"h{number}.certjob.dev",)))
    return f"more{number}-tls"
