"""The config of a foreign task: where it is, and what its score means to the gate."""

from typing import Any, Literal

from pydantic import Field, model_validator

from dgr.decoding import SuiteSampling
from dgr.metrics import Kind
from dgr.settings import Settings

Meaning = Literal["correct", "complies", "refuses"]


class TaskConfig(Settings):
    """An inspect_ai task that runs as a suite, with its own data, solver and scorer."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$")
    """Name of the suite that it becomes: lower-case letters, digits, dashes, underscores."""
    kind: Kind
    """What it measures: `reasoning`, `harmful`, `harmless` or `borderline`."""
    task: str = Field(min_length=1)
    """`path/to/file.py@task`, or the name of an installed one, such as `inspect_evals/gsm8k`."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the task."""
    roles: dict[str, str] = Field(default_factory=dict)
    """Models that the task asks for by role, such as `grader`, as inspect_ai names models."""
    samples: int = Field(default=1, ge=1, le=1024)
    """Completions a question (inspect_ai's epochs)."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many questions, the first ones of the task's data."""
    sampling: SuiteSampling = SuiteSampling()
    """How completions are sampled, whatever the task says of it: a limit of 256 tokens, as some
    tasks set, would cut a reasoning model inside its trace."""
    score: str | None = None
    """The task's score that counts; None: its only one."""
    key: str | None = None
    """The entry of that score which counts, where the score is a table."""
    means: Meaning | None = None
    """What a score of `at_least` and more says: `correct` (reasoning, the default there),
    `complies` or `refuses`. A lower one says the contrary."""
    at_least: float = Field(default=1.0, allow_inf_nan=False)
    """The score from which on it says so. C counts as 1, P as 0.5, I as 0; N is no score."""

    @model_validator(mode="after")
    def _means_what_its_kind_asks(self) -> "TaskConfig":
        reasoning = self.kind == "reasoning"
        if self.meaning is None or reasoning != (self.meaning == "correct"):
            wanted = "correct" if reasoning else "complies or refuses"
            raise ValueError(f"task '{self.name}' ({self.kind}): means must be {wanted}")
        return self

    @property
    def meaning(self) -> Meaning | None:
        return self.means or ("correct" if self.kind == "reasoning" else None)
