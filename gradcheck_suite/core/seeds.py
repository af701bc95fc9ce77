"""Seeds: a case's seed is a hash of what it is, never of a worker, an order or ``hash()``."""

import hashlib


def derive(seed: int, *parts: object) -> int:
    """A 63-bit seed from a run's seed and the parts that name a case."""
    text = "\0".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1
