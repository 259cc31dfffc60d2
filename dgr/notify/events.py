"""What people are told."""

import uuid
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import Field, JsonValue

from dgr.records import Record


class EventKind(StrEnum):
    """What happened."""

    VERDICT = "verdict"  # the gate decided
    CANDIDATE = "candidate"  # a version was registered and waits for approval
    APPROVED = "approved"
    REJECTED = "rejected"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"


class Event(Record):
    """One thing that happened to a run or to a model version."""

    id: str = Field(
        default_factory=lambda: uuid.uuid4().hex, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"
    )
    """The same in every attempt and for every target, so that receivers can drop duplicates.
    Give one that follows from what happened, and doing a step again tells nobody twice."""
    kind: EventKind
    run: str = ""
    model: str = ""
    """Name of the registered model."""
    version: str = ""
    digest: str = ""
    """Digest of the bundle or of the decision."""
    text: str
    """One sentence for people."""
    actor: str = ""
    """Who or what did it."""
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    details: dict[str, JsonValue] = Field(default_factory=dict)
