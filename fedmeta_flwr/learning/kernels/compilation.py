"""How functions are compiled, and where the result is kept.

Numba keeps compiled code beside the source file, or by the file's path. Flower copies an app into another folder for
each run, so each run would compile anew; and a change in one file does not outdate what another file has compiled from
it. Here the folder, in the user's cache folder, depends on the content of all kernels and on the kind of processor.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from filelock import FileLock
from llvmlite import binding
from platformdirs import user_cache_dir

_F = TypeVar("_F", bound=Callable[..., Any])


@cache
def _folder() -> Path | None:
    """Return the folder of compiled code, which exists; None if none can be written."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    parts = [file.read_bytes() for file in files]
    parts += [numba.__version__.encode(), binding.get_host_cpu_name().encode()]
    parts += [binding.get_host_cpu_features().flatten().encode()]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    folder = Path(user_cache_dir("fedmeta_flwr"), f"kernels-{digest}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            return folder
    except OSError:
        return None


class CacheLocator:
    """Tells Numba where to keep the code of a function; named in its setting ``CACHE_LOCATOR_CLASSES``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = function.__module__

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> "CacheLocator":
        """Return the locator of a function; the file is not used."""
        return cls(function)

    def ensure_cache_path(self) -> None:
        """Do nothing: the folder exists."""

    def get_cache_path(self) -> str:
        """Return the folder."""
        return str(_folder())

    def get_source_stamp(self) -> str:
        """Return what must be equal for the code to be used: the folder, whose name depends on the content."""
        return str(_folder())

    def get_disambiguator(self) -> str:
        """Return what tells functions of the same name apart."""
        return self._name


@contextmanager
def _located() -> Iterator[None]:
    settings: Any = numba.config
    before = settings.CACHE_LOCATOR_CLASSES
    settings.CACHE_LOCATOR_CLASSES = f"{__name__}.{CacheLocator.__name__}"
    try:
        yield
    finally:
        settings.CACHE_LOCATOR_CLASSES = before


def compiled(function: _F) -> _F:
    """Compile a function that other compiled functions call.

    A product and a sum may be one operation, but no sum is reordered, and NaN stays NaN.
    """
    decorate: Any = numba.njit(cache=_folder() is not None, nogil=True, error_model="numpy", fastmath={"contract"})
    with _located():
        result: _F = decorate(function)
    return result


def kernel(function: _F) -> _F:
    """Compile a function that Python calls; the type of its first argument, an array, determines all others.

    When a process calls it for a type for the first time, other processes wait, and then load what that one compiled.
    """
    inner = compiled(function)
    known: set[np.dtype[Any]] = set()

    @wraps(function)
    def call(first: np.ndarray, *others: Any) -> Any:
        if first.dtype in known:
            return inner(first, *others)
        folder = _folder()
        with FileLock(folder / "lock") if folder else nullcontext():
            result = inner(first, *others)
        known.add(first.dtype)
        return result

    return call  # type: ignore[return-value]
