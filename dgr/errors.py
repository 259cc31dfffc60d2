"""Errors that a user can mend. Everything else is a bug and keeps its traceback."""


class UserError(Exception):
    """A mistake in an input, a config or the machine's set-up, told in one sentence.

    The sentence names the file, line or field, and the mend. The command line prints it
    without a traceback and exits with code 2.
    """


class MissingExtra(UserError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, more: str = "") -> None:
        hint = f"pip install 'dgr[{extra}]' {more}".rstrip()
        super().__init__(f"{package} is not installed; install it with: {hint}")


class Interrupted(BaseException):
    """A signal stopped the work before its end; the same command goes on from there.

    Not an `Exception`: nothing that catches errors can mistake stopped work for finished work.
    Nor a `KeyboardInterrupt`, of which the command line's library keeps no word.
    `exit_code` is the shell's convention, 128 + signal number: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, signum: int, done: str) -> None:
        super().__init__(f"stopped by a signal {done}; run the same command again to go on")
        self.exit_code = 128 + signum
