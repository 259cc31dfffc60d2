"""The field's harnesses at the seams: inspect_ai's logs and tasks, lm-evaluation-harness's results.

    write_logs(evaluation, out, arm="dgr")      # what evaluation wrote, for `inspect view`
    run_tasks(config.tasks, ...)                # tasks of others, as suites
    read_log(path), read_lm_eval(path)          # completions made elsewhere
    admit(log, demand)                          # only where they are what was asked for

Our own suites never pass through a harness: that costs more than a small model does.
"""

from dgr.harness.config import TaskConfig
from dgr.harness.demands import Demand, admit
from dgr.harness.foreign import ForeignLog, ForeignSample
from dgr.harness.lm_eval import read_lm_eval
from dgr.harness.read import read_log
from dgr.harness.tasks import run_tasks, task_inputs
from dgr.harness.write import write_logs

__all__ = [
    "Demand",
    "ForeignLog",
    "ForeignSample",
    "TaskConfig",
    "admit",
    "read_lm_eval",
    "read_log",
    "run_tasks",
    "task_inputs",
    "write_logs",
]
