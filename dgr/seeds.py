"""Seeds of single requests, derived from the run's seed and what the request is."""

import hashlib

from pydantic_core import to_json


def derive(*parts: int | str) -> int:
    """A 63-bit seed: equal parts, equal seed, whatever the order or batch of the requests."""
    digest = hashlib.sha256(to_json(parts)).digest()
    return int.from_bytes(digest[:8]) >> 1
