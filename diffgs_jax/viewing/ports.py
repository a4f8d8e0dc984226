"""A port to listen at, or one line about why not."""

import socket

from diffgs_jax.errors import UserError


def find_port(host: str, port: int) -> int:
    """Finds out whether a server can listen there; servers themselves tell it with a traceback or take another port.

    Args:
        host: an address of this machine.
        port: the wished one; 0 for any that is free.

    Returns:
        The port.

    Raises:
        UserError: if it is in use or not allowed, or the address is not this machine's.
    """
    if not 0 <= port < 2**16:
        raise UserError(f"a port is from 0 to {2**16 - 1}, not {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
            return probe.getsockname()[1]
    except socket.gaierror as error:
        raise UserError(f"{host} is not an address of this machine") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"cannot listen at {host}, port {port}: {reason}; choose another --port or --host") from error


def address_of(host: str, port: int) -> str:
    """Returns what to type into a browser on this machine."""
    name = "localhost" if host in ("0.0.0.0", "::") else host
    return f"http://{name}:{port}"
