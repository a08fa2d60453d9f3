"""What can go wrong, by name. Every message says what came, what was expected and what to do.

`exit_code` is what the command line returns for an error of that kind.
"""

__all__ = ["CheckpointError", "DTypeError", "DataError", "DeviceError", "DivergedError", "GraphError", "MinigenError",
           "OutOfMemoryError", "OutputError", "ShapeError", "UsageError", "VersionError"]


class MinigenError(Exception):
    """The base of every error that minigen raises on purpose."""

    exit_code = 1


class ShapeError(MinigenError, ValueError):
    """Array shapes that do not fit the operation."""


class DTypeError(MinigenError, TypeError):
    """Array element types that do not fit, such as float32 with float64."""


class GraphError(MinigenError, RuntimeError):
    """A gradient that was asked for does not exist, or no longer does."""


class VersionError(GraphError):
    """A value that the backward pass needs was changed in place after the forward pass."""


class UsageError(MinigenError, ValueError):
    """An argument or option outside its range."""

    exit_code = 2


class DataError(MinigenError, ValueError):
    """Input data that is missing, damaged or of the wrong kind."""

    exit_code = 3


class CheckpointError(MinigenError):
    """A checkpoint that is damaged, foreign or of another architecture."""

    exit_code = 4


class DeviceError(MinigenError, RuntimeError):
    """A device that is not there, or arrays that live on different ones."""

    exit_code = 5


class OutOfMemoryError(DeviceError):
    """The GPU has less memory than was asked for, also after all that was free was given back."""


class OutputError(MinigenError, OSError):
    """A file or folder that cannot be written or read."""

    exit_code = 6


class DivergedError(MinigenError, ArithmeticError):
    """A training run whose loss is no longer finite."""

    exit_code = 7
