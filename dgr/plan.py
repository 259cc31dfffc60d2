"""What a run would do: which steps are finished already, and how much the rest samples.

Digests alone are read, and no model is loaded, unless the steps' needs are probed first
(`dgr.probe`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgr.config import BASELINE, RunConfig
from dgr.engines import resolve_model
from dgr.evaluate.suites import digest, size
from dgr.files import read_json
from dgr.gate.power import Planned, undecided
from dgr.steps import MANIFEST, SHARDS, TIMING, code_digest, input_digest, manifest_digest
from dgr.storage import fetch_file

if TYPE_CHECKING:
    from dgr.probe import Completions, Need

CHAMPION = "champion"
"""The arm's name of the registry's champion, which a run evaluates if there is one."""


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
    shards: int = 1
    """In how many parts it is done."""
    expected: "Completions | None" = None
    """What sampling takes, judging from a probe; None without one, and where nothing is sampled."""


def plan(
    config: RunConfig, run: Path, needs: "Mapping[str, Need] | None" = None
) -> list[PlannedStep]:
    """The steps of a run in the folder `run`, in order; `needs` is what `dgr.probe` found."""
    rows = _rows(config)
    known = _external_digests(config)
    steps = []
    for name, section in _sections(config):
        folder = run / name
        timing = read_json(folder / TIMING) if (folder / TIMING).is_file() else {}
        shards = _shards(name, config)
        current = _is_current(folder, section, config, known)
        if current:
            known |= _digests(folder)
        # Done in another number of parts, it has the same bytes but is not in the cache.
        cached = current and timing.get(SHARDS, 1) == shards
        groups = {} if cached else _sampled(name, config, rows)
        steps.append(
            PlannedStep(
                name=name,
                cached=cached,
                completions=sum(count for count, _ in groups.values()),
                token_limit=sum(count * limit for count, limit in groups.values()),
                seconds=timing.get("seconds"),
                shards=shards,
                expected=_expected(groups, (needs or {}).get(name.partition("/")[0])),
            )
        )
    return steps


def warnings(config: RunConfig) -> list[str]:
    """What the gate's policy asks of suites with too few questions, and shards without any row."""
    planned = {suite.name: Planned(suite.kind, size(suite)) for suite in config.evaluate.suites}
    return [*undecided(config.gate, planned), *_empty(config)]


def _empty(config: RunConfig) -> Iterator[str]:
    """Steps in more shards than they have rows: each one loads its model."""
    questions = sum(size(suite) for suite in config.evaluate.suites)
    for name, rows in (("refine", _rows(config)), ("evaluate", questions)):
        shards = _shards(name, config)
        if 0 < rows < shards:
            yield f"shards.{name}: {shards} shards of {rows} rows leave {shards - rows} without any"


def _sections(config: RunConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step's folder with the section of the config that it depends on."""
    whole = config.model_dump(mode="json")
    yield "ingest", whole["data"]
    for name in ("own", "refine", "shift"):
        yield name, whole[name]
    for model in (BASELINE, CHAMPION):
        yield f"evaluate/{model}", whole["evaluate"]
    for arm in config.arms.arms:
        # An arm hangs on itself and the mix, not on which other arms there are.
        yield f"arms/{arm}", {"arm": arm, **config.arms.chosen.model_dump(mode="json")}
        yield f"sft/{arm}", whole["sft"]
        yield f"evaluate/{arm}", whole["evaluate"]
    yield "drift", whole["shift"]
    yield "gate", whole["gate"]
    yield "record", whole["registry"]


def _shards(name: str, config: RunConfig) -> int:
    numbers = {"refine": config.shards.refine, "evaluate": config.shards.evaluate}
    return numbers.get(name.partition("/")[0], 1)


def _is_current(folder: Path, section: dict[str, Any], config: RunConfig, known: set[str]) -> bool:
    """Whether a finished step has this config, code and seed, and only inputs that are current."""
    if not (folder / MANIFEST).is_file():
        return False
    manifest = read_json(folder / MANIFEST)
    engine = manifest.get("engine")
    return bool(
        manifest["config"] == section
        and (engine is None or engine == config.engine.identity())
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
    paths = [fetch_file(source) for source in sources]
    paths += [
        resolve_model(model, revision)
        for model, revision in config.named_models().values()
        if Path(model).is_dir()
    ]
    suites = {digest(suite) for suite in config.evaluate.suites} - {None}
    return {input_digest(path) for path in paths if path.exists()} | {str(each) for each in suites}


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


def _sampled(name: str, config: RunConfig, rows: int) -> dict[str, tuple[int, int]]:
    """Completions that a step samples at least, by group, and the most tokens one can take."""
    step = name.partition("/")[0]
    if step == "own":
        mixes = [_count(mix.path) if mix.count is None else mix.count for mix in config.own.mix]
        counts = {
            "reference": rows * config.own.reference,
            "mix": sum(mixes),
            "refusal": rows * config.own.refusal,
        }
        return {group: (count, config.own.max_new_tokens) for group, count in counts.items()}
    if step == "refine" and config.arms.refined:
        count = rows * config.refine.candidates
        return {part: (count, config.refine.max_new_tokens) for part in ("trace", "answer")}
    if step != "evaluate":
        return {}
    groups = {}
    for suite in config.evaluate.suites:
        count = size(suite) * suite.samples
        groups[suite.name] = count, suite.sampling.max_new_tokens
    return groups


def _expected(groups: Mapping[str, tuple[int, int]], need: "Need | None") -> "Completions | None":
    if not groups or need is None:
        return None
    from dgr.probe import NOTHING, Completions

    found = (need[group].times(count) for group, (count, _) in groups.items() if group in need)
    return reduce(Completions.plus, found, NOTHING)
