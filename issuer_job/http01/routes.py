"""Challenge routes: Ingresses that lead the challenge path of one host in one class to the responder.

Several records may hold one route: each with an annotation that names its epoch, and as one of its owners.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import INGRESSES, Cluster, Json, Resource
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import uses_route
from issuer_job.record.record import IngressClass, Record
from issuer_job.record.sources import RoutePlace


def route_body(record: Record, host: str, ingress_class: IngressClass, issuer: Issuer) -> Json:
    """Ingress that leads the challenge path of one host, in the user's class, to the responder."""
    annotations = v.ROUTE_ANNOTATIONS | issuer.route_annotations
    annotations[v.EPOCH_PREFIX + record.uid] = str(record.epoch)
    if ingress_class.annotation is not None:
        annotations[v.INGRESS_CLASS] = ingress_class.annotation
    backend = {"service": {"name": v.RESPONDER_SERVICE, "port": {"name": v.RESPONDER_PORT_NAME}}}
    path = {"path": v.CHALLENGE_PATH, "pathType": str(issuer.path_type), "backend": backend}
    spec: Json = {"rules": [{"host": host, "http": {"paths": [path]}}]}
    if ingress_class.field is not None:
        spec["ingressClassName"] = ingress_class.field
    name, owner = names.route(ingress_class.identity, host), record.owner_reference
    metadata = bodies.own_metadata(name, {v.ROUTE: "true"}, annotations=annotations, owner=owner)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def needed_routes(record: Record, issuer: Issuer) -> list[RoutePlace]:
    """Hosts that are proven over DNS need none, nor do those that no CA asks for."""
    return [place for place in record.routes if uses_route(issuer, place[0], place[1].name)]


def list_routes(cluster: Cluster) -> Iterator[tuple[Resource, Json]]:
    """Every route, and what it is an object of. Raises KubeError, Gone."""
    for route in cluster.items(INGRESSES, v.NAMESPACE, labels=f"{v.ROUTE}=true"):
        yield INGRESSES, route


def place_of(route: Json) -> RoutePlace | None:
    """Host and class of a route; None if somebody has made something else of it."""
    rules = (route.get("spec") or {}).get("rules") or []
    if len(rules) != 1:
        return None
    annotations = route["metadata"].get("annotations") or {}
    klass = IngressClass(field=route["spec"].get("ingressClassName"), annotation=annotations.get(v.INGRESS_CLASS))
    return rules[0].get("host", ""), klass


def create_route(cluster: Cluster, record: Record, place: RoutePlace, issuer: Issuer) -> None:
    """The first time. Raises AlreadyExists, KubeError."""
    cluster.create(INGRESSES, v.NAMESPACE, route_body(record, *place, issuer))


def join_route(cluster: Cluster, record: Record, host: str, ingress_class: IngressClass, issuer: Issuer) -> bool:
    """Make sure that the host's route exists and that this attempt holds it; whether it was written.

    Raises KubeError.
    """
    wanted = route_body(record, host, ingress_class, issuer)

    def joined(held: Json | None) -> Json:
        if held is None:
            return wanted
        return held if _epoch_on(held, record) == str(record.epoch) else _held_by(held, record)

    name, what = wanted["metadata"]["name"], f"the challenge route of {host}"
    return changes.change(cluster, INGRESSES, v.NAMESPACE, name, joined, what=what).written


def release_route(
    cluster: Cluster, record: Record, host: str, ingress_class: IngressClass, *, or_older: bool = False
) -> None:
    """Take our hold off the route if it is still this attempt's; the last holder deletes it.

    With `or_older` also if it is that of an earlier attempt of the record. Raises KubeError.
    """

    def left(held: Json | None) -> Json | None:
        epoch = None if held is None else _epoch_on(held, record)
        older = or_older and epoch is not None and names.number(epoch) <= record.epoch
        if held is None or not (older or epoch == str(record.epoch)):
            return held
        others = _other_owners(held, record)
        if not others:
            return None
        held["metadata"]["ownerReferences"] = others
        del held["metadata"]["annotations"][v.EPOCH_PREFIX + record.uid]
        return held

    name, what = names.route(ingress_class.identity, host), f"the challenge route of {host}"
    changes.change(cluster, INGRESSES, v.NAMESPACE, name, left, what=what)


def _held_by(route: Json, record: Record) -> Json:
    metadata = route["metadata"]
    metadata["ownerReferences"] = [*_other_owners(route, record), record.owner_reference]
    metadata["annotations"] = (metadata.get("annotations") or {}) | {v.EPOCH_PREFIX + record.uid: str(record.epoch)}
    return route


def _other_owners(route: Json, record: Record) -> list[Json]:
    owners: Iterable[Json] = route["metadata"].get("ownerReferences") or []
    return [owner for owner in owners if owner["name"] != record.name]


def _epoch_on(route: Json, record: Record) -> str | None:
    annotations: dict[str, str] = route["metadata"].get("annotations") or {}
    return annotations.get(v.EPOCH_PREFIX + record.uid)
