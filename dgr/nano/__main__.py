"""`python -m dgr.nano data|train|measure|card`: each part of the recipe alone."""

import argparse
import sys
from pathlib import Path

from dgr.nano.abilities import measure
from dgr.nano.card import write_card
from dgr.nano.data import write_data
from dgr.nano.train import NanoConfig, train

FOLDER = Path("models/nano-lrm")
WORK = Path("runs/nano-lrm")


def main() -> int:
    """Run one part; 1 when the measured abilities fall short."""
    parser = argparse.ArgumentParser(prog="python -m dgr.nano", description=__doc__)
    parser.add_argument("part", choices=("data", "train", "measure", "card"))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the model's folder")
    parser.add_argument("--work", type=Path, default=WORK, help="unfinished work")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.part == "data":
        write_data(given.folder / "data", given.seed)
    elif given.part == "train":
        train(NanoConfig(), work=given.work, out=given.folder, seed=given.seed)
    elif given.part == "card":
        write_card(given.folder)
    else:
        table = measure(
            given.folder, data=given.folder / "data", work=given.work / "measure", seed=given.seed
        )
        for row in table:
            print(f"{row.name:40} {row.estimate.value:.3f} {'met' if row.met else 'NOT MET'}")
        return 0 if all(row.met for row in table) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
