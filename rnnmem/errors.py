"""The one error that bad input gets."""

from __future__ import annotations


class RnnMemError(ValueError):
    """Bad input: one line that names the argument, what was expected and what came."""


def shown(value: object) -> str:
    """A value as text for a message: its repr, kept short.

    Example:
        >>> from rnnmem.errors import shown
        >>> shown(10**400)
        'an int of 1329 bits'
    """
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an int of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


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
