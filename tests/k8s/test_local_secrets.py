"""Secrets for the in-cluster stores: random, private, and each role's own."""

import json
import re
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dgr.errors import UserError
from k8s import local_secrets
from k8s.manifests import Object, needed_secrets, render


def read(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def test_files_are_private_and_belong_together(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    paths = local_secrets.write(folder)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in paths)
    password = read(folder / "postgres.env")["POSTGRES_PASSWORD"]
    uri = urlsplit(read(folder / "mlflow-database.env")["MLFLOW_BACKEND_STORE_URI"])
    assert uri.password == password and len(password) >= 32
    assert (uri.scheme, uri.hostname, uri.username) == (
        "postgresql+pg8000",
        "postgres.dgr.svc",
        "mlflow",
    )
    identities = json.loads((folder / "seaweedfs.json").read_text())["identities"]
    for identity in identities:
        keys = read(folder / f"{identity['name']}.env")
        assert identity["credentials"] == [
            {"accessKey": keys["AWS_ACCESS_KEY_ID"], "secretKey": keys["AWS_SECRET_ACCESS_KEY"]}
        ]
    rights = {identity["name"]: set(identity["actions"]) for identity in identities}
    assert rights["dgr-models-s3"] == {"Read:models", "List:models"}
    assert not any("mlflow" in right for right in rights["dgr-s3"])
    assert not any(right.startswith("Admin") for each in rights.values() for right in each)


def test_twice_is_not_the_same_and_never_over_the_old(tmp_path: Path) -> None:
    local_secrets.write(tmp_path / "a")
    local_secrets.write(tmp_path / "b")
    assert read(tmp_path / "a/dgr-s3.env") != read(tmp_path / "b/dgr-s3.env")
    with pytest.raises(UserError, match="holds Secrets already"):
        local_secrets.write(tmp_path / "a")


def test_kind_needs_no_secret_beside_them(copied: Path) -> None:
    assert needed_secrets(render(copied / "overlays/local-kind")) == set()


def test_buckets_of_the_keys_are_those_that_the_store_makes(
    rendered: dict[str, list[Object]],
) -> None:
    store = next(
        value
        for value in rendered["airgapped"]
        if value["kind"] == "StatefulSet" and value["metadata"]["name"] == "seaweedfs"
    )
    hook = store["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["postStart"]
    script = hook["exec"]["command"][-1]
    named = {bucket for buckets in local_secrets.RIGHTS.values() for bucket in buckets}
    made = re.search(r"for bucket in (.*); do", script)
    assert made and set(made[1].split()) == named


@pytest.mark.parametrize("overlay", ["gpu", "gpu-kueue", "airgapped"])
def test_needed_secrets_are_all_documented(rendered: dict[str, list[Object]], overlay: str) -> None:
    page = (Path(__file__).parents[2] / "docs/cluster.md").read_text()
    needed = needed_secrets(rendered[overlay])
    assert ("kubeflow", "dgr-s3") in needed or ("dgr", "dgr-s3") in needed
    for namespace, name in needed:
        assert f"| `{name}` |" in page, f"docs/cluster.md does not list {name} of {namespace}"
