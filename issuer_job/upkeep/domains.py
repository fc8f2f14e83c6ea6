"""The registered domain of a host, by the public suffix list: what CAs count certificates by. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache


def registered_domain(host: str) -> str:
    """Public suffix and one label, private suffixes counted as Let's Encrypt does; a suffix is its own domain.

    Of a name under no known suffix the last two labels (publicsuffix.org: the rule that always holds is `*`).
    """
    host = host.removeprefix("*.")
    domain, suffix = _split()(host)
    if not suffix:
        return ".".join(host.split(".")[-2:])
    return f"{domain}.{suffix}" if domain else suffix


@cache
def _split() -> Callable[[str], tuple[str, str]]:
    """From the list of suffixes that the library brings: no request, no file written."""
    import tldextract  # 0.1 s and 8 MiB or more that Jobs and webhook do without

    extract = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), include_psl_private_domains=True)

    def split(host: str) -> tuple[str, str]:
        found = extract.extract_str(host)
        return found.domain, found.suffix

    return split
