"""Errors that a user can mend. Everything else is a bug and keeps its traceback."""


class UserError(Exception):
    """A mistake in an input, a config or the machine's set-up, told in one sentence.

    The sentence names the file, line or field, and the mend. The command line prints it
    without a traceback and exits with code 2.
    """


class MissingExtra(UserError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: pip install 'dgr[{extra}]'")
