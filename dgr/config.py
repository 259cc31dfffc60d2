"""The config of a whole alignment run: one section a step, each the step's own model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from dgr.arms.config import ArmsConfig
from dgr.cluster.config import ClusterConfig
from dgr.data.config import DataConfig
from dgr.engines.config import EngineConfig, TransformersConfig, VllmConfig
from dgr.errors import UserError
from dgr.evaluate.config import EvaluateConfig
from dgr.gate.config import GatePolicy, Policy
from dgr.notify.config import NotifyConfig
from dgr.own.config import OwnConfig
from dgr.refine.config import RefineConfig
from dgr.registry.config import RegistryConfig
from dgr.serving.config import ServingConfig
from dgr.settings import Settings, load_settings, parse_settings
from dgr.sft.config import SftConfig
from dgr.shards import ShardsConfig
from dgr.shift.config import ShiftConfig

BASELINE = "base"


class RunConfig(Settings):
    """Everything that a run depends on, apart from the code and the files that it names."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """Name of the run and of its folder: lower-case letters, digits and dashes."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random."""
    model: str
    """The target: a local folder or a Hub id."""
    revision: str | None = None
    """Revision of a Hub model; pin it to a commit for runs that must repeat."""
    candidate: str = "dgr"
    """The arm that is registered when it passes the gate."""
    engine: EngineConfig = TransformersConfig()
    """What generates and scores; `kind` is transformers, vllm or openai (docs/engines.md)."""
    data: DataConfig
    refine: RefineConfig = RefineConfig()
    own: OwnConfig = OwnConfig()
    arms: ArmsConfig = ArmsConfig()
    shift: ShiftConfig = ShiftConfig()
    sft: SftConfig = SftConfig()
    evaluate: EvaluateConfig
    shards: ShardsConfig = ShardsConfig()
    one_engine: bool = False
    """Evaluate the target and every arm by one engine, with the arms' LoRA adapters on the target;
    false: each by an engine of its own, on merged weights."""
    gate: Policy = GatePolicy()
    """The policy of the gate, or the path of a YAML file with it."""
    registry: RegistryConfig = RegistryConfig()
    notify: NotifyConfig = NotifyConfig()
    cluster: ClusterConfig = ClusterConfig()
    serving: ServingConfig = ServingConfig()

    @model_validator(mode="after")
    def _candidate_is_trained(self) -> "RunConfig":
        if self.candidate not in self.arms.arms:
            raise ValueError(
                f"candidate '{self.candidate}' is not among the arms {list(self.arms.arms)}"
            )
        return self

    @model_validator(mode="after")
    def _nodes_share_the_batch(self) -> "RunConfig":
        nodes = self.cluster.training
        problem = nodes and nodes.undealt(self.sft.batch_size, self.sft.micro_batch_size)
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _foreign_tasks_are_whole(self) -> "RunConfig":
        if self.shards.evaluate > 1 and self.evaluate.tasks:
            raise ValueError(
                "shards.evaluate: the tasks of inspect_ai in evaluate.tasks cannot be split; "
                "set it to 1, or take them out"
            )
        return self

    @model_validator(mode="after")
    def _one_engine_takes_adapters(self) -> "RunConfig":
        if not self.one_engine:
            return self
        if self.sft.method != "lora":
            raise ValueError("one_engine: arms are evaluated as adapters; set sft.method: lora")
        if self.shards.evaluate > 1:
            raise ValueError("one_engine: shards.evaluate must be 1, for there is one evaluation")
        if isinstance(self.engine, VllmConfig) and not self.engine.max_adapters:
            raise ValueError("one_engine: set engine.max_adapters to the number of arms")
        return self

    def named_models(self) -> dict[str, tuple[str, str | None]]:
        """Field -> model and revision: the target, and every judge that a suite asks for."""
        used = self.evaluate.used_judges()
        return {"model": (self.model, self.revision)} | {
            f"evaluate.judges[{place}].model": (judge.model, judge.revision)
            for place, judge in enumerate(self.evaluate.judges)
            if judge in used
        }


def load_run_config(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a run's YAML file and apply `section.key=value` overrides (values are YAML).

    In a list whose items have names, such as `evaluate.suites`, a key is an item's name.
    """
    if not overrides:
        return load_settings(RunConfig, path)
    import yaml

    value: Any = load_settings(RunConfig, path).model_dump(mode="json")
    for override in overrides:
        dotted, sign, text = override.partition("=")
        if not sign:
            raise UserError(f"--set {override}: write it as section.key=value")
        _put(value, dotted, yaml.safe_load(text), f"--set {override}")
    return parse_settings(RunConfig, value, f"{path} with --set")


def with_overrides(config: RunConfig, overrides: Mapping[str, Any], where: str) -> RunConfig:
    """The config with other values, `section.key` -> value; `UserError` names `where`."""
    value = config.model_dump(mode="json")
    for dotted, setting in overrides.items():
        _put(value, dotted, setting, where)
    return parse_settings(RunConfig, value, where)


def _put(value: dict[str, Any], dotted: str, setting: Any, where: str) -> None:
    *sections, last = dotted.split(".")
    target: Any = value
    for section in sections:
        target = _within(target, section)
    if not isinstance(target, dict) or last not in target:
        raise UserError(f"{where}: the config has no field {dotted}")
    target[last] = setting


def _within(value: Any, name: str) -> Any:
    """A section's value of that name, or a list's item that is called so; None: there is none."""
    if isinstance(value, list):
        named = (item for item in value if isinstance(item, dict) and item.get("name") == name)
        return next(named, None)
    return value.get(name) if isinstance(value, dict) else None
