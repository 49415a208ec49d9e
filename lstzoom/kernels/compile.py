"""The one decorator of compiled kernels, and where compiled code is kept.

Numba keeps compiled code beside the source and takes it for fresh as long as the file of the function
itself is as old as it was. It does not see that a function which is called, and compiled into it, has
changed in another file; and it sees changes where a file was only copied. Here, code is fresh as long
as the text of its file, and of all kernels which that imports, is the same. So it survives being
installed, copied and checked out, and never outlives what it was made from.

Compiled code is kept where ``NUMBA_CACHE_DIR`` says, else in ``__pycache__`` beside the kernels, else,
where that cannot be written, in the user's cache. It belongs to one version of Python and numba and to
one processor, as numba has it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from numba import config, njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.runtime import rtsys

_F = TypeVar("_F", bound=Callable[..., Any])

_KERNELS = Path(__file__).parent
_IMPORTS = re.compile(r"^from lstzoom\.kernels(?:\.(\w+))? import (\([^)]*\)|.*)$", re.MULTILINE)


def jit(function: _F) -> _F:
    """Compile a function, without Python's lock, and keep what was compiled.

    Parameters
    ----------
    function
        Of plain arrays and numbers, in one of the modules beside this one.

    Returns
    -------
    callable
        Compiled when it is first called with arguments of given types, or taken from what was kept.
    """
    compiled: Any = njit(nogil=True)(function)
    # With NUMBA_DISABLE_JIT the function is as it was.
    if hasattr(compiled, "enable_caching"):
        make: Any = _Cache
        compiled._cache = make(function)  # noqa: SLF001  (what `cache=True` does, with our class)
    result: _F = compiled
    return result


@lru_cache
def folder() -> Path:
    """Name the folder in which compiled code is kept.

    Returns
    -------
    Path
        It may not exist yet.
    """
    if given := getattr(config, "CACHE_DIR", ""):
        return Path(given) / "lstzoom"
    beside = _KERNELS / "__pycache__"
    if os.access(beside if beside.exists() else _KERNELS, os.W_OK):
        return beside
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "lstzoom" / "kernels"


@lru_cache
def stamp(module: str) -> str:
    """Hash what the compiled code of a module is made from.

    Parameters
    ----------
    module
        Name of a module beside this one.

    Returns
    -------
    str
        The same as long as the module and all that it imports from here, near and far, have the same text.
    """
    digest = hashlib.sha256()
    for name in sorted(_needed(module)):
        digest.update(f"{name}\n{_text(name)}\n".encode())
    return digest.hexdigest()


def _needed(module: str) -> set[str]:
    """Name a module and the kernels that it imports, directly or not."""
    found, waiting = {module}, [module]
    while waiting:
        imported = _imported(waiting.pop()) - found
        found |= imported
        waiting += imported
    return found


@lru_cache
def _imported(module: str) -> frozenset[str]:
    names: set[str] = set()
    for one, several in _IMPORTS.findall(_text(module)):
        names |= {one} if one else set(re.findall(r"\w+", several))
    return frozenset(name for name in names if (_KERNELS / f"{name}.py").exists())


@lru_cache
def _text(module: str) -> str:
    return (_KERNELS / f"{module}.py").read_text(encoding="utf-8")


class _Locator(_CacheLocator):
    """Tells numba where code is kept and whether it is fresh."""

    def __init__(self, source: Path) -> None:
        self._module = source.stem

    def get_cache_path(self) -> str:
        return str(folder())

    def get_source_stamp(self) -> str:
        return stamp(self._module)

    def get_disambiguator(self) -> str:
        # No two kernels of a module have the same name, so that a line number would only add files.
        return "lstzoom"

    @classmethod
    def from_function(cls, _function: Callable[..., Any], source: str) -> _Locator:
        return cls(Path(source))


class _Kept(CompileResultCacheImpl):
    """Numba's way of keeping code, with our locator."""

    _locator_classes: list[type[object]] = [_Locator]  # noqa: RUF012  (as numba has it)


class _Cache(FunctionCache):
    """Numba's cache of a function, with our locator."""

    _impl_class = _Kept

    def load_overload(self, sig: object, target_context: Any) -> Any:  # noqa: ANN401  (numba's own types)
        """Load compiled code, or None.

        Numba would make the context ready for compiling first, which takes half a second of a start. Machine
        code needs no more than the runtime that holds its arrays. What is not kept is compiled, and then
        numba does it all the same.
        """
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]
