"""Which addresses are of the public Internet: where somebody else says whom to call, no other may be."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

import aiohttp
import aiohttp.abc


class PrivateAddress(OSError):
    """A name that leads to this machine or into a private network, where only a public address may be called."""


class PublicResolver(aiohttp.abc.AbstractResolver):
    """Names by the operating system; whatever leads to an address that is not public is refused. It is asked for every
    new connection, and the connection goes to what it answers: a name that leads elsewhere a moment later changes
    nothing."""

    def __init__(self) -> None:
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for one in found:
            if not is_public(one["host"]):
                raise PrivateAddress(f"{host} leads to {one['host']}, {_NOT_PUBLIC}")
        return found

    async def close(self) -> None:
        await self._inner.close()


_NOT_PUBLIC = "which is no public address; private = true allows it"
# IPv4 addresses inside IPv6: NAT64 gateways hand them on.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public Internet, whatever form of IPv6 it hides in."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.teredo is not None:
            return False
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            found = inner
    return found.is_global and not found.is_multicast


def literal_refused(url: str) -> str:
    """Why a URL that names an IP address instead of a host may not be called where only public ones may; or nothing.
    No resolver is asked for these."""
    host = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    return "" if is_public(host) else f"{host} is an address {_NOT_PUBLIC.removeprefix('which is ')}"


async def addresses_refused(url: str) -> str:
    """Why a URL may not be called where only public addresses may, as it resolves now; or nothing. Raises OSError when
    its host has no address."""
    if why := literal_refused(url):
        return why
    parts = urlsplit(url)
    resolver = PublicResolver()
    try:
        await resolver.resolve(parts.hostname or "", parts.port or 443)
    except PrivateAddress as refused:
        return str(refused)
    finally:
        await resolver.close()
    return ""
