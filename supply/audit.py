"""Whether anything is known against what the images install: `make audit ADVISORIES=PATH`. Asks no network.

ADVISORIES is an advisory database in the format of OSV (https://ossf.github.io/osv-schema/): a directory with files
.json, .yaml or .zip below it, or one of them. Such are a clone of https://github.com/pypa/advisory-database, and the
archive that OSV publishes of PyPI. Exit code 0: nothing is known; 1: something is; 2: that cannot be said, because
there is no database, or none of the last 30 days.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from packaging.version import InvalidVersion, Version

Json = dict[str, Any]
FRESH = timedelta(days=30)
LOCKS = ("issuer_job/requirements.txt", "issuer_job/requirements-dns-extras.txt", "webhook/requirements.txt")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def pinned(text: str) -> set[tuple[str, str]]:
    """Name and version of all that a file of locked requirements has."""
    return {(_normal(name), version) for name, version in _PIN.findall(text)}


def advisories(place: Path) -> Iterator[Json]:
    """Every advisory in a database. Raises OSError, ValueError."""
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield from (json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json"))
        elif path.suffix == ".json":
            yield from _advisory(json.loads(path.read_text()))
        elif path.suffix in (".yaml", ".yml"):
            yield from _advisory(yaml.load(path.read_text(), yaml.CSafeLoader))


def concerns(advisory: Json, name: str, version: str) -> bool:
    """Whether an advisory is about this version of a package of PyPI."""
    if advisory.get("withdrawn"):
        return False
    for affected in advisory.get("affected") or []:
        package = affected.get("package") or {}
        if package.get("ecosystem") == "PyPI" and _normal(package.get("name", "")) == name:
            ranges = [r for r in affected.get("ranges") or [] if r.get("type") in ("ECOSYSTEM", "SEMVER")]
            if version in (affected.get("versions") or []) or any(_within(r["events"], version) for r in ranges):
                return True
    return False


def _within(events: list[Json], version: str) -> bool:
    """OSV, "evaluation": the last event at or before the version says whether it is affected."""
    at, found = Version(version), False
    moments = [(kind, moment) for event in events for kind, moment in event.items()]
    for kind, moment in sorted(moments, key=lambda entry: _version(entry[1])):
        if kind == "introduced" and at >= _version(moment):
            found = True
        if (kind == "fixed" and at >= _version(moment)) or (kind == "last_affected" and at > _version(moment)):
            found = False
    return found


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")  # OSV's "0" is before everything; of what is no version at all, too much is said


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _advisory(found: Any) -> Iterator[Json]:
    if isinstance(found, dict) and "id" in found and "affected" in found:
        yield found


def audit(place: Path | None, root: Path, *, now: datetime) -> tuple[int, list[str]]:
    """The exit code, and what there is to say, line by line."""
    if place is None or not place.exists():
        return 2, ["no advisory database, so nothing was checked: make audit ADVISORIES=PATH (see supply/audit.py)"]
    wanted = {pin: lock for lock in LOCKS for pin in pinned((root / lock).read_text())}
    count, newest, found = 0, datetime.min.replace(tzinfo=UTC), []
    for advisory in advisories(place):
        count += 1
        newest = max(newest, _moment(advisory.get("modified")))
        found += [
            f"{name} {version}: {' '.join([advisory['id'], *(advisory.get('aliases') or [])])}, in {lock}"
            for (name, version), lock in sorted(wanted.items())
            if concerns(advisory, name, version)
        ]
    if not count:
        return 2, [f"no advisory in {place}, so nothing was checked"]
    said = f"{len(wanted)} locked versions, {count} advisories, the newest of {newest:%Y-%m-%d}"
    if found:
        return 1, [*sorted(found), f"{said}: {len(found)} known"]
    if now - newest > FRESH:
        return 2, [f"{said}: nothing known then, which is too long ago to say anything of today"]
    return 0, [f"{said}: nothing known"]


def _moment(stamp: Any) -> datetime:
    found = stamp if isinstance(stamp, datetime) else datetime.fromisoformat(str(stamp))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


if __name__ == "__main__":
    given = sys.argv[1] if len(sys.argv) > 1 else ""
    code, lines = audit(Path(given) if given else None, Path(__file__).parents[1], now=datetime.now(UTC))
    print("\n".join(lines))
    sys.exit(code)
