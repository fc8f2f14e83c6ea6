"""Which addresses the self-check may ask: hosts and redirects are a tenant's to choose, and it runs behind his walls.

At the name itself any but the machine's surroundings, as tenants may have their hosts in private networks. Where a
redirect leads elsewhere only the Internet's, unless the name was found in a private network already.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

METADATA = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",  # nearly all clouds; link-local (RFC 3927)
        "fe80::/10",
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # Google Cloud
        "fd00:42::42/128",  # Scaleway
        "100.100.100.200/32",  # Alibaba Cloud
        "168.63.129.16/32",  # Azure
        "192.0.0.192/32",  # Oracle Cloud
    )
)
"""Where clouds tell whoever asks from a machine who it is, often with credentials."""
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""RFC 6052 and RFC 8215: the last 32 bits are an IPv4 address."""

_IPV6 = ipaddress.IPv6Network("2000::/3")
"""What has been handed out of IPv6 (RFC 4291, section 2.4)."""


def never_asked(address: str) -> bool:
    """Whether even a host's own name may not lead to this IP address."""
    ip = _meant(address)
    return ip.is_multicast or any(ip.version == network.version and ip in network for network in METADATA)


def is_public(address: str) -> bool:
    """Whether this is an address of the Internet: neither private, shared (RFC 6598), local nor reserved."""
    ip = _meant(address)
    handed_out = ip in _IPV6 if isinstance(ip, IPv6Address) else not (ip.is_multicast or ip.is_reserved)
    return ip.is_global and handed_out


def is_of_others(address: str) -> bool:
    """Whether this is not the machine itself on which the check runs."""
    ip = _meant(address)
    return not (ip.is_loopback or ip.is_unspecified)


def _meant(address: str) -> IPv4Address | IPv6Address:
    """The address that packets go to in the end: IPv6 has several ways of writing an IPv4 address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return ip
    if any(ip in network for network in _NAT64):
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or ip
