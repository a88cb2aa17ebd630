"""The one error that bad input gets."""

from __future__ import annotations


class RnnMemError(ValueError):
    """Bad input: one line that names the argument, what was expected and what came."""


def expected(argument: str, wanted: object, got: object) -> RnnMemError:
    """Returns the error to raise for `argument`.

    Args:
        argument: the argument's name as the caller wrote it.
        wanted: what would have been accepted, in words.
        got: what came, in words.

    Returns:
        An `RnnMemError` whose text is one line.

    Example:
        >>> from rnnmem.errors import expected
        >>> str(expected("lags", "a non-negative int", -1))
        'lags: expected a non-negative int, got -1'
    """
    line = f"{argument}: expected {wanted}, got {got}"
    return RnnMemError(" ".join(line.split()))
