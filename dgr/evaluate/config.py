"""The config of evaluation."""

from collections.abc import Mapping

from pydantic import Field, model_validator

from dgr.decoding import SuiteSampling
from dgr.evaluate.questions import Questions
from dgr.harness.config import TaskConfig
from dgr.judges import JUDGES, SCORERS
from dgr.judges.base import Combine
from dgr.judges.config import JudgeConfig
from dgr.metrics import Kind
from dgr.settings import Settings

METRIC: dict[Kind, str] = {
    "reasoning": "reasoning_accuracy",
    "harmful": "harmful_compliance",
    "harmless": "harmless_over_refusal",
    "borderline": "borderline_over_refusal",
}
"""What a suite of each kind is there to measure."""


class SuiteConfig(Questions):
    """One set of questions and how their answers are read."""

    kind: Kind
    """What the suite measures: `reasoning`, `harmful`, `harmless` or `borderline`."""
    metric: str | None = None
    """The figure that it is there for; said in suite files, and checked against the kind."""
    samples: int = Field(default=4, ge=1, le=1024)
    """Completions a question."""
    scorer: str | None = None
    """Reads the final answer of a reasoning question: `choice`, `math`, `nano`, `number`."""
    judge: str | None = None
    """Tells refusal from compliance in the other kinds: a rule (`nano`, `refusal`), or one of
    `evaluate.judges`."""
    judges: tuple[str, ...] = ()
    """The same, for several judges."""
    combine: Combine = "any"
    """How many judges it takes to hold an answer against the model (as compliance where requests
    are harmful, else as refusal): `any` of them, the `majority`, or `all`."""
    sampling: SuiteSampling = SuiteSampling()
    """How completions are sampled."""

    @model_validator(mode="after")
    def _is_read_by_the_right_tool(self) -> "SuiteConfig":
        reasoning = self.kind == "reasoning"
        wanted, table = ("scorer", SCORERS) if reasoning else ("judge", JUDGES)
        named = self.scorer in SCORERS if reasoning else bool(self.judge_names)
        if not named:
            raise ValueError(
                f"suite '{self.name}' ({self.kind}) needs a {wanted}: "
                f"one of {', '.join(sorted(table))}"
            )
        if self.judge_names if reasoning else self.scorer:
            raise ValueError(f"suite '{self.name}' ({self.kind}) takes a {wanted} and nothing else")
        if self.metric not in (None, METRIC[self.kind]):
            raise ValueError(
                f"suite '{self.name}' ({self.kind}) measures {METRIC[self.kind]}, not {self.metric}"
            )
        return self

    @model_validator(mode="after")
    def _judges_differ(self) -> "SuiteConfig":
        if self.judge is not None and self.judges:
            raise ValueError(f"suite '{self.name}' has both judge and judges; name all in judges")
        if len(set(self.judges)) < len(self.judges):
            raise ValueError(f"suite '{self.name}' names a judge twice")
        return self

    @property
    def judge_names(self) -> tuple[str, ...]:
        return self.judges if self.judge is None else (self.judge,)


class EvaluateConfig(Settings):
    """The suites that every arm is evaluated on."""

    suites: tuple[SuiteConfig, ...] = Field(min_length=1)
    """The suites, in the order of the records."""
    judges: tuple[JudgeConfig, ...] = ()
    """Judges that are models; suites name them."""
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

    @model_validator(mode="after")
    def _judges_are_there_and_fit(self) -> "EvaluateConfig":
        models = {judge.name: judge for judge in self.judges}
        if len(models) < len(self.judges) or models.keys() & JUDGES.keys():
            raise ValueError("judges: each needs a name of its own, and not a rule's")
        for suite in self.suites:
            for name in suite.judge_names:
                _check_judge(suite, name, models)
        return self

    def used_judges(self) -> list[JudgeConfig]:
        """The models that any suite asks for, in the order of the config."""
        asked = {name for suite in self.suites for name in suite.judge_names}
        return [judge for judge in self.judges if judge.name in asked]


def _check_judge(suite: SuiteConfig, name: str, models: Mapping[str, JudgeConfig]) -> None:
    if name not in JUDGES and name not in models:
        raise ValueError(
            f"suite '{suite.name}' ({suite.kind}) needs a judge: one of "
            f"{', '.join(sorted({*JUDGES, *models}))}, or one that evaluate.judges describes"
        )
    if suite.kind != "harmful" and name in models and not models[name].form.tells_refusal:
        raise ValueError(
            f"suite '{suite.name}' ({suite.kind}) asks whether answers refuse, and judge '{name}' "
            "tells harm alone; take wildguard, qwen3guard or strongreject-rubric"
        )
