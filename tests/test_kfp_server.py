"""The server of the tests holds requests and answers against KFP's contract."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.kfp_server import ROOT, KfpServer, contract, kfp

__all__ = ["contract", "kfp"]


def ask(kfp: KfpServer, method: str, path: str, body: Any = None) -> int:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        kfp.url + path, data, {"Content-Type": "application/json"}, method=method
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    ("method", "path", "body", "violation"),
    [
        ("GET", "/apis/v1beta1/runs", None, "no path /apis/v1beta1/runs"),
        ("PUT", f"{ROOT}/runs", {}, "has no PUT"),
        ("GET", f"{ROOT}/runs?resource_reference_key.id=1", None, "no query parameter resource"),
        ("GET", f"{ROOT}/runs?page_size=all", None, "page_size is all"),
        ("POST", f"{ROOT}/experiments", {"name": "dgr"}, "'name' was unexpected"),
        ("POST", f"{ROOT}/experiments", {"display_name": 1}, "1 is not of type 'string'"),
        ("POST", f"{ROOT}/experiments", None, "None is not of type 'object'"),
        ("POST", f"{ROOT}/runs", {"runtime_config": {"params": {}}}, "'params' was unexpected"),
        ("POST", f"{ROOT}/recurringruns", {"mode": "ON"}, "'ON' is not one of"),
        ("POST", f"{ROOT}/recurringruns", {"trigger": {"cron_schedule": {"start_time": "now"}}},
         "'now' is not a 'date-time'"),
        ("POST", f"{ROOT}/pipelines/upload_version", {"name": "v"}, "no part uploadfile"),
    ],
)  # fmt: skip
def test_what_the_contract_does_not_allow_is_a_violation(
    kfp: KfpServer, method: str, path: str, body: Any, violation: str
) -> None:
    assert ask(kfp, method, path, body) == 400
    [found] = kfp.violations
    assert violation in found
    kfp.violations.clear()


def test_an_answer_that_the_contract_does_not_allow_is_one_too(kfp: KfpServer) -> None:
    kfp.experiments["1"] = {"display_name": "dgr", "experiment_id": "1", "colour": "red"}
    assert ask(kfp, "GET", f"{ROOT}/experiments") == 400
    assert "'colour' was unexpected" in kfp.violations.pop()


def test_what_is_allowed_is_none(kfp: KfpServer) -> None:
    assert ask(kfp, "GET", f"{ROOT}/healthz") == 200
    assert ask(kfp, "POST", f"{ROOT}/experiments", {"display_name": "dgr"}) == 200
    assert ask(kfp, "POST", f"{ROOT}/experiments", {"display_name": "dgr"}) == 409
    assert ask(kfp, "GET", f"{ROOT}/runs/none") == 404
