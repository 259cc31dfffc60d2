"""Seeds of single requests, derived from the run's seed and what the request is."""

from dgr.files import canonical_json, sha256_text


def derive(*parts: int | str) -> int:
    """A 63-bit seed: equal parts, equal seed, whatever the order or batch of the requests."""
    return int(sha256_text(canonical_json(list(parts)))[:16], 16) >> 1
