"""Fixtures of the end-to-end tests, run inside the local cluster: `tests/cluster/run .venv/bin/pytest tests/e2e`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from functools import cache

import kubernetes.client.rest  # noqa: F401 - threads that import it first, all at once, get half of it
import pytest

from issuer_job import vocabulary
from tests.e2e.api import Api, Endpoint, NewNamespace, canary, kubectl, path, wait_for
from tests.e2e.api import admin as administrator
from tests.e2e.site import NewSite, sites_behind_proxies
from tests.e2e.sweeps import sweeps_suspended
from tests.worlds.signals import as_at_a_terminal

as_at_a_terminal()


@pytest.fixture(scope="session")
def cluster() -> Iterator[tuple[Endpoint, Api]]:
    """The API server's address and its administrator."""
    endpoint, api = administrator()
    yield endpoint, api
    api.close()


@pytest.fixture(scope="session")
def admin(cluster: tuple[Endpoint, Api]) -> Api:
    """The administrator."""
    return cluster[1]


@pytest.fixture(scope="session")
def identity(cluster: tuple[Endpoint, Api]) -> Iterator[Callable[[str], Api]]:
    """Gives the API client of one of certjob's service accounts, once the policies are in force."""
    made: list[Api] = []

    @cache
    def of(service_account: str, uid: str) -> Api:
        """By the account's uid too: a token is void once the account was made anew, as an installation does."""
        token = kubectl("create", "token", service_account, "-n", vocabulary.NAMESPACE, "--duration=3h").strip()
        made.append(Api(cluster[0], token))
        return made[-1]

    def give(service_account: str) -> Api:
        found = cluster[1].call("GET", path("serviceaccounts", vocabulary.NAMESPACE, service_account))
        return of(service_account, found.json["metadata"]["uid"])

    try:
        wait_for(
            lambda: vocabulary.CANARY_DENIAL in canary(give("job")).text,
            what="the admission policies refuse the canary (installed? tests/cluster/install)",
        )
        yield give
    finally:
        for api in made:
            api.close()


@pytest.fixture(scope="session")
def new_namespace(admin: Api) -> Iterator[NewNamespace]:
    """Makes namespaces of a tenant; all are deleted at the end of the session."""
    made: list[str] = []

    def make(prefix: str = "e2e", **labels: str) -> str:
        name = f"{prefix}-{secrets.token_hex(4)}"
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        answer = admin.call("POST", path("namespaces"), body)
        assert answer.status == 201, answer
        made.append(name)
        return name

    yield make
    for name in made:
        admin.call("DELETE", path("namespaces", None, name), propagationPolicy="Background")


@pytest.fixture
def namespace(new_namespace: NewNamespace) -> str:
    """A fresh namespace of a tenant."""
    return new_namespace()


@pytest.fixture(scope="module")
def new_site() -> Iterator[NewSite]:
    """Makes issuers behind fault proxies; they go at the end, and with them what is known of their accounts."""
    with sites_behind_proxies() as make:
        yield make


@pytest.fixture(scope="module")
def no_sweeps() -> Iterator[None]:
    """No scheduled sweep passes by: for attempts that run in the test, whose Jobs a sweep would miss."""
    with sweeps_suspended():
        yield
