"""Compile the pipeline: `python -m pipelines.compile`, with --check to look for drift only."""

import argparse
import sys
import tempfile
from pathlib import Path

from kfp import compiler

from pipelines.align import align

COMPILED = Path(__file__).with_name("align.yaml")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the file differs")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / COMPILED.name
        compiler.Compiler().compile(align, str(made))
        text = made.read_text()
    if not check:
        COMPILED.write_text(text)
    elif not COMPILED.is_file() or COMPILED.read_text() != text:
        print(f"{COMPILED} differs from its source: run python -m pipelines.compile")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
