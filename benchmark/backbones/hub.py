"""Fetching from the Hugging Face hub: from the network when there is one, else at once from the local cache."""

from __future__ import annotations

import contextlib
import logging
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from benchmark.errors import BackboneError

FETCH_ERRORS = (OSError, HfHubHTTPError)


@contextlib.contextmanager
def fetching(what: str) -> Iterator[None]:
    """Within the block the hub is asked once, or not at all where its host has no address.

    Without a network the hub's client would try five times for half a minute before it looked into its cache.

    Raises:
        BackboneError: what was asked for is neither in the cache nor reachable.
    """
    before, logger = constants.HF_HUB_OFFLINE, logging.getLogger("huggingface_hub")
    level = logger.level
    constants.HF_HUB_OFFLINE = before or not reachable()
    logger.setLevel(logging.ERROR)
    try:
        yield
    except FETCH_ERRORS as error:
        raise BackboneError(
            f"{what} in the local cache, or a network to fetch it",
            f"{type(error).__name__}: {str(error).split('. ')[0][:200]}",
            "check the name, go online once, or give a weights file and --arch",
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before
        logger.setLevel(level)


def reachable() -> bool:
    """Whether the hub's host has an address here (behind a proxy it need not)."""
    endpoint = urllib.parse.urlsplit(constants.ENDPOINT)
    if endpoint.scheme in urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(endpoint.hostname, endpoint.port or endpoint.scheme)
    except OSError:
        return False
    return True
