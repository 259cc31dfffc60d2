from dgr.sft.checkpoints import COMPLETE, checkpoints, last_complete, mark_complete


def folder(root, step, complete):
    path = root / f"checkpoint-{step}"
    path.mkdir()
    (path / "weights").write_text("x")
    if complete:
        (path / COMPLETE).touch()
    return path


def test_an_incomplete_checkpoint_is_skipped_and_removed(tmp_path):
    good = folder(tmp_path, 9, complete=True)
    bad = folder(tmp_path, 10, complete=False)
    assert last_complete(tmp_path) == good
    assert not bad.exists()


def test_steps_are_compared_as_numbers(tmp_path):
    folder(tmp_path, 9, complete=True)
    newest = folder(tmp_path, 10, complete=True)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_complete(tmp_path) == newest


def test_no_checkpoint_at_all(tmp_path):
    assert last_complete(tmp_path / "absent") is None


def test_marking_one_deletes_the_others(tmp_path):
    folder(tmp_path, 5, complete=True)
    newest = folder(tmp_path, 10, complete=False)
    mark_complete(newest)
    assert checkpoints(tmp_path) == [newest]
    assert last_complete(tmp_path) == newest
