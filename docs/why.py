"""What nano-LRM declines, word by word, in the cells of configs/studies/nano-why.yaml.

Requests for harm are told apart by their verb: whether the few rows that a cell was trained on had
it, and, where a category was held out, verb by verb.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.measuring import table
from dgr.arms.choosing import choose
from dgr.config import RunConfig
from dgr.data import ingest
from dgr.files import read_records
from dgr.judges.base import Stance
from dgr.nano.requests import HARMFUL_ACTS
from dgr.records import EvalRecord, Sample
from dgr.stats import proportion
from dgr.study import load_study
from dgr.study.cell import CellsConfig
from dgr.study.cells import cells_of
from dgr.study.findings import share

CONFIG = Path("configs/studies/nano-why.yaml")
CATEGORIES = {verb: name for name, verbs in HARMFUL_ACTS.items() for verb in verbs}
HEADER = ("Set", "Switch", "Verbs", "Harmful compliance; n counts verbs of a cell")


def words(studied: Path) -> str:
    """A table, from the folder that the study filled."""
    study = load_study("ablation", CONFIG)
    settings = CellsConfig.of_study(study)
    found: dict[tuple[str, str, str], list[list[float]]] = {}
    for cell in cells_of(study):
        if not cell.trains:
            continue
        config = settings.of(cell)
        known = {_verb(sample.question) for sample in _trained_on(config) if sample.harmful}
        records = read_records(studied / "cells" / cell.id / "records.jsonl", EvalRecord)
        for verb, complied in _by_verb(records).items():
            if group := _group(verb, config.arms.without, known):
                key = (str(cell.factors["set"]), str(cell.factors["switch"]), group)
                found.setdefault(key, []).append(complied)
    return table(HEADER, [(*key, share(proportion(each))) for key, each in found.items()])


def _trained_on(config: RunConfig) -> list[Sample]:
    with tempfile.TemporaryDirectory() as scratch:
        ingest(config.data, out=Path(scratch), seed=config.seed)
        samples = list(read_records(Path(scratch) / "records.jsonl", Sample))
    return choose(samples, config.arms.chosen, config.seed)


def _verb(question: str) -> str | None:
    return next((verb for verb in CATEGORIES if f" {verb} " in question), None)


def _by_verb(records: Iterable[EvalRecord]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for record in records:
        verb = _verb(record.question)
        if record.kind == "harmful" and verb:
            complies = record.answer_stance is Stance.COMPLIES
            found.setdefault(verb, []).append(float(complies))
    return found


def _group(verb: str, without: Iterable[str], known: set[str | None]) -> str | None:
    """What is counted together; None: what was trained on, where a category was held out."""
    if without:
        return verb if CATEGORIES[verb] in without else None
    return "in the rows" if verb in known else "in none of the rows"
