"""Print what pyproject.toml asks for: the package's own needs and those of the extras named.

python3 docker/requirements.py mlflow-server sign kfp
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def requirements(extras: list[str]) -> list[str]:
    project = tomllib.loads(PROJECT.read_text())["project"]
    optional = project["optional-dependencies"]

    def of(extra: str) -> Iterator[str]:
        """An extra's own lines, and those of the extras that it names as dgr[...]."""
        for line in optional[extra]:
            if named := re.fullmatch(r"dgr\[(.+)\]", line):
                for other in named[1].split(","):
                    yield from of(other.strip())
            else:
                yield line

    found = [*project["dependencies"], *(line for extra in extras for line in of(extra))]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
