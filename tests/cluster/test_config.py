"""Mistakes in the cluster section are told by their field."""

from pathlib import Path
from typing import Any

import pytest

from dgr.cluster import ClusterConfig
from dgr.config import load_run_config
from dgr.errors import UserError
from dgr.settings import parse_settings

DIGEST = "image@sha256:" + 64 * "a"


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"gpu": {"shm": "8 GB"}}, "gpu.shm: .* write 500m, 4, 512Mi or 16Gi"),
        ({"images": {"pinned": True, "train": DIGEST}}, "runner has no digest"),
        ({"images": {"pinned": True, "runner": DIGEST, "train": "image:1"}}, "train has no digest"),
        ({"env": {"HF_TOKEN": "abc"}}, "HF_TOKEN looks like a secret"),
        ({"env": {"MLFLOW_TRACKING_URI": "http://a:b@c"}}, "MLFLOW_TRACKING_URI looks like"),
        ({"secrets": [{"name": "s"}]}, "name variables in env or a folder in mount"),
        ({"secrets": [{"name": "s", "mount": "/k", "steps": ["tune"]}]}, "no step 'tune'"),
        ({"secrets": [{"name": "My Secret", "mount": "/k"}]}, "secrets.0.name"),
        ({"secrets": [{"name": "a-b", "mount": "/k"}, {"name": "a.b", "mount": "/l"}]},
         "two entries have one name"),
        ({"images": {"pinned": True, "runner": DIGEST, "train": DIGEST},
          "training": {"store": "s3://b", "image": "image:1"}}, "training.image has no digest"),
        ({"training": {"store": "/data"}}, "training.store: nodes share no disk"),
        ({"priority": "high"}, "name a queue as well"),
        ({"store": "/runs"}, "store"),
        ({"gpus": 3}, "gpus: no such key"),
    ],
)  # fmt: skip
def test_mistakes_name_their_field(section: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        parse_settings(ClusterConfig, section, "cluster")
    assert "abc" not in str(error.value) and "a:b@c" not in str(error.value)


def test_pinned_images_are_taken() -> None:
    images = {"pinned": True, "runner": DIGEST, "train": DIGEST}
    assert ClusterConfig.model_validate({"images": images}).images.train == DIGEST


def test_steps_that_load_a_model_are_in_the_class_with_the_accelerator() -> None:
    config = ClusterConfig()
    assert config.of("evaluate").accelerator == "nvidia.com/gpu"
    assert config.of("gate").accelerator is None


def test_a_step_that_follows_a_job_asks_for_no_accelerator_but_waits_as_long() -> None:
    config = ClusterConfig.model_validate({"training": {"store": "s3://b"}})
    assert config.of("sft").accelerator is None
    assert config.of("sft").memory_limit == config.cpu.memory_limit
    assert config.of("sft").timeout_s == config.gpu.timeout_s > config.cpu.timeout_s
    assert config.of("sft").scratch == config.gpu.scratch
    assert config.of("evaluate") == config.gpu


def test_a_job_trains_in_the_image_of_the_run_if_it_names_none() -> None:
    section = {"images": {"train": DIGEST}, "training": {"store": "s3://b"}}
    job = ClusterConfig.model_validate(section).train_job
    assert job is not None and job.image == DIGEST
    section["training"]["image"] = "another"
    job = ClusterConfig.model_validate(section).train_job
    assert job is not None and job.image == "another"


def test_a_batch_that_nodes_cannot_share_is_told_before_the_run() -> None:
    path = Path(__file__).parents[2] / "configs" / "cluster-gpu.yaml"
    nodes = "cluster.training={store: s3://b, gpus: 8, nodes: 2}"
    with pytest.raises(UserError, match=r"sft.batch_size 16 cannot be dealt to 16 processes in"):
        load_run_config(path, [nodes])
    assert load_run_config(path, [nodes, "sft.batch_size=32"]).cluster.train_job is not None
