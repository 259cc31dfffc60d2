"""A task as somebody writes it who has never heard of dgr: own data, solver, scorer, few shots."""

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Target, accuracy, scorer, stderr
from inspect_ai.solver import Generate, TaskState, solver

QUESTION = "Start with {start}. A: Add {add}. Keep only the last digit. What is left?"


@solver
def shown_first(shots: int):
    """Examples as earlier turns of the conversation, then the question."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        for number in range(shots):
            question = QUESTION.format(start=number, add=1)
            answer = f"The result is {number + 1}."
            state.messages[-1:-1] = [
                ChatMessageUser(content=question), ChatMessageAssistant(content=answer)
            ]  # fmt: skip
        return await generate(state, max_tokens=16)

    return solve


@solver
def asked_twice():
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state = await generate(state)
        state.messages.append(ChatMessageUser(content=state.input_text))
        return await generate(state)

    return solve


@scorer(metrics=[accuracy(), stderr()])
def ends_in():
    async def score(state: TaskState, target: Target) -> Score:
        said = state.output.completion.strip().rstrip(".").split()
        right = bool(said) and said[-1] == target.text
        return Score(value=CORRECT if right else INCORRECT, answer=said[-1] if said else None)

    return score


@task
def last_digit(items: int = 6, shots: int = 0, twice: bool = False) -> Task:
    data = [
        Sample(
            id=f"digit-{number}",
            input=QUESTION.format(start=number % 10, add=1 + number // 10),
            target=str((number % 10 + 1 + number // 10) % 10),
            metadata={"family": "digits"},
        )
        for number in range(items)
    ]
    return Task(
        dataset=MemoryDataset(data, name="digits"),
        solver=asked_twice() if twice else shown_first(shots),
        scorer=ends_in(),
        config=GenerateConfig(max_tokens=16, stop_seqs=["A:"]),
    )
