"""The model server in its image, started as the ServingRuntime starts it."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.docker.conftest import LOCKED, ROOT, VLLM

START_SECONDS = 300
"""It took 35 s on two cores that had nothing else to do."""
RUNTIME = ROOT / "k8s" / "base" / "serving.yaml"
ON_KIND = ROOT / "k8s" / "overlays" / "local-kind" / "kustomization.yaml"
MODEL = ROOT / "models" / "nano-lrm"
ASK = """
import json, sys, urllib.request
url, body = "http://127.0.0.1:8080" + sys.argv[1], sys.argv[2]
asked = urllib.request.Request(url, body.encode() or None, {"Content-Type": "application/json"})
print(urllib.request.urlopen(asked, timeout=60).read().decode())
"""


def runtime() -> dict[str, Any]:
    """The server's container, with what the overlay for one machine adds to it."""
    found = next(iter(yaml.safe_load_all(RUNTIME.read_text())))["spec"]["containers"][0]
    patches = yaml.safe_load(ON_KIND.read_text())["patches"]
    (patch,) = (each["patch"] for each in patches if each["target"]["name"] == "dgr-vllm")
    for change in yaml.safe_load(patch):
        found[change["path"].split("/")[4]].append(change["value"])
    return dict(found)


class Server:
    def __init__(self, container: Any) -> None:
        self.container = container

    def wait(self) -> None:
        """Until it serves, by its own log: each question from inside is a process that slows it."""
        end = time.monotonic() + START_SECONDS
        while self.container.status != "exited" and time.monotonic() < end:
            if b"startup complete" in self.container.logs(tail=5):
                return
            time.sleep(0.5)
            self.container.reload()
        raise RuntimeError(f"vLLM did not start: {self.container.logs(tail=30).decode()}")

    def ask(self, path: str, body: Any = None) -> str | None:
        """An answer, asked for from inside: the container has no network."""
        told = json.dumps(body) if body else ""
        code, (out, _) = self.container.exec_run(["python", "-c", ASK, path, told], demux=True)
        return out.decode() if code == 0 else None


@pytest.fixture
def server(engine: Any) -> Iterator[Server]:
    made = runtime()
    container = engine.containers.create(
        VLLM,
        [word.replace("{{.Name}}", "nano") for word in (*made["command"], *made["args"])],
        environment={each["name"]: each["value"] for each in made["env"]},
        user=f"{made['securityContext']['runAsUser']}:{made['securityContext']['runAsGroup']}",
        volumes={str(MODEL): {"bind": "/mnt/models", "mode": "ro"}},
        shm_size="1g",
        **LOCKED,
    )
    try:
        container.start()
        yield Server(container)
    finally:
        container.remove(force=True)


def test_it_answers_as_the_runtime_starts_it(server: Server) -> None:
    """Not root, the root file system read-only, no capability and no network."""
    server.wait()
    assert server.ask("/health") is not None
    (question, *_) = (MODEL / "data" / "eval" / "reasoning.jsonl").read_text().splitlines()
    asked = {"role": "user", "content": json.loads(question)["question"]}
    body = {"model": "nano", "messages": [asked], "temperature": 0, "max_tokens": 200}
    answer = server.ask("/v1/chat/completions", body)
    assert answer is not None
    (choice,) = json.loads(answer)["choices"]
    assert choice["finish_reason"] == "stop"
    assert json.loads(question)["answer"] in choice["message"]["content"].rpartition("</think>")[2]
