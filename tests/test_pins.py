"""What constraints.txt pins can be installed where pyproject.toml says the project can."""

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def test_every_pin_takes_the_oldest_python_of_the_project() -> None:
    """Debian's 3.11.2 is one of them: a pin for 3.11.5 breaks images built on it."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    oldest = min(each.version for each in SpecifierSet(asked) if each.operator == ">=") + ".0"
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line).name for line in lines if line and not line.startswith("#")]
    names = list(map(canonicalize_name, pins))
    installed = {canonicalize_name(each.name) for each in metadata.distributions()}
    found = {
        name: metadata.metadata(name).get("Requires-Python") for name in names if name in installed
    }
    assert len(found) > len(names) / 2
    refuse = {
        name: wanted for name, wanted in found.items()
        if wanted and not SpecifierSet(wanted).contains(oldest)
    }  # fmt: skip
    assert refuse == {}
