"""Which texts fit the model's context. None is cut: one that does not fit is not measured."""

from collections.abc import Iterable

from dgr.engines.base import ScoreRequest
from dgr.thinking import ChatFormat


def that_fit(
    chat: ChatFormat, context_length: int, requests: Iterable[ScoreRequest]
) -> tuple[list[ScoreRequest], list[ScoreRequest]]:
    """The requests whose prompt and completion fit the context, and those that do not."""
    fit: list[ScoreRequest] = []
    too_long: list[ScoreRequest] = []
    for request in requests:
        prompt = chat.prompt_ids(request.question)
        completion = chat.completion_ids(request.trace, request.answer)
        fits = len(prompt) + len(completion) <= context_length
        (fit if fits else too_long).append(request)
    return fit, too_long
