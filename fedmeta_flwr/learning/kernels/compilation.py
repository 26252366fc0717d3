"""How functions are compiled."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile: a product and a sum may be one operation, but no sum is reordered, and NaN stays NaN."""
    numba_compile: Any = partial(numba.njit, nogil=True, error_model="numpy", fastmath={"contract"})
    try:
        result: _F = numba_compile(cache=True)(function)
    except RuntimeError:  # no folder can be written: compiled anew in each process
        result = numba_compile()(function)
    return result
