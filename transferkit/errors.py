"""The one exception for what a user can cause and mend."""


class TransferkitError(ValueError):
    """A mistake in the input, told in one message: what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with status 1. A `ValueError`, so that
    library users may catch it as such.
    """
