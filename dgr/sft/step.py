"""Fine-tune the target on one arm's rows."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from dgr.errors import MissingExtra, UserError
from dgr.files import read_records
from dgr.records import Record, TrainingRow
from dgr.sft.config import SftConfig
from dgr.sft.order import total_steps, training_order
from dgr.sft.rows import EncodedRow, encode_rows, longest
from dgr.sft.team import ALONE, Team
from dgr.steps import MANIFEST, StepFolder, verify
from dgr.thinking import load_chat

RESULT = "result"
"""Folder of finished but unpublished results in the work folder."""


class TrainStep(Record):
    """One optimizer step."""

    step: int
    loss: float
    """Mean NLL of the batch's supervised tokens before the step, nats per token."""
    learning_rate: float
    grad_norm: float
    """Global norm of the gradients before clipping."""
    tokens: int
    """Tokens of the batch, padding not counted."""
    supervised_tokens: int
    """Tokens of the batch that carry loss."""


def train(
    config: SftConfig, *, model: Path, arm: Path, out: Path, seed: int, team: Team = ALONE
) -> None:
    """Fine-tune the model folder `model` on the rows of `arm`, an output of `build_arm`.

    Writes to `out`: `model/` (full or merged weights; tokenizer and template as in the base),
    `adapter/` for LoRA, records.jsonl of `TrainStep`. Goes on from the last checkpoint when a
    former run of the same step was stopped. On the CPU, equal inputs, seed and threads give equal
    bytes, stopped or not. Raises `UserError` for a row that does not fit (`on_long_row: fail`),
    an empty set or a broken loss, and `Interrupted` after SIGTERM or Ctrl-C.

    Every process of a `team` calls this; the one that leads writes to `out`.
    """
    _require_packages()
    if not team.leads:
        tokenizer, rows, _ = _rows(config, model, arm)
        _train(config, model, tokenizer, rows, _order(config, rows, seed, team), out, seed, team)
        return
    with StepFolder(out, "sft", config, {"model": model, "arm": arm}, seed) as step:
        if step.finished:
            return
        tokenizer, rows, dropped = _rows(config, model, arm)
        order = _order(config, rows, seed, team)
        log = _train(config, model, tokenizer, rows, order, step.work, seed, team)
        _publish(step.work / RESULT, out)
        records = _records(log, rows, order, config.batch_size)
        step.finish(_summary(config, records, rows, dropped), {"records.jsonl": records})


def show_masks(config: SftConfig, *, model: Path, arm: Path, rows: int) -> str:
    """The first `rows` rows of an arm as tokens with and without loss, in plain text."""
    from dgr.sft.masks import render

    tokenizer, encoded, dropped = _rows(config, model, arm)
    longest_row = longest(encoded)
    foot = (
        f"{len(encoded):,} rows, {sum(row.tokens for row in encoded):,} tokens, "
        f"{sum(row.supervised for row in encoded):,} with loss; {len(dropped):,} rows dropped; "
        f"longest row {longest_row.id}: {longest_row.tokens:,} tokens"
    )
    return "\n\n".join([*(render(row, tokenizer) for row in encoded[:rows]), foot]) + "\n"


def _require_packages() -> None:
    for package in ("torch", "transformers", "peft", "trl"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "train")


def _rows(config: SftConfig, model: Path, arm: Path) -> tuple[Any, list[EncodedRow], list[str]]:
    """The tokenizer, the rows that fit, and the ids of those dropped."""
    verify(arm)
    chat = load_chat(model, config.thinking)
    limit = _limit(config, model)
    rows = list(read_records(arm / "records.jsonl", TrainingRow))
    encoded, dropped = encode_rows(chat, rows, limit, config.on_long_row)
    if not encoded:
        why = f"all {len(rows):,} rows are longer than {limit:,} tokens" if rows else "it is empty"
        raise UserError(f"no row of {arm / 'records.jsonl'} can be trained on: {why}")
    return chat.tokenizer, encoded, dropped


