"""Finding: one property, one subject (or one search), one verdict, its evidence and how to reproduce it."""

import base64
import hashlib
from dataclasses import dataclass

from gradcheck_suite.core.evidence import Evidence, Level, Verdict, Where

GENERATED = "generated architectures"
"""The subject of a search: no model, but all that were drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemedyTrial:
    """A remedy applied to a copy of the subject and the property measured again there.

    ``outcome`` says in words what a short training of the copy reached beside the subject's own, where both were run; ``cures`` whether
    the copy's then learns.
    """

    remedy: str
    verdict: Verdict
    value: float
    error: float
    helps: bool = False
    note: str = ""
    outcome: str = ""
    cures: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check says.

    ``statement`` is the property's statement in words, where it is known (a renderer has no catalogue to ask).
    ``places`` counts the places that a folded finding speaks of (all of them hold). ``reason`` is the unmet condition of a
    NOT_APPLICABLE, or the failure of an ERROR; ``details`` a traceback or log tail, shown literally.
    """

    id: str
    property: str
    family: str
    level: Level
    symptoms: tuple[str, ...]
    subject: str
    verdict: Verdict
    message: str
    where: Where = Where()
    evidence: Evidence | None = None
    ruled_out: tuple[str, ...] = ()
    reason: str = ""
    details: str = ""
    reproduce: str = ""
    places: int = 1
    statement: str = ""
    remedies: tuple[RemedyTrial, ...] = ()


def finding_id(*parts: object) -> str:
    """Short stable name of a case: 40 bits of SHA-256 over the parts, in lower-case base 32 (8 characters)."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(digest[:5]).decode().lower()
