from collections.abc import Iterator
from pathlib import Path

import pytest

from k8s.client import Cluster
from tests.k8s_server import CRDS, KubernetesServer, crd_schemas, served
from tests.registry.conftest import empty_store, run, runs
from tests.s3 import s3, s3_server

__all__ = ["empty_store", "run", "runs", "s3", "s3_server"]


@pytest.fixture
def served_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[KubernetesServer, Cluster]]:
    """A cluster that validates against the published CRDs, where they are on this machine."""
    yield from served(tmp_path, monkeypatch, crd_schemas())


@pytest.fixture
def server(served_cluster: tuple[KubernetesServer, Cluster]) -> KubernetesServer:
    return served_cluster[0]


@pytest.fixture
def cluster(served_cluster: tuple[KubernetesServer, Cluster]) -> Cluster:
    return served_cluster[1]


needs_crds = pytest.mark.skipif(
    not CRDS.is_dir(), reason=f"the published CRDs are not on this machine ({CRDS})"
)
