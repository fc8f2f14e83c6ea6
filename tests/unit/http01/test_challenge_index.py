"""The responder's index: what is read from ConfigMaps, and which token has which holder."""

from __future__ import annotations

import pytest

from issuer_job.cluster.api import Json
from issuer_job.http01.challenge_index import ChallengeIndex, Challenges, read_challenges

TOKEN = "t" * 22
THUMBPRINT = "h" * 43


def configmap(data: dict[str, str] | None, uid: str = "u1") -> Json:
    return {"metadata": {"name": "challenge-x", "uid": uid}, "data": data}


def challenges(uid: str, *tokens: str) -> Challenges:
    return Challenges(uid, uid, {token: f"{token}.{uid}" for token in tokens})


@pytest.mark.parametrize("token", ["t" * 22, "t" * 128, "Aa0_-" * 5])
def test_valid_entries_are_read(token: str) -> None:
    found = read_challenges(configmap({token: f"{token}.{THUMBPRINT}"}))
    assert found == Challenges("u1", "challenge-x", {token: f"{token}.{THUMBPRINT}"})


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("t" * 21, f"{'t' * 21}.{THUMBPRINT}"),
        ("t" * 129, f"{'t' * 129}.{THUMBPRINT}"),
        (TOKEN[:-1] + "/", f"{TOKEN[:-1]}/.{THUMBPRINT}"),
        (TOKEN, f"{TOKEN}.{THUMBPRINT}\n"),
        (TOKEN, f"{TOKEN}.{THUMBPRINT[1:]}"),
        (TOKEN, f"{TOKEN}.{THUMBPRINT}."),
        (TOKEN, f"{'x' * 22}.{THUMBPRINT}"),
        (TOKEN, "<script>"),
        (TOKEN, ""),
    ],
)
def test_invalid_entries_are_counted_and_left_out(token: str, value: str) -> None:
    found = read_challenges(configmap({token: value}))
    assert (dict(found.tokens), found.invalid) == ({}, 1)


def test_a_configmap_without_data() -> None:
    assert read_challenges(configmap(None)).tokens == {}


def test_too_many_entries_are_cut() -> None:
    tokens = [f"{number:022}" for number in range(5)]
    found = read_challenges(configmap({token: f"{token}.{THUMBPRINT}" for token in tokens}), limit=3)
    assert (list(found.tokens), found.cut) == (tokens[:3], 2)


def test_a_token_lives_until_its_last_holder_goes() -> None:
    index = ChallengeIndex()
    index.put(challenges("u1", "a", "b"))
    index.put(challenges("u2", "a"))
    assert index.lookup("a") == "a.u2"
    index.drop("u2")
    assert index.lookup("a") == "a.u1"
    index.drop("u1")
    index.drop("u1")
    assert (index.lookup("a"), index.lookup("b"), len(index)) == (None, None, 0)


def test_put_replaces_what_a_configmap_held() -> None:
    index = ChallengeIndex()
    index.put(challenges("u1", "a", "b"))
    index.put(challenges("u1", "b", "c"))
    assert [index.lookup(token) for token in "abc"] == [None, "b.u1", "c.u1"]
    assert len(index) == 2


def test_replace_forgets_everything_else() -> None:
    index = ChallengeIndex()
    index.put(challenges("u1", "a"))
    index.replace([challenges("u2", "b")])
    assert [index.lookup(token) for token in "ab"] == [None, "b.u2"]


def test_the_total_is_bounded_and_room_comes_back() -> None:
    index = ChallengeIndex(limit=3)
    assert index.put(challenges("u1", "a", "b")) == 0
    assert index.put(challenges("u2", "c", "d", "e")) == 2
    assert [index.lookup(token) for token in "cde"] == ["c.u2", None, None]
    index.drop("u1")
    assert len(index) == 1
    assert index.put(challenges("u3", "f", "g")) == 0
    assert [index.lookup(token) for token in "afg"] == [None, "f.u3", "g.u3"]