def _limit(config: SftConfig, model: Path) -> int | None:
    """Most tokens a row may have; None for an architecture without a bound."""
    from transformers import AutoConfig

    try:
        settings = AutoConfig.from_pretrained(model, local_files_only=True).get_text_config()
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the model in {model} cannot be loaded: {reason}") from None
    context: int | None = getattr(settings, "max_position_embeddings", None)
    if config.max_length is None or context is None:
        return config.max_length or context
    if config.max_length > context:
        raise UserError(
            f"sft.max_length is {config.max_length:,} but the context of {model} is {context:,} "
            "tokens; lower it or leave it out"
        )
    return config.max_length


def _order(config: SftConfig, rows: list[EncodedRow], seed: int, team: Team) -> list[int]:
    """The order of the rows. A team's last batch is filled up, so that all get the same share."""
    steps = total_steps(len(rows), config.epochs, config.batch_size, config.max_steps)
    budget = config.max_steps if team.size == 1 else steps
    lengths = [row.tokens for row in rows]
    return training_order(lengths, config.epochs, config.batch_size, budget, seed)


def _train(
    config: SftConfig,
    base: Path,
    tokenizer: Any,
    rows: list[EncodedRow],
    order: list[int],
    work: Path,
    seed: int,
    team: Team,
) -> list[dict[str, float]]:
    """Train, and leave the results in `work / RESULT` if we lead; the log entries are returned."""
    from dgr.sft.export import save_adapter, save_model, writing
    from dgr.sft.training import fit, load_for_training, quiet

    result = work / RESULT
    if team.leads:
        shutil.rmtree(result, ignore_errors=True)
    with quiet(config):
        model, stored = load_for_training(config, base)
        trained, log = fit(
            config,
            model=model,
            tokenizer=tokenizer,
            rows=rows,
            order=order,
            steps=total_steps(len(rows), config.epochs, config.batch_size, config.max_steps),
            checkpoints=team.checkpoints or work / "checkpoints",
            seed=seed,
            team=team,
        )
        if not team.leads:
            return log
        if team.sharded:
            whole, _ = load_for_training(config, base)
            whole.load_state_dict(trained)
            trained = whole
        with writing(result):
            if config.method == "lora":
                save_adapter(trained, base, result / "adapter")
                # Merged in float32: the sum is rounded once, to the dtype of the base.
                trained = trained.float().merge_and_unload() if config.merge else None
            if trained is not None:
                save_model(trained, base, result / "model", stored)
    return log


def _publish(result: Path, out: Path) -> None:
    """Move the finished folders into `out`, over those of a former run with other inputs."""
    (out / MANIFEST).unlink(missing_ok=True)
    for name in ("model", "adapter"):
        shutil.rmtree(out / name, ignore_errors=True)
        if (result / name).is_dir():
            shutil.move(result / name, out / name)


def _records(
    log: list[dict[str, float]], rows: list[EncodedRow], order: list[int], batch_size: int
) -> list[TrainStep]:
    records = []
    for entry in log:
        number = int(entry["step"])
        batch = [rows[i] for i in order[(number - 1) * batch_size : number * batch_size]]
        records.append(
            TrainStep(
                step=number,
                loss=entry["loss"],
                learning_rate=entry["learning_rate"],
                grad_norm=entry["grad_norm"],
                tokens=sum(row.tokens for row in batch),
                supervised_tokens=sum(row.supervised for row in batch),
            )
        )
    return records


def _summary(
    config: SftConfig, records: list[TrainStep], rows: list[EncodedRow], dropped: list[str]
) -> dict[str, Any]:
    last = records[-max(1, len(records) // 10) :]
    longest_row = longest(rows)
    return {
        "method": config.method,
        "steps": len(records),
        "rows": len(rows),
        "rows_dropped": len(dropped),
        "dropped_ids": dropped[:20],
        "final_loss": records[-1].loss,
        "final_loss_mean": sum(record.loss for record in last) / len(last),
        "final_loss_steps": len(last),
        "tokens_seen": sum(record.tokens for record in records),
        "supervised_tokens_seen": sum(record.supervised_tokens for record in records),
        "longest_row": {"id": longest_row.id, "tokens": longest_row.tokens},
    }
