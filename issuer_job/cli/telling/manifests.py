"""What manifests ask certificates for: the files that `-f` names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.sight.names import Name, NameKind
from issuer_job.cli.telling.waiting import Target
from issuer_job.cluster.api import Json
from issuer_job.demand import ingress, secret
from issuer_job.demand.ingress_spec import hosts_by_secret

MOST_BYTES, MOST_OBJECTS = 8 * 1024 * 1024, 5000


def read_manifests(paths: Iterable[str]) -> Iterator[Json]:
    """The objects in files and directories (`-`: standard input), those of Lists one by one. Raises CommandError."""
    yield from islice((one for path in paths for text in _texts(path) for one in _objects(path, text)), MOST_OBJECTS)


def targets(objects: Iterable[Json], *, namespace: str, enabled: Callable[[str], bool]) -> Iterator[Target]:
    """The certificates that they ask for; those without a namespace are in `namespace`. `enabled` says whether a
    namespace opts in for all in it.
    """
    for one in objects:
        metadata = one["metadata"]
        name, where = str(metadata.get("name") or ""), str(metadata.get("namespace") or namespace)
        kind = one.get("kind")
        if name and kind == "Secret" and secret.opts_in(one):
            yield Target(where, Name(NameKind.SECRET, name, name), tuple(sorted(secret.named_hosts(one))))
        elif name and kind == "Ingress" and _asks(one, where, enabled):
            for wanted, hosts in hosts_by_secret(one).items():
                yield Target(where, Name(NameKind.SECRET, wanted, wanted), tuple(hosts))
            if not hosts_by_secret(one):
                yield Target(where, Name(NameKind.INGRESS, name, f"ingress/{name}"))


def _asks(one: Json, namespace: str, enabled: Callable[[str], bool]) -> bool:
    says_no = not ingress.opts_in(one, namespace_enabled=True)
    return not says_no and (ingress.opts_in(one) or enabled(namespace))


def _texts(path: str) -> Iterator[str]:
    try:
        if path == "-":
            yield sys.stdin.read(MOST_BYTES)
        elif Path(path).is_dir():
            for file in sorted(Path(path).iterdir()):
                if file.suffix in {".yaml", ".yml", ".json"}:
                    yield _text(file)
        else:
            yield _text(Path(path))
    except (OSError, UnicodeDecodeError) as problem:
        raise CommandError(f"{path}: {problem}", Exit.USAGE) from None


def _text(file: Path) -> str:
    with file.open(encoding="utf-8") as stream:
        return stream.read(MOST_BYTES)


def _objects(path: str, text: str) -> Iterator[Json]:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = list(islice(yaml.load_all(text, Loader=loader), MOST_OBJECTS))
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        raise CommandError(f"{path}: {' '.join(str(problem).split())[:300]}", Exit.USAGE) from None
    for document in documents:
        items = document.get("items") if isinstance(document, dict) and "items" in document else [document]
        yield from (one for one in items or () if isinstance(one, dict) and isinstance(one.get("metadata"), dict))
