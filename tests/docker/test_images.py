"""What `make images` builds: whole, locked down, labelled, and nothing in it that should not be."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from components.image import RUNNER, TRAIN
from dgr.checks import IMAGES
from tests.docker.conftest import LOCKED, ROOT, VLLM

NAMES = {"runner": RUNNER, "train": TRAIN, "vllm": VLLM}
KINDS = {"runner": "runner", "train": "train", "vllm": "vllm-cpu"}
"""What an image's own command calls it."""
MOST_BYTES = {"runner": 1.4e9, "train": 2.8e9, "vllm": 4.5e9}
"""On a base of 0.3 GB, with PyTorch's CPU build. A gigabyte of `vllm` is Triton."""
CREDENTIALS = (".env", ".git-credentials", ".netrc", ".pypirc", "id_ed25519", "id_rsa", "pip.conf")

Shell = Callable[..., tuple[int, str]]


@pytest.fixture(params=NAMES)
def image(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def in_container(engine: Any, image: str) -> Shell:
    """Runs a command (or the image's own) as a cluster would; gives exit status and output."""

    def run(*command: str, **options: Any) -> tuple[int, str]:
        container = engine.containers.create(
            NAMES[image], list(command) or None, **(LOCKED | options)
        )
        try:
            container.start()
            code = container.wait()["StatusCode"]
            return int(code), container.logs().decode()
        finally:
            container.remove(force=True)

    return run


def test_components_name_what_make_builds() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "images", "image-vllm", "VARIANT=cpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"--target (\w+) --tag (\S+)", done.stdout) == list(NAMES.items())


def test_it_is_not_root_and_says_what_it_is(engine: Any, image: str) -> None:
    config = engine.images.get(NAMES[image]).attrs["Config"]
    assert config["User"] == "65532:65532"
    labels = {name.rpartition(".")[2]: text for name, text in config["Labels"].items()}
    assert labels["title"] == f"dgr-{image}"
    assert labels["version"] == metadata.version("dgr")
    assert labels["licenses"] == "Apache-2.0"
    assert labels["name"] and labels["description"]
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["revision"])


@pytest.mark.parametrize("user", ["65532:65532", "12345:0"])
def test_it_is_whole_on_a_read_only_root(in_container: Shell, image: str, user: str) -> None:
    """Its own command says so, also for a user that a cluster chose."""
    code, told = in_container(user=user)
    assert code == 0, told
    if image != "vllm":  # which has words of its own to say
        assert all(line.startswith("ok ") for line in told.splitlines())
    assert all(f"{module} can be imported" in told for module in IMAGES[KINDS[image]])


@pytest.mark.parametrize("image", ["runner", "train"], indirect=True)
@pytest.mark.parametrize(
    ("options", "told"),
    [({"tmpfs": {}}, "no temporary file can be written"), ({"user": "0:0"}, "this is root")],
)
def test_what_is_wrong_fails(
    in_container: Shell, image: str, options: dict[str, Any], told: str
) -> None:
    code, output = in_container(**options)
    assert code == 2
    assert re.search(rf"^FAIL .*{told}", output, re.MULTILINE), output


@pytest.mark.parametrize("image", ["runner"], indirect=True)
def test_a_missing_package_fails(in_container: Shell) -> None:
    code, output = in_container("dgr", "doctor", "--image", "train")
    assert code == 2
    assert "FAIL  torch cannot be imported (ModuleNotFoundError" in output


@pytest.mark.parametrize("image", ["runner", "train"], indirect=True)
def test_every_component_finds_what_it_imports(in_container: Shell, image: str) -> None:
    lines = []
    for path in sorted((ROOT / "components").glob("*/component.py")):
        module = ast.parse(path.read_text())
        if f"base_image={image.upper()}" in path.read_text():
            found = [node for node in ast.walk(module) if isinstance(node, ast.ImportFrom)]
            lines += [ast.unparse(node) for node in found if (node.module or "").startswith("dgr")]
    assert len(lines) >= 6
    # Where a TrainJob trains, the step that makes it has the image without PyTorch.
    lines += ["from dgr.sft import train", "from k8s.trainjob import trainer"]
    code, told = in_container("python", "-c", "; ".join(lines))
    assert code == 0, told


def test_nothing_can_be_installed(in_container: Shell) -> None:
    code, told = in_container("python", "-m", "pip", "--version")
    assert code == 1 and "No module named pip" in told
    code, _ = in_container("python", "-m", "ensurepip")
    assert code != 0
    code, told = in_container("touch", "/opt/dgr/lib/new", read_only=False)
    assert code != 0 and "Permission denied" in told


def test_it_holds_no_secret(engine: Any, in_container: Shell, image: str) -> None:
    """What a build was told of an index or a password stays in the stages that are not kept."""
    found = engine.images.get(NAMES[image])
    made = " ".join([*found.attrs["Config"]["Env"], *(str(step) for step in found.history())])
    assert not re.search(r"PIP_|TOKEN|PASSWORD|SECRET|https?://[^/ ]*@", made, re.IGNORECASE)
    names = " -o ".join(f"-name {name!r}" for name in CREDENTIALS)
    search = rf"find / -xdev -type f \( {names} \) -not -path '/proc/*' -size +0"
    _, told = in_container("sh", "-c", search, user="0:0", cap_add=["DAC_READ_SEARCH"])
    assert told.split() == []
    code, told = in_container("sh", "-c", "ls -A /root/.cache /run/secrets /src", user="0:0")
    assert code != 0 and "\n/" not in told


def test_the_list_of_its_packages_is_whole(in_container: Shell, image: str, tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    programs, client = Path(sys.executable).parent, os.environ.get("DOCKER", "docker")
    subprocess.run(
        [ROOT / "docker" / "sbom.sh", programs, client, NAMES[image], out], cwd=ROOT, check=True
    )
    sbom = json.loads(out.read_text())
    assert sbom["metadata"]["component"]["name"] == "dgr"
    listed = {(part["name"], part["version"]) for part in sbom["components"]}
    command = (
        "from importlib.metadata import distributions as found\n"
        "for each in found(): print(each.name, each.version)"
    )
    _, told = in_container("python", "-c", command)
    installed = {tuple(line.split()) for line in told.splitlines()}
    assert listed == {(name, version) for name, version in installed if name != "dgr"}


def test_its_size_has_a_bound(engine: Any, in_container: Shell, image: str) -> None:
    if image != "runner":
        code, told = in_container("python", "-c", "import torch; print(torch.version.cuda)")
        assert code == 0
        if told.strip() != "None":
            pytest.skip("PyTorch's CUDA build weighs what it weighs")
    assert engine.images.get(NAMES[image]).attrs["Size"] <= MOST_BYTES[image]
