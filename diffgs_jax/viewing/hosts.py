"""Which names of this machine a server that is meant for it alone answers to.

A page of another site can have its own name point to 127.0.0.1 and then read what a local server shows (DNS rebinding).
Its requests still carry the other site's name in their `Host` header, so such requests are refused.
"""

import ipaddress


def is_local(host: str) -> bool:
    """Returns whether an address to listen at is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_allowed(header: str | None, host: str) -> bool:
    """Returns whether a request is answered.

    Args:
        header: its `Host`, with or without a port.
        host: that the server listens at; one that others can reach answers to any name.
    """
    if not is_local(host):
        return True
    name = (header or "").strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return is_local(name)
