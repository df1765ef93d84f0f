"""Fingerprints of data: cheap, stable between machines, and sensitive to a changed, missing or added file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def combine(parts: Iterable[str]) -> str:
    """Hex digest of a sequence of strings (lengths are hashed too, so that boundaries count)."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()
