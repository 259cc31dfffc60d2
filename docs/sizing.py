"""Estimate what a run needs: `python docs/sizing.py configs/cluster-gpu.yaml --price 2.5`.

Formulas over the model's shape, the config's rows and samples, and what is assumed of a GPU; no
measurement. Without arguments it writes the tables of docs/sizing.md, for 7B and 32B.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dgr.config import RunConfig, load_run_config
from dgr.files import write_text

PAGE = Path(__file__).parent / "sizing.md"
EXAMPLE = PAGE.parents[1] / "configs" / "cluster-gpu.yaml"
BEGIN, END = "<!-- sizes:begin -->", "<!-- sizes:end -->"
GB = 1e9


@dataclass(frozen=True)
class Shape:
    """Of a model: what its config.json says."""

    parameters: float
    layers: int
    hidden: int
    kv_heads: int
    head: int
    vocabulary: int

    @property
    def weights(self) -> float:
        """Bytes, in bfloat16."""
        return 2 * self.parameters

    @property
    def kv(self) -> int:
        """Bytes of one token's keys and values, in bfloat16."""
        return 2 * 2 * self.layers * self.kv_heads * self.head

    def full_training(self, tokens: int) -> tuple[float, float]:
        """Bytes that all GPUs share, and that each has, with `tokens` in a pass.

        Shared: weights, gradients and both of Adam's means in float32. Each: one checkpoint a
        layer, one layer's activations, and the logits in float32 with their gradients.
        """
        return 16 * self.parameters, self._activations(tokens)

    def lora_training(self, tokens: int) -> tuple[float, float]:
        """The same: the base whole in each, beside which an adapter is small."""
        return 0.0, self.weights * 1.05 + self._activations(tokens)

    def _activations(self, tokens: int) -> float:
        checkpoints = 2 * self.layers * self.hidden * tokens
        return checkpoints + 34 * self.hidden * tokens + 2 * 4 * self.vocabulary * tokens


MODELS = {
    "7B": Shape(7.62e9, 28, 3584, 4, 128, 152_064),
    "32B": Shape(32.8e9, 64, 5120, 8, 128, 152_064),
}
"""Qwen2.5's, from which R1-Distill-Qwen and s1.1 were made."""


@dataclass(frozen=True)
class Assumed:
    """What is assumed, each an option of the command."""

    memory: float = 80.0
    """GB of a GPU."""
    bandwidth: float = 3_350.0
    """GB/s of its memory."""
    flops: float = 989.0
    """TFLOP/s in bfloat16."""
    usable: float = 0.9
    """Share of the memory that may be planned with."""
    training: float = 0.35
    """Share of the FLOP/s that training and scoring reach."""
    sampling: float = 0.3
    """Share of the bandwidth that sampling reaches."""
    length: float = 0.4
    """Mean length of what is sampled, as a share of max_new_tokens."""
    row: int = 2_000
    """Tokens of a training row, prompt included."""
    suite: int = 300
    """Questions of a suite that sets no limit."""
    price: float | None = None
    """Of one GPU for an hour; None: no money is told."""


@dataclass(frozen=True)
class Step:
    name: str
    tokens: float
    seconds: float
    """On one GPU that held it all; several share it."""


def gpus_for(shared: float, each: float, assumed: Assumed) -> int:
    """Smallest power of two of GPUs on which it fits; 0 where `each` does not fit one."""
    room = assumed.memory * GB * assumed.usable
    if each >= room:
        return 0
    return 1 << max(0, math.ceil(math.log2(max(1.0, shared / (room - each)))))


def to_sample(model: Shape, assumed: Assumed, longest: int) -> tuple[int, int]:
    """GPUs, and sequences at once: the weights once, and at least 8 sequences of `longest`."""
    each = model.kv * longest
    gpus = gpus_for(model.weights + 8 * each, 0, assumed)
    room = gpus * assumed.memory * GB * assumed.usable - model.weights
    return gpus, min(256, int(room / each))


def steps(config: RunConfig, model: Shape, assumed: Assumed) -> Iterator[Step]:
    """Every step that needs a GPU."""
    rows = config.data.limit or 1_000
    extra = sum(mix.count or 1_000 for mix in config.own.mix)
    longest = config.engine.max_context or 16_384
    _, at_once = to_sample(model, assumed, longest)

    def sampled(name: str, samples: float, most: int) -> Step:
        tokens = samples * most * assumed.length
        # A token of every sequence: all weights, and the sequences' keys and values, half grown.
        read = model.weights + at_once * model.kv * most * assumed.length / 2
        rate = at_once * assumed.sampling * assumed.bandwidth * GB / read
        return Step(name, tokens, tokens / rate)

    def computed(name: str, tokens: float, passes: float) -> Step:
        rate = assumed.training * assumed.flops * 1e12
        return Step(name, tokens, tokens * passes * model.parameters / rate)

    refine, own, sft = config.refine, config.own, config.sft
    yield sampled("refine", rows * (refine.candidates + refine.resample), refine.max_new_tokens)
    yield sampled("own", (rows + extra) * own.attempts, own.max_new_tokens)
    yield computed("shift", 3 * min(rows, config.shift.max_rows or rows) * assumed.row, 2)
    mixed = rows * (1 + config.arms.harmless_mix)
    seen = sft.max_steps * sft.batch_size if sft.max_steps else mixed * sft.epochs
    # Forward 2 and backward 4 FLOPs a parameter and token, 2 without the weights' own gradients;
    # 2 more to compute activations again.
    passes = (6 if sft.method == "full" else 4) + (2 if sft.gradient_checkpointing else 0)
    for arm in config.arms.arms:
        yield computed(f"sft {arm}", seen * assumed.row, passes)
    for evaluated in ("base", *config.arms.arms):
        parts = [
            sampled("", (suite.limit or assumed.suite) * suite.samples,
                    suite.sampling.max_new_tokens)
            for suite in config.evaluate.suites
        ]  # fmt: skip
        tokens, seconds = sum(p.tokens for p in parts), sum(p.seconds for p in parts)
        yield Step(f"evaluate {evaluated}", tokens, seconds)


