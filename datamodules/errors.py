"""What a user can get wrong, told apart from what we got wrong."""


class RegateError(ValueError):
    """A mistake the user can mend.

    The text is one sentence that names the value found and the cure. The command line prints
    it after ``error:`` and exits with status 2, without a stack trace.
    """


class RegateWarning(UserWarning):
    """Something the user should know while the run goes on, for example a damaged file."""
