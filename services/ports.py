"""Finds out whether a port is free before something is started on it."""

import errno
import socket

from atlas.errors import PortInUse


def take_port(host: str, port: int, setting: str) -> int:
    """`port` if nothing listens on it; any free port where it is 0.

    Args:
        host: the address that will listen.
        port: 0 to 65535.
        setting: the key of atlas.toml that the message names.

    Raises:
        PortInUse: another program listens there.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortInUse(
                f"port {port} on {host} is in use by another program; stop that program, or set "
                f"{setting} in atlas.toml to another port (0: any free one)"
            ) from error
        return int(probe.getsockname()[1])