def memory_table(assumed: Assumed, tokens: int, longest: int) -> Iterator[list[str]]:
    """What fits where, a line a use."""
    yield ["use", "model", "all GPUs share, GB", "each GPU has, GB", "GPUs", "sequences at once"]
    for name, model in MODELS.items():
        gpus, at_once = to_sample(model, assumed, longest)
        kv = at_once * model.kv * longest / GB
        shared = model.weights / GB + kv
        yield ["sample, serve", name, f"{shared:.0f}", "–", str(gpus), str(at_once)]
    for use, kind in (("SFT, LoRA", "lora_training"), ("SFT, full (FSDP2)", "full_training")):
        for name, model in MODELS.items():
            shared, each = getattr(model, kind)(tokens)
            gpus = gpus_for(shared, each, assumed)
            count = str(gpus) if gpus else "not on such a GPU"
            yield [use, name, f"{shared / GB:.0f}", f"{each / GB:.0f}", count, "–"]


def disk_table(arms: int) -> Iterator[list[str]]:
    """Disks and the store."""
    yield ["what", *MODELS]
    weights = [model.weights / GB for model in MODELS.values()]
    states = [12 * model.parameters / GB for model in MODELS.values()]
    lines = {
        "weights in bfloat16: a step's own disk at least": weights,
        "the step that follows a TrainJob: model and result": [2 * size for size in weights],
        "a checkpoint of full training, in the store": states,
        "a run in the store: a model an arm, merged, and the bundle": [
            (arms + 1) * size for size in weights
        ],
    }
    for what, sizes in lines.items():
        yield [what, *(f"{size:.0f} GB" for size in sizes)]


def time_table(config: RunConfig, assumed: Assumed) -> Iterator[list[str]]:
    """GPU-hours a step."""
    money = ["cost"] if assumed.price is not None else []
    yield ["step", "tokens, million", *(f"{name}, GPU-hours" for name in MODELS), *(
        f"{name}, {word}" for name in MODELS for word in money
    )]  # fmt: skip
    found = {name: list(steps(config, model, assumed)) for name, model in MODELS.items()}
    first = next(iter(found.values()))
    hours = {name: [each.seconds * _gpus(name, each, config, assumed) / 3_600 for each in made]
             for name, made in found.items()}  # fmt: skip
    for place, step in enumerate(first):
        yield _line(step.name, step.tokens, [hours[name][place] for name in MODELS], assumed)
    yield _line("all", sum(s.tokens for s in first), [sum(hours[name]) for name in MODELS], assumed)


def _gpus(name: str, step: Step, config: RunConfig, assumed: Assumed) -> int:
    """Bandwidth of several GPUs adds up only in part: a model over two is paid for twice."""
    sampled = step.name.partition(" ")[0] in ("refine", "own", "evaluate")
    longest = config.engine.max_context or 16_384
    return to_sample(MODELS[name], assumed, longest)[0] if sampled else 1


def _line(name: str, tokens: float, hours: list[float], assumed: Assumed) -> list[str]:
    money = [f"{each * assumed.price:.0f}" for each in hours] if assumed.price is not None else []
    return [name, f"{tokens / 1e6:.1f}", *(f"{each:.1f}" for each in hours), *money]


def table(lines: Iterator[list[str]]) -> str:
    titles, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in [titles, ["---"] * len(titles), *rest])


def report(config: RunConfig, assumed: Assumed) -> str:
    tokens = (config.sft.micro_batch_size or config.sft.batch_size) * assumed.row
    longest = config.engine.max_context or 16_384
    return "\n\n".join(
        [
            f"Memory, for {tokens:,} tokens in a training pass and sequences of {longest:,}:",
            table(memory_table(assumed, tokens, longest)),
            "Disks:",
            table(disk_table(len(config.arms.arms))),
            "Time:",
            table(time_table(config, assumed)),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", type=Path, help="none: write docs/sizing.md")
    for name, value in vars(Assumed()).items():
        kind = float if value is None else type(value)
        parser.add_argument(f"--{name}", type=kind, default=value)
    given = vars(parser.parse_args())
    path = given.pop("config")
    text = report(load_run_config(path or EXAMPLE), Assumed(**given))
    if path:
        print(text)
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    write_text(PAGE, f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
