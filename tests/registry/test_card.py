"""The model card: figures, data, the commands of a receiver, and hostile text."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from dgr.files import read_json, sha256_file, write_json
from dgr.registry.card import card
from tests.report.runs import HOSTILE

MARKUP = "|x| `b` \\| `` ** [t](http://e.org) ![i](j) <b>& # $a$ ~~s~~\n\n# head\n---\n"


def made(run: Path, **options: Any) -> str:
    decision = read_json(run / "gate" / "decision.json")
    return card("small-safe", run, decision, options.pop("base", "org/base"), **options)


def front_matter(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def body(text: str) -> str:
    return text.split("---\n", 2)[2]


def rendered(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(body(text)))


def sections(text: str) -> list[str]:
    return re.findall(r"^## (.*)$", text, re.MULTILINE)


def test_the_card_has_its_sections_and_says_the_same_every_time(run: Path) -> None:
    text = made(run)
    assert sections(text) == ["Evaluation", "Gate", "Shift", "Data", "Limits", "How to verify"]
    assert text == made(run)
    assert front_matter(text) == {
        "base_model": "org/base",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["safety", "distribution-grounded-refinement", "dgr"],
    }


def test_the_licence_is_told_where_it_is_known(run: Path) -> None:
    assert front_matter(made(run, licence="mit"))["license"] == "mit"


def test_a_hub_data_set_is_named_for_the_hub(run: Path) -> None:
    change_source(run, "hub:org/set")
    assert front_matter(made(run))["datasets"] == ["org/set"]


def test_figures_data_and_suites_are_there(run: Path) -> None:
    text = made(run)
    assert "| Reasoning accuracy | 100.0 % [" in text
    assert "| `harmful_compliance` | passed |" in text
    digest = read_json(run / "evaluate" / "dgr" / "manifest.json")["inputs"]["suite/maths"]
    assert f"| maths | reasoning | 60 | `{digest}` |" in text
    assert "(format plain, licence: MIT), 1 rows, SHA-256 `" in text


def change_source(run: Path, source: str) -> None:
    path = run / "ingest" / "manifest.json"
    manifest = read_json(path)
    manifest["config"]["source"] = source
    write_json(path, manifest)


class Seen(HTMLParser):
    """Tags and their text, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("hostile", [HOSTILE, MARKUP])
def test_hostile_text_is_shown_and_does_nothing(run: Path, hostile: str) -> None:
    change_source(run, f"data/{hostile}.jsonl")
    for arm in ("base", "dgr"):
        path = run / "evaluate" / arm / "manifest.json"
        manifest = read_json(path)
        manifest["config"]["suites"][1]["name"] = hostile
        manifest["inputs"][f"suite/{hostile}"] = "0" * 64
        write_json(path, manifest)
        summary = read_json(run / "evaluate" / arm / "summary.json")
        summary["suites"][hostile] = summary["suites"]["harmful-set"]
        write_json(run / "evaluate" / arm / "summary.json", summary)
    decision = read_json(run / "gate" / "decision.json")
    decision["rules"][0] |= {"name": f"reasoning_difference/{hostile}", "reason": hostile}
    write_json(run / "gate" / "decision.json", decision)

    calm, text = made(run, base="b"), made(run, base=f"org/{hostile}")
    seen = Seen(rendered(text))
    assert seen.tags == {"h1", "h2", "p", "strong", "code", "pre", "table", "thead", "tbody",
                         "tr", "th", "td"}  # fmt: skip
    assert sections(text) == sections(calm)
    for line in text.splitlines():
        if line.startswith("| "):
            assert line.count("|") in {4, 5}, line
    assert "\u202e" not in text
    assert "\x00" not in text
    one_line = " ".join(hostile.split())
    if one_line.isprintable():
        assert seen.text.count(one_line) >= 4  # rule, reason, source, suite
    assert front_matter(text)["tags"][-1] == "dgr"


def commands(text: str) -> Iterator[str]:
    yield from re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def bundle(run: Path, text: str) -> Path:
    folder = run / "bundle"
    folder.mkdir()
    (folder / "README.md").write_text(text)
    (folder / "config.json").write_text("{}")
    files = {path.name: sha256_file(path) for path in folder.iterdir()}
    write_json(folder / "manifest.json", {"files": files})
    return folder


def shell(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder, env={"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_receivers_command_names_a_changed_file(run: Path) -> None:
    text = made(run)
    check, verify = commands(text)
    assert verify == "dgr models verify small-safe VERSION\n"
    folder = bundle(run, text)
    assert shell(check, folder).returncode == 0
    (folder / "config.json").write_text("{ }")
    changed = shell(check, folder)
    assert changed.returncode != 0
    assert "config.json: FAILED" in changed.stdout
    (folder / "config.json").unlink()
    assert shell(check, folder).returncode != 0


def test_the_receivers_command_checks_the_signature(run: Path) -> None:
    pytest.importorskip("model_signing", reason="needs model-signing")
    assert "model_signing" not in made(run)
    text = made(run, signed=True)
    _, check, _ = commands(text)
    folder = bundle(run, text)
    for command in (
        "openssl ecparam -name prime256v1 -genkey -noout -out ../signing.key",
        "openssl ec -in ../signing.key -pubout -out ../signing.pub",
        "model_signing sign key . --private_key ../signing.key --signature model.sig",
    ):
        done = shell(command, folder)
        assert done.returncode == 0, done.stderr
    check = check.replace("signing.pub", "../signing.pub")
    assert shell(check, folder).returncode == 0
    (folder / "config.json").write_text("{ }")
    assert shell(check, folder).returncode != 0


def test_json_is_the_only_thing_a_shell_reads(run: Path) -> None:
    """A file's name reaches the check as data, whatever it holds."""
    folder = bundle(run, made(run))
    odd = folder / "$(touch owned) `touch owned`; 'x'.json"
    odd.write_text("{}")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][odd.name] = sha256_file(odd)
    write_json(folder / "manifest.json", manifest)
    check, _ = commands(made(run))
    assert shell(check, folder).returncode == 0
    assert not (folder / "owned").exists()
