"""Mistakes in the cluster section are told by their field."""

from typing import Any

import pytest

from dgr.cluster import ClusterConfig
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
