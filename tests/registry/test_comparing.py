from pathlib import Path

from dgr.registry import diff
from tests.registry.candidates import candidate, opened


def test_versions_differ_in_what_was_changed_and_nothing_else(run: Path) -> None:
    candidate(run, "one")
    candidate(run, "two")
    registry = opened(run)
    found = {difference.what: difference for difference in diff(registry, "1", "2")}
    assert {"file model.safetensors", "file decision.json"} <= set(found)
    assert not any(name.startswith(("policy", "training.config")) for name in found)
    assert found["file model.safetensors"].before != found["file model.safetensors"].after
    assert diff(registry, "2", "candidate") == []
