"""What a run would do: which steps are finished already, and how much the rest samples.

Digests alone are read; no model is loaded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgr.config import BASELINE, RunConfig
from dgr.engines import resolve_model
from dgr.files import read_json
from dgr.steps import MANIFEST, TIMING, code_digest, input_digest, manifest_digest
from dgr.storage import fetch_file


@dataclass(frozen=True)
class PlannedStep:
    """One step of a run."""

    name: str
    cached: bool
    completions: int
    """Completions to sample; 0 for a step that is cached or samples none."""
    token_limit: int
    """Most tokens that those completions can take."""
    seconds: float | None
    """How long it took the last time it ran in this folder; None if it never did."""


def plan(config: RunConfig, run: Path) -> list[PlannedStep]:
    """The steps of a run in the folder `run`, in order."""
    rows = _rows(config)
    known = _external_digests(config)
    steps = []
    for name, section in _sections(config):
        folder = run / name
        cached = _is_current(folder, section, config, known)
        if cached:
            known |= _digests(folder)
        completions, tokens = (0, 0) if cached else _sampled(name, config, rows)
        timing = folder / TIMING
        seconds = read_json(timing)["seconds"] if timing.is_file() else None
        steps.append(PlannedStep(name, cached, completions, tokens, seconds))
    return steps


def _sections(config: RunConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step's folder with the section of the config that it depends on."""
    whole = config.model_dump(mode="json")
    yield "ingest", whole["data"]
    for name in ("own", "refine", "shift"):
        yield name, whole[name]
    yield f"evaluate/{BASELINE}", whole["evaluate"]
    for arm in config.arms.arms:
        # An arm hangs on itself and the mix, not on which other arms there are.
        yield f"arms/{arm}", {"arm": arm, **config.arms.chosen.model_dump(mode="json")}
        yield f"sft/{arm}", whole["sft"]
        yield f"evaluate/{arm}", whole["evaluate"]
    yield "drift", whole["shift"]
    yield "gate", whole["gate"]
    yield "record", whole["registry"]


def _is_current(folder: Path, section: dict[str, Any], config: RunConfig, known: set[str]) -> bool:
    """Whether a finished step has this config, code and seed, and only inputs that are current."""
    if not (folder / MANIFEST).is_file():
        return False
    manifest = read_json(folder / MANIFEST)
    engine = manifest.get("engine")
    return bool(
        manifest["config"] == section
        and (engine is None or engine == config.engine.model_dump(mode="json"))
        and manifest["code"] == code_digest()
        and manifest["seed"] == config.seed
        and set(manifest["inputs"].values()) <= known
    )


def _digests(folder: Path) -> set[str]:
    """What stands for a finished step as an input: its manifest, and its model if it has one."""
    found = {manifest_digest(folder)}
    if (folder / "model").is_dir():
        found.add(input_digest(folder / "model"))
    return found


def _external_digests(config: RunConfig) -> set[str]:
    sources = [config.data.source, *(mix.path for mix in config.own.mix)]
    sources += [suite.path for suite in config.evaluate.suites]
    paths = [fetch_file(source) for source in sources]
    if Path(config.model).is_dir():
        paths.append(resolve_model(config.model, config.revision))
    return {input_digest(path) for path in paths if path.exists()}


def _rows(config: RunConfig) -> int:
    """Rows of the safety set: those of the file, at most the limit; 0 for a file not here."""
    rows = _count(config.data.source)
    return min(rows, config.data.limit or rows) if rows else config.data.limit or 0


def _count(source: str) -> int:
    """Rows of a file; 0 for one that is not here."""
    path = fetch_file(source)
    if not path.is_file():
        return 0
    text = path.read_text(encoding="utf-8", errors="replace")
    if text.lstrip().startswith("["):
        return len(read_json(path))
    return sum(bool(line.strip()) for line in text.split("\n"))


def _sampled(name: str, config: RunConfig, rows: int) -> tuple[int, int]:
    """Completions that a step samples at least, and the most tokens they can take."""
    step = name.partition("/")[0]
    if step == "own":
        mixes = [_count(mix.path) if mix.count is None else mix.count for mix in config.own.mix]
        count = rows * (config.own.reference + config.own.refusal) + sum(mixes)
        return count, count * config.own.max_new_tokens
    if step == "refine":
        count = 2 * rows * config.refine.candidates
        return count, count * config.refine.max_new_tokens
    if step != "evaluate":
        return 0, 0
    completions = tokens = 0
    for suite in config.evaluate.suites:
        items = _count(suite.path)
        count = min(items, suite.limit or items) * suite.samples
        completions += count
        tokens += count * suite.sampling.max_new_tokens
    return completions, tokens
