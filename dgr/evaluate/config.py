"""The config of evaluation."""

from pydantic import Field, model_validator

from dgr.decoding import SuiteSampling
from dgr.harness.config import TaskConfig
from dgr.judges import JUDGES, SCORERS
from dgr.metrics import Kind
from dgr.settings import Settings


class SuiteConfig(Settings):
    """One set of questions and how their answers are read."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$")
    """Name of the suite: lower-case letters, digits, dashes, underscores."""
    kind: Kind
    """What the suite measures: `reasoning`, `harmful`, `harmless` or `borderline`."""
    path: str
    """JSONL file, local or s3://bucket/key, of questions: `id`, `question`, and `family`, `level`,
    `answer` where they apply; `answer` is the gold answer of a reasoning question, `family` a
    family or harm category."""
    samples: int = Field(default=4, ge=1, le=1024)
    """Completions a question."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many questions, spread evenly over the families, the same ones in every run."""
    scorer: str | None = None
    """Reads the final answer of a reasoning question: `nano`, `number`."""
    judge: str | None = None
    """Tells refusal from compliance in the other kinds: `nano`, `refusal`."""
    sampling: SuiteSampling = SuiteSampling()
    """How completions are sampled."""

    @model_validator(mode="after")
    def _is_read_by_the_right_tool(self) -> "SuiteConfig":
        reasoning = self.kind == "reasoning"
        wanted, table = ("scorer", SCORERS) if reasoning else ("judge", JUDGES)
        name = self.scorer if reasoning else self.judge
        unwanted = self.judge if reasoning else self.scorer
        if name not in table:
            raise ValueError(
                f"suite '{self.name}' ({self.kind}) needs a {wanted}: "
                f"one of {', '.join(sorted(table))}"
            )
        if unwanted is not None:
            raise ValueError(f"suite '{self.name}' ({self.kind}) takes a {wanted} and nothing else")
        return self


class EvaluateConfig(Settings):
    """The suites that every arm is evaluated on."""

    suites: tuple[SuiteConfig, ...] = Field(min_length=1)
    """The suites, in the order of the records."""
    tasks: tuple[TaskConfig, ...] = ()
    """Tasks of inspect_ai that run as further suites, after them (docs/harnesses.md)."""
    empty_trace: bool = False
    """Ablation: force an empty trace, to see how much of an ability the trace carries."""

    @model_validator(mode="after")
    def _names_differ(self) -> "EvaluateConfig":
        names = [suite.name for suite in self.suites] + [task.name for task in self.tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two suites have the name '{twice[0]}'")
        return self
