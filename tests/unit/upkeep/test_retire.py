"""What is given back when nobody wants a certificate any more, and what stays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
from msgspec.structs import replace

from certs.placeholder import make_placeholder
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import (
    CONFIGMAPS,
    INGRESSES,
    NAMESPACES,
    SECRETS,
    Cluster,
    Json,
    KubeError,
    Response,
    Unreachable,
)
from issuer_job.demand.ingress import named_secrets
from issuer_job.http01 import routes
from issuer_job.http01.solver import challenge_body
from issuer_job.issue.obtaining.pending_key import pending_secret
from issuer_job.issuers.schema import Issuer
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Phase, Record
from issuer_job.record.store import from_config_map, to_config_map
from issuer_job.tenant_secrets.access import Look
from issuer_job.tenant_secrets.bodies import placeholder_secret, tls_secret
from issuer_job.upkeep import retire
from tests.fakes.api import FakeApi
from tests.fakes.policies import FakePolicies
from tests.worlds.job import ingress
from tests.worlds.samples import NOW, source

ISSUER = Issuer(server="https://ca.dev/dir")
MINUTE = timedelta(minutes=1)
HOSTS = ("a.certjob.dev", "b.certjob.dev")


@dataclass
class Dying(FakeApi):
    """After so many requests that write nothing arrives any more: the process was killed."""

    writes_left: int = 1000

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        if method != "GET" and "dryRun" not in path:
            if self.writes_left == 0:
                raise Unreachable("killed")
            self.writes_left -= 1
        return super().send(method, path, body=body, timeout=timeout)


class World:
    """A record that has been launched twice, with everything that its attempts can leave behind."""

    def __init__(self) -> None:
        self.policies = FakePolicies()
        self.api = Dying(hooks={"secrets": self.policies.secrets})
        self.cluster = Cluster(self.api)
        made = transitions.wanted(namespace="shop", secret_name="web-tls", sources=(source(hosts=HOSTS),), now=NOW)
        early = self._store(transitions.launched(made, now=NOW, reason=LaunchReason.NEW))
        self._left_by(early, "a.certjob.dev")
        self.last = self._store(transitions.launched(early, now=NOW + MINUTE, reason=LaunchReason.SEEN_AGAIN))
        self._left_by(self.last, "b.certjob.dev")
        self.api.add(SECRETS, "shop", placeholder_secret(self.last, Look(), now=NOW))

    def orphan(self, phase: Phase = Phase.ORPHANED, **fields: object) -> Record:
        """For eleven minutes at NOW."""
        return self._store(replace(self.last, phase=phase, since=NOW - 11 * MINUTE, **fields))

    def _store(self, record: Record) -> Record:
        body = to_config_map(record)
        body["metadata"].pop("resourceVersion", None)
        return from_config_map(self.api.add(CONFIGMAPS, v.NAMESPACE, body))

    def _left_by(self, record: Record, host: str) -> None:
        klass = record.sources[0].ingress_class
        routes.join_route(self.cluster, record, host, klass, ISSUER)
        self.api.add(CONFIGMAPS, v.NAMESPACE, challenge_body(record, {"token": "key"}))
        self.api.add(SECRETS, v.NAMESPACE, pending_secret(record, b"key"))

    def record(self) -> Record:
        found = self.api.stored(CONFIGMAPS, v.NAMESPACE, self.last.name)
        assert found is not None
        return from_config_map(found)

    def left(self) -> list[str]:
        """Routes, challenges and keys in certjob's namespace."""
        of_its_own = [*self.api.all(INGRESSES, v.NAMESPACE), *self.api.all(SECRETS, v.NAMESPACE)]
        challenges = [c for c in self.api.all(CONFIGMAPS, v.NAMESPACE) if v.CHALLENGE in c["metadata"]["labels"]]
        return [item["metadata"]["name"] for item in of_its_own + challenges]

    def secret(self) -> Json | None:
        return self.api.stored(SECRETS, "shop", "web-tls")

    def nothing_happened(self) -> bool:
        return len(self.left()) == 6 and self.secret() is not None and self.record().phase is not Phase.RETIRED


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("phase", [Phase.ORPHANED, Phase.UNCONFIRMED])
def test_everything_goes_and_the_record_stays_as_a_tombstone(world: World, phase: Phase) -> None:
    orphan = world.orphan(phase)
    assert len(world.left()) == 6
    assert retire.retire(world.cluster, orphan, now=NOW)
    assert (world.left(), world.secret()) == ([], None)
    stored = world.record()
    assert (stored.phase, stored.since, stored.epoch) == (Phase.RETIRED, NOW, orphan.epoch)
    assert stored.history[:-1] == orphan.history


