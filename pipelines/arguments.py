"""From a run's config to the arguments of the pipeline: one JSON string a step.

Each step is told its own section alone, with the digests of the files that it reads from outside
the run, so that its cache holds exactly as long as what it depends on.
"""

from typing import Any

from dgr.config import RunConfig
from dgr.engines import model_digest
from dgr.files import canonical_json
from dgr.runtime import StepSettings
from dgr.settings import Settings
from dgr.steps import code_digest
from dgr.storage import file_digest


def arguments(config: RunConfig, run: str, *, started: float | None = None) -> dict[str, Any]:
    """Arguments of `pipelines.align.align` for a run at `run` (a folder or s3:// prefix).

    `started` is when the run did; None: when its first step did.
    Fetches a model that is named by its Hub id without a commit, for its digest.
    """
    target = _Target(config)
    data = {"data": config.data.source}
    mixes = {f"mix/{place}": mix.path for place, mix in enumerate(config.own.mix)}
    suites = {f"suite/{suite.name}": suite.path for suite in config.evaluate.suites}
    # An arm's rows do not depend on which other arms there are.
    mix = config.arms.model_dump(mode="json", exclude={"arms"})

    def step(section: Settings, *parts: dict[str, Any], **options: Any) -> str:
        settings = StepSettings(
            config=section.model_dump(mode="json"), seed=config.seed, run=run, options=options
        ).model_dump(mode="json")
        for part in parts:
            settings |= part
        return canonical_json(settings)

    evaluate = step(config.evaluate, target.engine, target.model(suites, _judges(config)))
    return {
        "arms": list(config.arms.arms),
        "ingest_settings": step(config.data, digests(data)),
        "own_settings": step(config.own, target.engine, target.model(mixes)),
        "refine_settings": _refine(config, step(config.refine, target.engine, target.model())),
        "shift_settings": step(config.shift, target.engine, target.model()),
        "arm_settings": step(config.arms, {"config": mix}, digests({})),
        "sft_settings": step(config.sft, target.model(), **_train_job(config, run)),
        "base_settings": evaluate,
        "evaluate_settings": evaluate,
        "champion_settings": step(config.registry),
        "drift_settings": step(config.shift, target.engine, target.model()),
        "gate_settings": step(config.gate, digests({}), candidate=config.candidate),
        "record_settings": step(config.registry, digests({})),
        "register_settings": step(
            config.registry,
            digests({}),
            candidate=config.candidate,
            base=config.model,
            notify=config.notify.model_dump(mode="json"),
        ),
        "finish_settings": step(config, digests({}), **({"started": started} if started else {})),
    }


def digests(files: dict[str, str]) -> dict[str, Any]:
    """Digests of the code and of the files that are on this machine or in a store."""
    found = {name: file_digest(source) for name, source in files.items()}
    here = {name: digest for name, digest in found.items() if digest}
    return {"digests": {"code": code_digest(), **here}}


class _Target:
    """The parts of the settings that tell a step of the engine and the model."""

    def __init__(self, config: RunConfig) -> None:
        self.engine = {"engine": config.engine.model_dump(mode="json")}
        self._named = {"model": config.model, "revision": config.revision}
        self._digest = model_digest(config.model, config.revision)

    def model(
        self, files: dict[str, str] | None = None, others: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """`files` by name, to be digested; `others` are digests already."""
        found = digests(files or {})
        found["digests"] |= {"model": self._digest, **(others or {})}
        return self._named | found


def _judges(config: RunConfig) -> dict[str, str]:
    """Digests of the models that judge."""
    return {
        f"judge/{judge.name}": model_digest(judge.model, judge.revision)
        for judge in config.evaluate.used_judges()
    }


def _train_job(config: RunConfig, run: str) -> dict[str, Any]:
    """Option of training, where the run is one of pods."""
    job = config.cluster.train_job if "://" in run else None
    return {"train_job": job.model_dump(mode="json")} if job else {}


def _refine(config: RunConfig, settings: str) -> str:
    """Refinement's settings; the shortest ones where no arm needs it."""
    if config.arms.refined:
        return settings
    return canonical_json(
        StepSettings(config={}, seed=0, run="", wanted=False).model_dump(mode="json")
    )
