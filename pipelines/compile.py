"""Compile the pipelines: `python -m pipelines.compile`, with --check to look for drift only.

align.yaml       the run as it is, for a first look at any KFP
align-gpu.yaml   the run on a cluster, as configs/cluster-gpu.yaml says
study.yaml       a study, as it is
study-gpu.yaml   a study on the same cluster
manifests/       the same as Kubernetes resources (Pipeline, PipelineVersion), for GitOps
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from kfp import compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions
from kfp.dsl.graph_component import GraphComponent

from dgr.config import load_run_config
from dgr.files import sha256_text
from pipelines.align import align
from pipelines.cluster import align_on, on_cluster
from pipelines.study import study

FOLDER = Path(__file__).parent
EXAMPLE = FOLDER.parent / "configs" / "cluster-gpu.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a file differs")
    check = parser.parse_args().check
    differ = {path: text for path, text in compiled().items() if not _holds(path, text)}
    for path, text in differ.items():
        if check:
            print(f"{path} differs from its source: run python -m pipelines.compile")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    return 1 if check and differ else 0


def compiled() -> dict[Path, str]:
    """Every compiled file of the repository with what it must hold."""
    config = load_run_config(EXAMPLE)
    gpu = align_on(config.cluster, config.shards, config.one_engine)
    return {
        FOLDER / "align.yaml": text_of(align),
        FOLDER / "align-gpu.yaml": text_of(gpu),
        FOLDER / "study.yaml": text_of(study),
        FOLDER / "study-gpu.yaml": text_of(on_cluster(config.cluster, study)),
        FOLDER / "manifests" / "align-gpu.yaml": manifests_of(gpu),
    }


def text_of(pipeline: GraphComponent, **options: Any) -> str:
    """The compiled pipeline, as YAML."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(made), **options)
        return made.read_text()


def manifests_of(pipeline: GraphComponent) -> str:
    """The pipeline as Kubernetes resources. A version never changes, so its name is its content."""
    options = KubernetesManifestOptions(
        pipeline_name=pipeline.name,
        pipeline_version_name=version_name(pipeline.name, text_of(pipeline)),
        include_pipeline_manifest=True,
    )
    return text_of(pipeline, kubernetes_manifest_format=True, kubernetes_manifest_options=options)


def version_name(name: str, text: str) -> str:
    """The name of a compiled pipeline's version: equal content, equal name."""
    return f"{name}-{sha256_text(text)[:12]}"


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