@pytest.mark.parametrize("tail", ["", "-x", "-99²", "-" + 30 * "9", "-٣"])
def test_a_challenge_whose_name_ends_with_no_epoch_goes_too(world: World, tail: str) -> None:
    orphan = world.orphan()
    body = challenge_body(orphan, {"token": "key"})
    body["metadata"]["name"] = f"by-hand{tail}"
    world.api.add(CONFIGMAPS, v.NAMESPACE, body)
    assert retire.retire(world.cluster, orphan, now=NOW)
    assert world.left() == []


@pytest.mark.parametrize("epoch", ["x", "²", 5000 * "9"])
def test_a_route_whose_epoch_somebody_has_edited_goes_too(world: World, epoch: str) -> None:
    orphan = world.orphan()
    edited = world.api.all(INGRESSES, v.NAMESPACE)[0]
    edited["metadata"]["annotations"][v.EPOCH_PREFIX + orphan.uid] = epoch
    world.api.add(INGRESSES, v.NAMESPACE, edited)
    assert retire.retire(world.cluster, orphan, now=NOW)
    assert world.left() == []


def test_a_record_given_without_its_history_keeps_it(world: World) -> None:
    orphan = world.orphan()
    assert retire.retire(world.cluster, replace(orphan, history=()), now=NOW)
    assert world.record().history[:-1] == orphan.history
    assert world.left() == []


@pytest.mark.parametrize("writes", range(8))
def test_killed_after_each_step_the_next_pass_finishes(world: World, writes: int) -> None:
    orphan = world.orphan()
    world.api.writes_left = writes
    with pytest.raises(KubeError):
        retire.retire(world.cluster, orphan, now=NOW)
    assert world.record() == orphan
    world.api.writes_left = 1000
    assert retire.retire(world.cluster, orphan, now=NOW)
    assert (world.left(), world.secret(), world.record().phase) == ([], None, Phase.RETIRED)


