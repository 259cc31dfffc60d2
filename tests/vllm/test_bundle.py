"""A bundle that was downloaded from the store loads in transformers and is served by vLLM."""

import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dgr.registry import approve, promote
from tests.registry import candidates
from tests.registry.conftest import empty_store, run, runs
from tests.registry.test_moving import digest_of
from tests.s3 import free_port, s3, s3_server
from tests.servers import wait_until

__all__ = ["empty_store", "run", "runs", "s3", "s3_server"]

MODEL = Path(__file__).parents[2] / "models" / "nano-lrm"
TOKENS = 150


def questions() -> list[str]:
    """Of each kind the first."""
    files = (MODEL / "data" / "eval" / f"{kind}.jsonl" for kind in ("reasoning", "harmless"))
    return [json.loads(file.read_text().splitlines()[0])["question"] for file in files]


@pytest.fixture
def bundle(run: Path, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A champion with the weights of nano-LRM, downloaded from S3."""
    model = run / "sft" / "dgr" / "model"
    for path in MODEL.iterdir():
        if path.is_file() and path.name != "README.md":
            shutil.copy2(path, model / path.name)
    monkeypatch.setattr(candidates, "change_weights", lambda folder, weights: None)
    config = candidates.CONFIG.model_copy(update={"store": f"{s3}/{tmp_path.name}"})
    candidates.candidate(run, "one", config)
    registry = candidates.opened(run, config)
    approve(registry, "1", reason="ok")
    promote(registry, "1")
    folder = tmp_path / "bundle"
    registry.store.get_folder(f"models/{config.name}/{digest_of(registry, '1')}", folder)
    return folder


def transformers_answers(folder: Path) -> list[str]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    answers = []
    for question in questions():
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        made = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)
        new = made[0][prompt["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True))
    return answers


def ask(url: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_transformers_and_vllm_answer_alike(vllm_python: str, bundle: Path, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [vllm_python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(bundle)]
    command += ["--served-model-name", "safe", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--enforce-eager"]
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        wait_until(lambda: healthy(url), server, f"vLLM (see {tmp_path / 'log'})")
        answers = [
            ask(
                url,
                "/v1/chat/completions",
                {
                    "model": "safe",
                    "messages": [{"role": "user", "content": question}],
                    "temperature": 0,
                    "max_tokens": TOKENS,
                },
            )["choices"][0]["message"]["content"]
            for question in questions()
        ]
    finally:
        server.terminate()
        server.wait()
    assert answers == transformers_answers(bundle)
    assert all(len(answer) > 20 for answer in answers)
