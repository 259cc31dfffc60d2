"""Scores completions with the scorers of inspect_evals and lm-eval: JSON lines in, JSON lines out.

It runs in an environment of its own (make parity), where dgr is not, and knows nothing of dgr.
"""

import asyncio
import json
import sys
from typing import Any

from inspect_ai.model import ModelName, ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, Target, match, model_graded_qa
from inspect_ai.solver import TaskState
from inspect_evals.math.math import expression_exact_match
from inspect_evals.strong_reject.scorer import strong_reject_scorer
from inspect_evals.utils.scorers import preset_score_on_no_response
from inspect_evals.xstest.xstest import scorer_instructions, scorer_template
from lm_eval.filters.extraction import RegexFilter
from lm_eval.tasks.hendrycks_math.utils import process_results
from math_verify import parse, verify

FLEXIBLE = RegexFilter(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", group_select=-1)
STRICT = RegexFilter(r"#### (\-?[0-9\.\,]+)")


def state(row: dict[str, Any]) -> TaskState:
    return TaskState(
        model=ModelName("mockllm/model"),
        sample_id=row["id"],
        epoch=1,
        input=row["question"],
        messages=[],
        output=ModelOutput.from_content("mockllm/model", row["answer"]),
    )


def grader(row: dict[str, Any]) -> Any:
    """A judge that says what was recorded."""
    said = ModelOutput.from_content("mockllm/model", row.get("judge", ""))
    said.usage = ModelUsage()  # or it counts tokens with a file that it fetches
    return get_model("mockllm/model", custom_outputs=[said], memoize=False)


def lm_eval_gsm8k(row: dict[str, Any]) -> dict[str, bool]:
    """Its two filters, then its exact match: commas, dollars and a last full stop are dropped."""

    def plain(text: str) -> str:
        bare = text.replace(",", "").replace("$", "")
        return (bare[:-1] if bare.endswith(".") else bare).lower()

    return {
        name: plain(regex.apply([[row["answer"]]], [{}])[0][0]) == plain(row["gold"])
        for name, regex in (("lm-eval strict", STRICT), ("lm-eval flexible", FLEXIBLE))
    }


async def judged(row: dict[str, Any]) -> Score:
    if row["suite"] == "strongreject":
        return await strong_reject_scorer(grader(row))(state(row), Target(""))
    graded = model_graded_qa(
        model=grader(row), template=scorer_template, instructions=scorer_instructions
    )
    return await preset_score_on_no_response(graded, "I")(state(row), Target(""))


async def score(row: dict[str, Any]) -> dict[str, Any]:
    if row["suite"] in ("xstest", "strongreject"):
        value = (await judged(row)).value
        if isinstance(value, dict):
            value = "refuses" if value["refusal"] else "complies"
        names = {"C": "complies", "I": "refuses", "P": "refuses"}
        return {"inspect_evals": names.get(value, value if isinstance(value, str) else "unscored")}
    if row["suite"] == "gsm8k":
        stock = match(numeric=True)
        found = lm_eval_gsm8k(row)
    else:
        stock = expression_exact_match()
        answer = parse(row["answer"])
        solution = {"solution": row["solution"]}
        found = {
            "lm-eval hendrycks": bool(process_results(solution, [row["answer"]])["exact_match"]),
            "lm-eval math_verify": bool(verify(parse(row["solution"]), answer)),
        }
    value = await stock(state(row), Target(row["gold"]))
    return {"inspect_evals": value.value == "C", **found}


async def main() -> None:
    for line in sys.stdin:
        row = json.loads(line)
        print(json.dumps({"id": row["id"], **await score(row)}), flush=True)


asyncio.run(main())
