"""Tags become digests by asking a registry, or nothing is written."""

from pathlib import Path

import pytest
import yaml

from components.image import RUNNER, TRAIN
from k8s import pin
from k8s.manifests import images, is_pinned, render


def test_pins_are_what_the_registry_says(
    unpinned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pin.main(["--registry", "ghcr.io/acme/dgr/"]) == 0
    found = {each["name"]: each for each in yaml.safe_load(pin.PINS.read_text())["images"]}
    assert {image.name for image in pin.wanted()} == set(found)
    # Ours from the registry that was named, others from their own.
    assert found["dgr-runner"]["newName"] == "ghcr.io/acme/dgr/dgr-runner"
    assert found["seaweedfs"]["newName"] == "docker.io/chrislusf/seaweedfs"
    # The very tag was asked for.
    assert found["seaweedfs"]["digest"] == pin.resolve("docker.io/chrislusf/seaweedfs:3.92")
    assert f"dgr-runner: ghcr.io/acme/dgr/dgr-runner@{found['dgr-runner']['digest']}" in (
        capsys.readouterr().out
    )
    rendered = images(render(unpinned / "overlays/gpu"))
    assert len(rendered) == 3 and all(map(is_pinned, rendered))


def test_production_does_not_render_without_pins(unpinned: Path) -> None:
    for overlay in ("gpu", "gpu-kueue", "airgapped"):
        with pytest.raises(Exception, match=r"cannot be rendered: .*components/pins"):
            render(unpinned / "overlays" / overlay)


def test_nothing_is_written_when_one_image_is_missing(
    unpinned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pin.main(["--registry", "ghcr.io/missing"]) == 2
    said = capsys.readouterr().err
    assert "ghcr.io/missing/dgr-runner:0.1.0-python3.11 has no digest that crane could find" in said
    assert "MANIFEST_UNKNOWN" in said
    assert not pin.PINS.exists()


def test_no_client_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pin, "PINS", tmp_path / "pins.yaml")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pin.main(["--registry", "ghcr.io/acme"]) == 2
    assert capsys.readouterr().err == (
        "error: no program to ask registries with; install crane, or docker with buildx\n"
    )


def test_an_answer_that_is_no_digest_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "crane"
    program.write_text("#!/bin/sh\necho latest\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(Exception, match="has no digest that crane could find"):
        pin.resolve("registry/image:1")


def test_a_mirror_is_told_what_to_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert pin.main(["--registry", "registry.internal/dgr", "--copies"]) == 0
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert len(lines) == len(pin.wanted())
    assert lines["docker.io/library/postgres:17.6"] == "registry.internal/dgr/postgres:17.6"


def test_the_images_are_those_of_the_components_and_the_model_server() -> None:
    ours = {f"{image.repository}:{image.tag}" for image in pin.wanted() if image.is_ours}
    assert ours == {RUNNER, TRAIN, f"{RUNNER.replace('runner', 'vllm')}-gpu"}


@pytest.mark.parametrize(
    ("image", "whole"),
    [
        (f"registry/image@sha256:{'0a' * 32}", True),
        ("registry/image:1.0", False),
        (f"registry/image@sha256:{'0a' * 31}", False),
        (f"registry/image@sha256:{'0g' * 32}", False),
        (f"@sha256:{'0a' * 32}", False),
    ],
)
def test_what_counts_as_pinned(image: str, whole: bool) -> None:
    assert is_pinned(image) is whole
