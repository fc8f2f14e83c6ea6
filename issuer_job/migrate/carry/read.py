"""Reads what a plan is made of. Of Secrets no more than metadata is asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, NAMESPACES, SECRETS, Cluster, Json, NotFound, Resource
from issuer_job.demand.askers import Asker
from issuer_job.demand.ingress import from_list, served_secrets
from issuer_job.hosts.at_sweep import Holders, read_claims
from issuer_job.hosts.precedence import Namers
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import read_options
from issuer_job.issuers.state import CHECK_RESULT, CHECKED_VERSION, READY, IssuerState
from issuer_job.issuers.types import directory_of
from issuer_job.migrate.others.cert_manager import CERTIFICATES, CLUSTER_ISSUERS, ISSUERS, read_certificate
from issuer_job.migrate.others.cm_controller import Controller, controller_of, is_controller
from issuer_job.migrate.others.cm_issuers import read_issuer
from issuer_job.migrate.others.kube_lego import KubeLego, config_maps_of, is_kube_lego, kube_lego_of
from issuer_job.migrate.plans.cm_targets import CertManager
from issuer_job.migrate.plans.estate import Estate, Key
from issuer_job.migrate.plans.steps import DEPLOYMENTS
from issuer_job.record.phases import SWEEP_INTERVAL
from issuer_job.record.record import Record, RecordError, SourceKind
from issuer_job.record.store import from_config_map

CONFIG_KEY = "config.yaml"


def read_estate(cluster: Cluster, *, now: datetime, named: Collection[Key] = ()) -> Estate:
    """What is there of certjob's and of the users'; `named` are Secrets besides those that Ingresses serve.

    Raises KubeError, OptionsError.
    """
    namespaces = list(cluster.items(NAMESPACES))
    ingresses = list(cluster.items(INGRESSES, read=from_list))
    secrets = {_key(each): each for each in cluster.items(SECRETS, fields=f"type={v.TLS_SECRET_TYPE}")}
    served = {(each["metadata"]["namespace"], name) for each in ingresses for name in served_secrets(each)}
    options = read_options(cluster)
    issuers = Issuers.from_config_maps(_labelled(cluster, v.ISSUER))
    states = {each["metadata"]["name"]: each for each in _labelled(cluster, v.ISSUER_STATE)}
    namers = Namers()
    for each in ingresses:
        namers.add(Asker(SourceKind.INGRESS, each))
    holders = Holders(options, namers, now, whole=True)
    for claim in read_claims(cluster):
        holders.add(claim)
    holders.made.update(
        (each["metadata"]["name"], datetime.fromisoformat(each["metadata"]["creationTimestamp"]))
        for each in namespaces
    )

    def state(name: str, directory: str) -> IssuerState:
        return IssuerState(name, directory, states.get(names.issuer_state(name, directory)))

    known = {name: state(name, directory_of(issuer)) for name, issuer in issuers.valid.items()}
    return Estate(
        now=now,
        interval=min((each.interval for each in known.values()), default=SWEEP_INTERVAL),
        holders=holders,
        issuers=replace(issuers, aliases=options.cert_manager_annotations),
        options=options,
        ingresses=tuple(ingresses),
        secrets=secrets,
        of_other_types=frozenset(_of_other_types(cluster, (served | set(named)) - secrets.keys())),
        records={(one.namespace, one.secret_name): one for one in _records(cluster)},
        ready=frozenset(name for name, one in known.items() if _is_ready(one, issuers)),
        enabled=frozenset(each["metadata"]["name"] for each in namespaces if _is_enabled(each)),
        signers=lambda name, directory: state(name, directory).signers,
    )


def read_cert_manager(cluster: Cluster) -> CertManager:
    """What it has. Raises KubeError."""
    certificates = map(read_certificate, _if_known(cluster, CERTIFICATES))
    issuers = map(read_issuer, (*_if_known(cluster, ISSUERS), *_if_known(cluster, CLUSTER_ISSUERS)))
    return CertManager(
        tuple(each for each in certificates if each is not None),
        {each.key: each for each in issuers if each is not None},
        read_controller(cluster),
    )


def read_controller(cluster: Cluster) -> Controller | None:
    """cert-manager's own Deployment; of several the first by namespace and name. Raises KubeError."""
    found = next((each for each in cluster.items(DEPLOYMENTS) if is_controller(each)), None)
    if found is None:
        return None
    namespace = found["metadata"]["namespace"]
    pod = found.get("spec", {}).get("template", {}).get("spec", {})
    mounted = {str((volume.get("configMap") or {}).get("name", "")) for volume in pod.get("volumes") or ()}
    texts: dict[str, str] = {}
    for name in sorted(mounted - {""}):
        config = cluster.find(CONFIGMAPS, namespace, name)
        text = ((config or {}).get("data") or {}).get(CONFIG_KEY)
        texts |= {name: text} if text is not None else {}
    return controller_of(found, texts)


def read_kube_lego(cluster: Cluster) -> KubeLego | None:
    """kube-lego's Deployment, with its variables; of several the first by namespace and name. Raises KubeError."""
    found = next((each for each in cluster.items(DEPLOYMENTS) if is_kube_lego(each)), None)
    if found is None:
        return None
    namespace, texts = found["metadata"]["namespace"], {}
    for name in sorted(config_maps_of(found)):
        config = cluster.find(CONFIGMAPS, namespace, name)
        texts[name] = (config or {}).get("data") or {}
    return kube_lego_of(found, texts)


def _if_known(cluster: Cluster, resource: Resource) -> Iterator[Json]:
    """None where the cluster has no such resource."""
    try:
        yield from cluster.items(resource)
    except NotFound:
        return


def _labelled(cluster: Cluster, label: str) -> Iterator[Json]:
    return cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{label}=true")


def _records(cluster: Cluster) -> Iterator[Record]:
    for config_map in _labelled(cluster, v.RECORD):
        try:
            yield from_config_map(config_map)
        except RecordError:
            continue  # `status` shows it


def _of_other_types(cluster: Cluster, keys: Iterable[Key]) -> Iterator[Key]:
    return (key for key in keys if cluster.find(SECRETS, *key) is not None)


def _is_ready(state: IssuerState, issuers: Issuers) -> bool:
    tested = state.data.get(CHECKED_VERSION) == issuers.version(state.issuer)
    return tested and state.data.get(CHECK_RESULT) == READY


def _is_enabled(namespace: Mapping[str, Json]) -> bool:
    labels: Mapping[str, str] = namespace["metadata"].get("labels") or {}
    return labels.get(v.NAMESPACE_ENABLED) == "true"


def _key(found: Json) -> Key:
    return found["metadata"]["namespace"], found["metadata"]["name"]
