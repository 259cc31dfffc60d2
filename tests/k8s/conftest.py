"""The overlays, rendered as a user renders them: with pins and Secrets made by our own commands."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dgr.errors import UserError
from k8s import deploy, local_secrets, pin
from k8s.manifests import Object, kubectl, render
from tests.servers import postgres

__all__ = ["postgres"]

SOURCE = Path(__file__).parents[2] / "k8s"
REGISTRY = "registry.internal:5000/dgr"
EVERYTHING = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base]
components:
  - ../../components/postgres
  - ../../components/seaweedfs
  - ../../components/gpu
  - ../../components/kueue
  - ../../components/scheduled-run
  - ../../components/registry-checks
  - ../../components/serving-check
  - ../../components/external-secrets
  - ../../components/prometheus
  - ../../components/model-hub
  - ../../components/notifications
  - ../../components/pins
"""
PRODUCTION = ("gpu", "gpu-kueue", "airgapped")
OVERLAYS = ("local-kind", *PRODUCTION, "everything")

# A registry client that knows a digest for each reference, as a registry does for what it holds.
CRANE = """\
#!/bin/sh
[ "$1" = digest ] || exit 64
case "$2" in *missing*) echo "MANIFEST_UNKNOWN: $2" >&2; exit 1;; esac
printf 'sha256:%s\\n' "$(printf %s "$2" | sha256sum | cut -d' ' -f1)"
"""


@pytest.fixture(scope="session", autouse=True)
def has_kubectl() -> None:
    try:
        kubectl()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def crane(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `crane` that needs no network."""
    folder = tmp_path_factory.mktemp("crane")
    program = folder / "crane"
    program.write_text(CRANE)
    program.chmod(0o755)
    return folder


@pytest.fixture
def unpinned(tmp_path: Path, crane: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of k8s/ as it is committed, on which our commands work."""
    return copy_of_k8s(tmp_path / "k8s", crane, monkeypatch)


@pytest.fixture
def copied(unpinned: Path) -> Path:
    """The same, with pins and local Secrets."""
    return complete(unpinned)


@pytest.fixture(scope="session")
def rendered(
    tmp_path_factory: pytest.TempPathFactory, crane: Path
) -> Iterator[dict[str, list[Object]]]:
    """All objects of every overlay, by its name."""
    folder = tmp_path_factory.mktemp("rendered") / "k8s"
    with pytest.MonkeyPatch.context() as patch:
        complete(copy_of_k8s(folder, crane, patch))
        yield {name: render(folder / "overlays" / name) for name in OVERLAYS}


def copy_of_k8s(folder: Path, crane: Path, patch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("pins", "secrets", "*.py"))
    everything = folder / "overlays/everything"
    everything.mkdir()
    (everything / "kustomization.yaml").write_text(EVERYTHING)
    patch.setattr(pin, "PINS", folder / "components/pins/kustomization.yaml")
    patch.setattr(deploy, "OVERLAYS", folder / "overlays")
    patch.setenv("PATH", f"{crane}:/usr/bin:/bin")
    return folder


def complete(folder: Path) -> Path:
    assert pin.main(["--registry", REGISTRY, "--mirror"]) == 0
    local_secrets.write(folder / "overlays/local-kind/secrets")
    return folder
