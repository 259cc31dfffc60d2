"""The config of ingestion."""

from typing import Literal

from pydantic import Field, field_validator

from dgr.judges import JUDGES
from dgr.settings import Settings


class DataConfig(Settings):
    """Which external safety data set is read, and what becomes of bad rows."""

    format: Literal["direct-refusal", "r1-act", "star1", "safechain", "plain"]
    """The published schema that the rows follow."""
    source: str
    """A .jsonl, .json or .parquet file, local or s3://bucket/key, or `hub:org/name` for a data set
    of the Hub."""
    revision: str | None = None
    """Revision of a Hub data set; pin it to a commit for runs that must repeat."""
    file: str | None = None
    """The file inside a Hub data set; not needed where it has only one."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many rows, a seeded choice, in the order of the file."""
    on_bad_row: Literal["fail", "skip"] = "fail"
    """Stop at the first bad row, or leave bad rows out and count them."""
    max_bad_share: float = Field(default=0.05, ge=0, lt=1, allow_inf_nan=False)
    """With `skip`: more bad rows than this share stop the run all the same."""
    constant_trace: str = "I should not answer this question!"
    """The trace of every DirectRefusal row: the set has none of its own."""
    label_judge: str | None = None
    """Labels rows that no field labels: what the external answer refuses is harmful, what it helps
    with harmless, what the judge cannot read stays unknown. Name a judge that reads the set well:
    rows that it calls harmless are free to be helped with. None: such rows stay unknown."""
    licence: str = ""
    """Licence of the data set, for the model card."""

    @field_validator("label_judge")
    @classmethod
    def _known_judge(cls, judge: str | None) -> str | None:
        if judge is not None and judge not in JUDGES:
            raise ValueError(f"no judge '{judge}'; choose one of {', '.join(sorted(JUDGES))}")
        return judge
