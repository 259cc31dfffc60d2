"""From a run's config to the arguments of the pipeline: one JSON string a step.

Each step is told its own section alone, with the digests of the files that it reads from outside
the run, so that its cache holds exactly as long as what it depends on.
"""

from pathlib import Path
from typing import Any

from dgr.config import RunConfig
from dgr.files import canonical_json
from dgr.runtime import StepSettings
from dgr.settings import Settings
from dgr.steps import code_digest, input_digest


def arguments(config: RunConfig, run: str) -> dict[str, Any]:
    """Arguments of `pipelines.align.align` for a run at `run` (a folder or s3:// prefix)."""
    data = {"data": Path(config.data.source)}
    mixes = {f"mix/{place}": mix.path for place, mix in enumerate(config.own.mix)}
    suites = {f"suite/{suite.name}": suite.path for suite in config.evaluate.suites}
    model = {"model": Path(config.model)}

    def step(section: Settings, files: dict[str, Path], **options: Any) -> str:
        return canonical_json(
            StepSettings(
                config=section.model_dump(mode="json"),
                seed=config.seed,
                run=run,
                engine=config.engine.model_dump(mode="json"),
                model=config.model,
                revision=config.revision,
                digests=_digests(files),
                options=options,
            ).model_dump(mode="json")
        )

    return {
        "arms": list(config.arms.arms),
        "ingest_settings": step(config.data, data),
        "own_settings": step(config.own, model | mixes),
        "refine_settings": step(config.refine, model),
        "shift_settings": step(config.shift, model),
        "arm_settings": step(config.arms, {}),
        "sft_settings": step(config.sft, model),
        "evaluate_settings": step(config.evaluate, model | suites),
        "drift_settings": step(config.shift, model),
        "gate_settings": step(config.gate, {}, candidate=config.candidate),
        "record_settings": step(config.registry, {}),
        "register_settings": step(
            config.registry,
            {},
            candidate=config.candidate,
            data=config.data.source,
            licence=config.data.licence,
        ),
        "finish_settings": step(config, {}),
    }


def _digests(files: dict[str, Path]) -> dict[str, str]:
    """Of the files that are on this machine, and of the code."""
    found = {name: input_digest(path) for name, path in files.items() if path.exists()}
    return {"code": code_digest(), **found}
