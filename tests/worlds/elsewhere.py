"""Run by `tests/unit/test_elsewhere.py` in an interpreter of its own, whose environment says certjob's namespace.

The first sweep has all that an installation needs; an Ingress is launched, its Job runs, and sweeps come by. Prints
as JSON what that has asked for, and what is named after the namespace.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

from certs.chain import dns_names, parse_chain
from issuer_job import vocabulary as v
from issuer_job.cluster import refusals
from issuer_job.cluster.api import JOBS, SECRETS
from issuer_job.upkeep.bootstrap import bootstrap
from tests.fakes.at_hand import acme_at_hand
from tests.worlds.job import JobWorld, assert_good_secret, ingress
from tests.worlds.sweep import passes, with_webhook
from webhook.decide_secret import WRITERS


def main(scratch: Path) -> dict[str, Any]:
    """See above."""
    with acme_at_hand() as new_ca:
        world = with_webhook(JobWorld(scratch, *new_ca()))
        bootstrap(world.cluster)
        world.apply(ingress())
        assert world.run() is v.ExitCode.DONE
        passes(world, 2)
    assert_good_secret(world)
    (job,) = world.api.all(JOBS)
    serving = world.api.stored(SECRETS, v.NAMESPACE, v.WEBHOOK_TLS_SECRET)
    assert serving is not None
    paths = [request.path.split("/namespaces/") for request in world.api.requests]
    return {
        "namespaces": sorted({parts[1].partition("/")[0] for parts in paths if len(parts) > 1}),
        "bodies": [request.body for request in world.api.requests],
        "job": job["metadata"],
        "orders": len(world.ca.ordered),
        "serving": dns_names(parse_chain(b64decode(serving["data"]["tls.crt"]))[0]),
        "users": [*sorted(WRITERS), refusals.exempt()],
        "excluded": [name for name in ("certjob", "kube-system", "shop", v.NAMESPACE) if v.is_excluded(name)],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
