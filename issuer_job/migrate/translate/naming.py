"""What certjob's issuers are called that stand for another tool's: that has one name in each namespace. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from issuer_job import names


def chosen_names(
    origins: Collection[tuple[str, str]], *, taken: Collection[str], given: dict[tuple[str, str], str]
) -> dict[tuple[str, str], str]:
    """certjob's name for each Issuer (by namespace and name, no namespace: ClusterIssuer): its own where that is
    free, else with its namespace before it. `taken` are names that mean something else, `given` are those that the
    operator chose.
    """
    found = dict(given)
    often = [_label(name) for _, name in origins]
    for namespace, name in sorted(origins):
        if (namespace, name) in found:
            continue
        own = _label(name)
        free = own not in taken and own not in found.values() and (not namespace or often.count(own) == 1)
        wanted = own if free else next(_others(namespace, own, {*taken, *found.values()}))
        found[namespace, name] = wanted
    return found


def _others(namespace: str, own: str, taken: Collection[str]) -> Iterator[str]:
    base = _label(f"{namespace or 'cm'}-{own}")
    yield from (name for name in (base, *(_label(f"{base}-{n}") for n in range(2, 1000))) if name not in taken)


def _label(name: str) -> str:
    """A DNS label of it."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c == "-") else "-" for c in name.lower()).strip("-")
    return names.fit(plain or "issuer", 63, unique=name)
