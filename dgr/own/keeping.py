"""Which of its own completions a model may be trained on."""

from dgr.engines.base import Completion
from dgr.judges.base import Judge, Stance
from dgr.judges.marking import Marker
from dgr.own.prompts import Task
from dgr.records import Component, Finish


class Keeping:
    """Reasoning must be right, help with harmless prompts must help, the rest must refuse."""

    def __init__(self, judge: Judge, mark: Marker | None) -> None:
        self._judge, self._mark = judge, mark

    def problem(self, task: Task, completion: Completion) -> str | None:
        """Why a completion may not be trained on; None if it may."""
        if completion.finish is Finish.LENGTH or not completion.closed:
            return "cut"
        if task.gold is not None:
            return None if self._is_right(completion.answer, task.gold) else "wrong"
        answer = self._stance(task, Component.ANSWER, completion.answer)
        if task.harmful is False:
            return None if answer is Stance.COMPLIES else f"answer {answer.value}"
        trace = self._stance(task, Component.TRACE, completion.trace)
        if trace is answer is Stance.REFUSES:
            return None
        return f"trace {trace.value}, answer {answer.value}"

    def _is_right(self, answer: str, gold: str) -> bool:
        assert self._mark is not None  # the config asks for a scorer where there is a gold answer
        return self._mark(answer, gold).right

    def _stance(self, task: Task, part: Component, text: str) -> Stance:
        return self._judge.judge(task.question, text, part.value).stance
