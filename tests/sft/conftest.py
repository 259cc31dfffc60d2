from pathlib import Path

import pytest

from dgr.records import Origin, TrainingRow
from dgr.sft import SftConfig
from dgr.steps import StepFolder

ROWS = [
    TrainingRow(
        id=f"row-{number}",
        question=f"What is {number} plus {number}?",
        trace="Let me add. " * (1 + number % 5) + f"It gives {2 * number}.",
        answer=f"The answer is {2 * number}.",
        origin=Origin.EXTERNAL,
    )
    for number in range(20)
]


def write_arm(folder: Path, rows: list[TrainingRow]) -> Path:
    """An arm's folder as `build_arm` leaves it."""
    with StepFolder(folder, "arm", SftConfig(), {}, seed=0) as step:
        step.finish({"rows": len(rows)}, {"records.jsonl": rows})
    return folder


@pytest.fixture(scope="session")
def arm(tmp_path_factory) -> Path:
    return write_arm(tmp_path_factory.mktemp("arm") / "arm", ROWS)