def test_the_word_is_the_last_write(world: World) -> None:
    """So the test above has tried every step."""
    orphan = world.orphan()
    world.api.requests.clear()
    retire.retire(world.cluster, orphan, now=NOW)
    writes = [r for r in world.api.requests if r.method != "GET" and "dryRun" not in r.query]
    assert len(writes) == 10
    assert (writes[-1].method, writes[-1].path.rpartition("/")[2]) == ("PUT", orphan.name)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"since": NOW - 9 * MINUTE}, "nine minutes"),
        ({"phase": Phase.WAITING}, "wanted"),
        ({"phase": Phase.RETIRED}, "done"),
        ({"phase": Phase.AUTHORIZING}, "at work"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_to_be_retired_is_left_alone(world: World, fields: dict[str, object], why: str) -> None:
    orphan = world._store(replace(world.orphan(), **fields))
    assert not retire.retire(world.cluster, orphan, now=NOW)
    assert len(world.left()) == 6


def test_a_record_that_changed_since_it_was_listed_is_left_alone(world: World) -> None:
    orphan = world.orphan()
    world.orphan(generation=7)
    assert not retire.retire(world.cluster, orphan, now=NOW)
    assert world.nothing_happened()


def test_a_record_that_is_gone(world: World) -> None:
    orphan = world.orphan()
    world.api.remove(CONFIGMAPS, v.NAMESPACE, orphan.name)
    assert not retire.retire(world.cluster, orphan, now=NOW)
    assert world.secret() is not None


def test_an_ingress_that_came_back_keeps_everything(world: World) -> None:
    world.api.add(INGRESSES, "shop", ingress())
    assert not retire.retire(world.cluster, world.orphan(), now=NOW)
    assert world.nothing_happened()


def test_an_ingress_opted_in_by_its_namespace_keeps_everything(world: World) -> None:
    world.api.add(INGRESSES, "shop", ingress(annotations={v.TLS_ACME: ""}))
    world.api.add(NAMESPACES, None, {"metadata": {"name": "shop", "labels": {v.NAMESPACE_ENABLED: "true"}}})
    assert not retire.retire(world.cluster, world.orphan(), now=NOW)
    assert world.nothing_happened()


@pytest.mark.parametrize(
    ("body", "names_it"),
    [
        (ingress(), True),
        (ingress(annotations={v.ISSUER: "no-such-issuer"}), True),
        (ingress(hosts=("under_score.dev",)), True),
        (ingress(annotations={v.TLS_ACME: "false"}), False),
        (ingress(secret="other-tls"), False),
        (ingress(deletionTimestamp="2026-05-05T10:00:00Z"), False),
    ],
    ids=["names it", "broken issuer", "bad host", "opted out", "other Secret", "being deleted"],
)
def test_which_ingress_names_a_secret(body: Json, names_it: bool) -> None:
    assert ("web-tls" in named_secrets(body, namespace_enabled=True)) is names_it


def test_without_opt_in_nothing_is_named() -> None:
    body = ingress(annotations={v.TLS_ACME: ""})
    assert "web-tls" not in named_secrets(body, namespace_enabled=False)


def test_an_issued_certificate_stays(world: World) -> None:
    made = make_placeholder(HOSTS, now=NOW)
    body = tls_secret(
        world.last, Look(), v.SecretState.ISSUED, chain_pem=made.cert_chain_pems,
        key_pem=made.key_pem, issuer="le", not_after=NOW, further={},
    )  # fmt: skip
    before = world.api.add(SECRETS, "shop", body)
    assert retire.retire(world.cluster, world.orphan(), now=NOW)
    assert world.secret() == before
    assert world.left() == []


@pytest.mark.parametrize("data", [{"tls.crt": "", "tls.key": ""}, {"tls.crt": "bm8gUEVN", "tls.key": ""}, None])
def test_what_the_owner_put_into_the_placeholder_stays(world: World, data: dict[str, str] | None) -> None:
    placeholder = world.secret()
    assert placeholder is not None
    own = world.api.add(SECRETS, "shop", placeholder | {"data": data})
    assert retire.retire(world.cluster, world.orphan(), now=NOW)
    assert world.secret() == own


def test_a_foreign_secret_stays(world: World) -> None:
    placeholder = world.secret()
    assert placeholder is not None
    placeholder["metadata"]["labels"] = {}
    foreign = world.api.add(SECRETS, "shop", placeholder)
    assert retire.retire(world.cluster, world.orphan(), now=NOW)
    assert world.secret() == foreign


def test_nothing_is_concluded_while_the_policies_are_not_in_force(world: World) -> None:
    orphan = world.orphan()
    world.policies.look = False
    with pytest.raises(KubeError, match="certjob-look"):
        retire.retire(world.cluster, orphan, now=NOW)
    assert world.record() == orphan


def test_just_the_placeholder_that_was_looked_at_is_deleted(world: World) -> None:
    placeholder = world.secret()
    assert placeholder is not None
    retire.retire(world.cluster, world.orphan(), now=NOW)
    deleted = [r.body for r in world.api.requests if r.method == "DELETE" and r.path.endswith("/web-tls")]
    seen = {key: placeholder["metadata"][key] for key in ("uid", "resourceVersion")}
    assert [body["preconditions"] for body in deleted if body] == [seen]


def test_a_later_attempts_route_stays(world: World) -> None:
    """Launched again while this was under way: the hold is not ours any more."""
    orphan = world.orphan()
    again = transitions.launched(orphan, now=NOW + 30 * MINUTE, reason=LaunchReason.SEEN_AGAIN)
    routes.join_route(world.cluster, again, "a.certjob.dev", again.sources[0].ingress_class, ISSUER)
    retire.retire(world.cluster, orphan, now=NOW)
    assert [item["spec"]["rules"][0]["host"] for item in world.api.all(INGRESSES)] == ["a.certjob.dev"]


def test_an_inherited_key_goes_too(world: World) -> None:
    name = names.pending_key(world.last.uid, 1)
    world.api.add(SECRETS, v.NAMESPACE, {"metadata": {"name": name}})
    attempt = replace(transitions.attempt_of(world.last), pending_key=name)
    assert retire.retire(world.cluster, world.orphan(attempt=attempt), now=NOW)
    assert world.left() == []


def test_a_tombstone_is_forgotten_as_it_was_read(world: World) -> None:
    retired = world.orphan(Phase.RETIRED)
    assert retire.forget(world.cluster, retired)
    assert world.api.stored(CONFIGMAPS, v.NAMESPACE, retired.name) is None
    body = world.api.requests[-1].body
    assert body is not None
    assert body["preconditions"] == {"uid": retired.uid, "resourceVersion": retired.resource_version}


def test_a_tombstone_that_was_wanted_again_is_kept(world: World) -> None:
    retired = world.orphan(Phase.RETIRED)
    world.orphan(Phase.LAUNCHED)
    assert not retire.forget(world.cluster, retired)
    assert world.record().phase is Phase.LAUNCHED


def test_only_a_tombstone_is_forgotten(world: World) -> None:
    assert not retire.forget(world.cluster, world.orphan())
    assert world.nothing_happened()
