"""What may be logged of an error from elsewhere."""

from traceback import format_tb


def place(error: BaseException) -> str:
    """The kind of an error and where it happened; not what it says, since that may quote the prompt it choked on."""
    return f"{type(error).__name__}\n{''.join(format_tb(error.__traceback__))}"
