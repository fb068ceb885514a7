"""Fetches pictures from other machines, from named hosts alone.

A server that fetches whatever it is told reaches what only it can reach: the cloud's metadata, the
neighbours behind the firewall. So the project names the hosts (`service.picture_hosts`).
"""

from collections.abc import Collection
from functools import cache
from ssl import SSLContext

import anyio
import httpx

from atlas.errors import ImageError

TIMEOUT_S = 10.0  # of a whole picture, from the look for its host to its last byte
MAX_BYTES = 20 * 2**20


async def fetch(url: str, hosts: Collection[str]) -> bytes:
    """A picture by http or https; no redirect is followed.

    Args:
        url: where it is.
        hosts: "example.org" (its standard port) or "example.org:8000".

    Raises:
        ImageError: not such a host, no answer in time, too large.
    """
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ImageError(f"cannot read the address {url!r}: {error}") from error
    host = address.netloc.decode()
    if address.scheme not in ("http", "https") or host not in hosts:
        known = ", ".join(sorted(hosts)) or "none"
        raise ImageError(
            f"Atlas fetches no pictures from {url!r}; its host must be in service.picture_hosts "
            f"(now: {known}), or send the picture itself"
        )
    try:
        with anyio.fail_after(TIMEOUT_S):  # httpx itself limits each wait, not their sum
            return await _read(address)
    except TimeoutError as error:
        raise ImageError(f"{address} did not arrive within {TIMEOUT_S:.0f} s") from error
    except httpx.HTTPError as error:
        raise ImageError(f"cannot fetch {url}: {error}") from error


async def _read(address: httpx.URL) -> bytes:
    content = bytearray()
    async with (
        httpx.AsyncClient(verify=_trusted(), timeout=TIMEOUT_S, trust_env=False) as client,
        client.stream("GET", address) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            raise ImageError(f"cannot fetch {address}: it answers {answer.status_code}")
        async for part in answer.aiter_bytes():
            content += part
            if len(content) > MAX_BYTES:
                raise ImageError(f"{address} is larger than {MAX_BYTES >> 20} MiB")
    return bytes(content)


@cache
def _trusted() -> SSLContext:
    """Read once: it takes a while, and everybody else would wait."""
    return httpx.create_ssl_context(trust_env=False)
