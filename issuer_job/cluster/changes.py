"""Compare-and-swap: the one way to change an object that others may be changing at the same moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar, cast

from issuer_job.cluster.api import AlreadyExists, Cluster, Conflict, Json, KubeError, NotFound, Resource

ROUNDS = 20
"""How often a change is tried that others keep coming in between of."""
AT_ONCE = 3
"""Rounds without a pause: usually there was one other, who has written what he wanted."""
LONGEST_PAUSE = 0.05
"""Seconds; each pause is a random part of it, so that many who write one object come one after the other."""

J = TypeVar("J", bound=Json | None)


class Unread(Enum):
    """Stands for an object that has not been read yet."""

    UNREAD = "unread"


UNREAD = Unread.UNREAD


@dataclass(frozen=True)
class Change(Generic[J]):
    """The object that the last word was based on, and what is stored now. Where nothing was written, the same."""

    before: Json | None
    after: J

    @property
    def written(self) -> bool:
        """Whether it was created, replaced or deleted."""
        return self.after is not self.before


def change(
    cluster: Cluster,
    resource: Resource,
    namespace: str | None,
    name: str,
    edit: Callable[[Json | None], J],
    *,
    held: Json | Unread | None = UNREAD,
    what: str = "",
    sleep: Callable[[float], None] = time.sleep,
) -> Change[J]:
    """Make the object what `edit` says, whoever else writes it: read, decided and written anew until nobody did.

    `edit` says what it shall be, given a copy of what it is, which may be changed and returned; None stands for no
    object. It decides anew each time it is called, and what it raises ends the change.
    `held` is the object as it was read before, or None if it may well not exist: that saves the first read. `what`
    tells people what it is. Raises KubeError, which says what keeps changing after `ROUNDS`.
    """
    for count in range(ROUNDS):
        if count >= AT_ONCE:
            sleep(LONGEST_PAUSE * random.random())  # noqa: S311 - jitter
        if held is UNREAD:
            held = cluster.find(resource, namespace, name)
        wanted = edit(deepcopy(held))
        if wanted == held:
            return Change(held, cast(J, held))
        done = swap(cluster, resource, namespace, held, wanted)
        if done is not None:
            return done
        held = UNREAD
    raise KubeError(f"{what or f'{resource.plural} {name}'} keeps changing")


def swap(
    cluster: Cluster, resource: Resource, namespace: str | None, held: Json | None, wanted: J
) -> Change[J] | None:
    """Put `wanted` in the place of exactly the object that is `held`, once; None if that one is not there any more.

    Of `held` only the metadata is needed: name, uid and resourceVersion. Raises KubeError.
    """
    after: Json | None = None
    try:
        if held is None and wanted is not None:
            after = cluster.create(resource, namespace, wanted)
        elif held is not None:
            name, uid, version = (held["metadata"][key] for key in ("name", "uid", "resourceVersion"))
            if wanted is None:
                cluster.delete(resource, namespace, name, uid=uid, resource_version=version)
            else:
                metadata = wanted["metadata"] | {"uid": uid, "resourceVersion": version}
                after = cluster.update(resource, namespace, wanted | {"metadata": metadata})
    except AlreadyExists:
        return None
    except (Conflict, NotFound):
        if held is None:
            raise  # of a create: a quota is busy, or the namespace is gone
        return None
    return Change(held, cast(J, after))
