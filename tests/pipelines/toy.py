"""A pipeline of small steps in the shape of the real one, run under the real watch.

    python -m tests.pipelines.toy RUN TEXT WHAT [docker]

Arm `b` does WHAT: `work`, `fail`, `crash`, `killed`, or `wait` until it is stopped.
"""

import sys
from pathlib import Path

from kfp import dsl

from components.image import RUNNER
from pipelines.containers import Containers
from pipelines.local import pipeline_run

ROOT = Path(__file__).parents[2]


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def first(text: str, run: str, out: dsl.Output[dsl.Artifact]) -> None:
    from dgr.runtime import Component
    from tests.pipelines.toy_steps import settings, write

    with Component(settings(run), out, "first") as step:
        write(step, text)


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def sft(
    arm: str, what: str, run: str, rows: dsl.Input[dsl.Artifact], out: dsl.Output[dsl.Artifact]
) -> None:
    from dgr.runtime import Component
    from tests.pipelines.toy_steps import do, settings, write

    with Component(settings(run), out, f"sft/{arm}") as step:
        step.input(rows)
        if arm == "b":
            do(what, run)
        write(step, arm)


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def last(run: str, tuned: dsl.Input[list[dsl.Artifact]], out: dsl.Output[dsl.Artifact]) -> None:
    from dgr.runtime import Component
    from tests.pipelines.toy_steps import settings, write

    with Component(settings(run), out, "last") as step:
        write(step, " ".join(step.inputs(tuned)))


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def finish(run: str, status: dsl.PipelineTaskFinalStatus) -> None:
    from pathlib import Path

    Path(run, "status.txt").write_text(status.state)


@dsl.pipeline(name="toy")
def toy(arms: list, text: str, what: str, run: str) -> None:  # type: ignore[type-arg]
    done = finish(run=run)
    done.set_caching_options(False)
    with dsl.ExitHandler(done):
        begun = first(text=text, run=run).outputs["out"]
        with dsl.ParallelFor(arms, parallelism=2) as arm:
            tuned = sft(arm=arm, what=what, run=run, rows=begun).outputs["out"]
        last(run=run, tuned=dsl.Collected(tuned))


def containers(run: Path) -> Containers:
    """Containers that find these steps, which no image holds."""
    return Containers(
        frozenset({run}), frozenset({ROOT / "tests"}), environment={"PYTHONPATH": str(ROOT)}
    )


def main(run: Path, text: str, what: str, runner: Containers | None = None) -> None:
    """What `run_align` does, with another pipeline."""
    with pipeline_run(run, 2, runner):
        toy(arms=["a", "b", "c"], text=text, what=what, run=str(run))


if __name__ == "__main__":
    run = Path(sys.argv[1])
    main(run, sys.argv[2], sys.argv[3], containers(run) if "docker" in sys.argv else None)
