"""Every object has only fields that its API has, in the oldest and the newest supported version."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from k8s.manifests import Object, name_of
from tests.k8s.conftest import OVERLAYS

CRDS = Path(__file__).parents[3] / "shared" / "crds"
KUBERNETES = ("1.33", "1.36")
WITHOUT_SCHEMA = {"PrometheusRule", "ExternalSecret"}
"""Kinds of optional components whose definitions are not at hand."""

Rendered = dict[str, list[Object]]


def is_custom(value: Object) -> bool:
    group = value["apiVersion"].partition("/")[0]
    return "." in group and not group.endswith(".k8s.io")


@cache
def definitions() -> dict[tuple[str, str], Object]:
    """Schemas by apiVersion and kind, with every unknown field refused."""
    found = {}
    for path in sorted(CRDS.glob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text()):
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = deepcopy(version["schema"]["openAPIV3Schema"])
                schema["properties"].pop("metadata", None)  # any object's; the API server's own
                strict = refuse_unknown(schema)
                strict["properties"]["metadata"] = {"type": "object"}
                found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = strict
    return found


def refuse_unknown(schema: Any) -> Any:
    """The API server prunes what a structural schema does not name; here it is an error."""
    if isinstance(schema, list):
        return [refuse_unknown(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {
        key: {name: refuse_unknown(each) for name, each in value.items()}
        if key == "properties"
        else refuse_unknown(value)
        for key, value in schema.items()
    }
    open_ended = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & set(schema)
    if schema.get("type") == "object" and not open_ended:
        strict["additionalProperties"] = False
    return strict


def problems(value: Object, version: str) -> Iterator[str]:
    if is_custom(value):
        schema = definitions()[value["apiVersion"], value["kind"]]
        errors = jsonschema.Draft202012Validator(schema).iter_errors(value)
        yield from (f"{name_of(value)}: {error.json_path}: {error.message}" for error in errors)
        return
    try:
        kubernetes_validate.validate(value, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{name_of(value)}: {error}"


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_objects_are_valid(rendered: Rendered, overlay: str, version: str) -> None:
    objects = [value for value in rendered[overlay] if not is_custom(value)]
    assert len(objects) > 20
    assert [each for value in objects for each in problems(value, version)] == []


@pytest.mark.skipif(not CRDS.is_dir(), reason=f"{CRDS} is not on this machine")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_custom_resources_are_valid(rendered: Rendered, overlay: str) -> None:
    custom = [value for value in rendered[overlay] if is_custom(value)]
    known = [value for value in custom if value["kind"] not in WITHOUT_SCHEMA]
    assert {"TrainingRuntime", "ServingRuntime"} <= {value["kind"] for value in known}
    assert [each for value in known for each in problems(value, "")] == []


@pytest.mark.skipif(not CRDS.is_dir(), reason=f"{CRDS} is not on this machine")
def test_an_unknown_or_mistyped_field_is_found(rendered: Rendered) -> None:
    objects = {value["kind"]: deepcopy(value) for value in rendered["everything"]}
    runtime = objects["TrainingRuntime"]
    runtime["spec"]["mlPolicy"]["torch"]["numProcPerNode"] = "auto"  # moved to the TrainJob in 2.3
    queue = objects["ClusterQueue"]
    queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"][0]["nominalQuota"] = ["8"]
    deployment = objects["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readyProbe"] = {}
    for value in (runtime, queue, deployment):
        assert list(problems(value, "1.36")), name_of(value)
