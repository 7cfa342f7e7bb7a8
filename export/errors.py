"""What can be wrong with training data; the one error type of this package beside those of sidecar."""

from sidecar.errors import RouterError


class DataError(RouterError):
    """The data or an option is wrong; the message names the file, the column and the remedy, and quotes no prompt."""

    status = "INVALID_ARGUMENT"
