"""Keeps a ChallengeIndex equal to the challenge ConfigMaps of the namespace.

What comes in at the challenge port never asks the API server. Where a watch is frozen (see `cluster.following`) this
responder says 404 to new tokens, and still answers deleted ones, which harms nobody. A Job asks each responder before
it tells the CA, and waits for one that says 404 longer than that.
"""

from __future__ import annotations

from collections.abc import Iterable

from issuer_job import log
from issuer_job.cluster.api import CONFIGMAPS, Cluster, Json
from issuer_job.cluster.following import Follower, Timing
from issuer_job.http01.challenge_index import ChallengeIndex, Challenges, read_challenges
from issuer_job.vocabulary import CHALLENGE, NAMESPACE

SELECTOR = f"{CHALLENGE}=true"


class ChallengeWatch(Follower):
    """List and watch of the challenge ConfigMaps. The index keeps answering while the API server is away."""

    def __init__(self, cluster: Cluster, index: ChallengeIndex, *, timing: Timing | None = None) -> None:
        super().__init__(cluster, CONFIGMAPS, NAMESPACE, _IndexKeeper(index), labels=SELECTOR, timing=timing)
        self.index = index


class _IndexKeeper:
    def __init__(self, index: ChallengeIndex) -> None:
        self._index = index

    def replace(self, objects: Iterable[Json]) -> None:
        found = [_read(configmap) for configmap in objects]
        _warn_full(self._index.replace(found))
        log.info("challenges-listed", configmaps=len(found), tokens=len(self._index))

    def put(self, changed: Json) -> None:
        _warn_full(self._index.put(_read(changed)))

    def drop(self, gone: Json) -> None:
        self._index.drop(gone["metadata"]["uid"])


def _read(configmap: Json) -> Challenges:
    challenges = read_challenges(configmap)
    if challenges.invalid or challenges.cut:
        log.warning("challenges-ignored", configmap=challenges.name, invalid=challenges.invalid, cut=challenges.cut)
    return challenges


def _warn_full(left_out: int) -> None:
    if left_out:
        log.error("index-full", left_out=left_out)
