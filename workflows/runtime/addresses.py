"""Which addresses this site may call, and where they lead.

Note [Whom we call]
~~~~~~~~~~~~~~~~~~~
Whoever registers a plugin names an address, and it is this site that calls it, from inside. So nobody may point it at
what only listens to this machine (itself, the link, a cloud's data about its machines) unless the site has listed that
host: `PLUGIN_HOSTS` holds names (`checks.internal`), domains (`.example.com`) or `*`; where it is set, other hosts are
not called at all. The name is looked up once and that answer is connected to: a name that leads somewhere else a moment
later leads nowhere. Redirections are not followed.
"""

from __future__ import annotations

import ipaddress
import socket

from workflows.conf import settings


class ForbiddenAddress(Exception):
    """This site may not call there. Ask whoever runs it to list the host in PLUGIN_HOSTS."""


def fault_of(host: str) -> str | None:
    """This will say why a host may not be called, as far as its name tells; None where it may."""
    listed = tuple(settings.PLUGIN_HOSTS)
    if any(_is_meant(host, one) for one in listed):
        return None
    if listed:
        return f"{host} is not among the hosts that this site calls (PLUGIN_HOSTS)."
    if host == "localhost" or host.endswith(".localhost") or _is_local(host):
        return f"{host} is this machine or its link, which is only called where PLUGIN_HOSTS lists it."
    return None


def resolve(host: str, port: int) -> str:
    """This will look up a host that may be called; raises ForbiddenAddress, and OSError where nothing is found."""
    if (fault := fault_of(host)) is not None:
        raise ForbiddenAddress(fault)
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if settings.PLUGIN_HOSTS:
        return found[0]
    for address in found:
        if not _is_local(address):
            return address
    raise ForbiddenAddress(
        f"{host} leads to this machine or its link, which is only called where PLUGIN_HOSTS lists it."
    )


def _is_meant(host: str, listed: str) -> bool:
    listed = listed.lower()
    return listed in ("*", host) or (listed.startswith(".") and host.endswith(listed))


def _is_local(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    inner = getattr(address, "ipv4_mapped", None) or address
    return bool(
        inner.is_loopback or inner.is_link_local or inner.is_unspecified or inner.is_multicast or inner.is_reserved
    )
