"""The one decorator of compiled kernels, and where compiled code is kept.

Numba keeps compiled code beside the source and takes it for fresh as long as the file of the function
itself is as old as it was. It does not see that a function which is called, and compiled into it, has
changed in another file; and it sees changes where a file was only copied. Here, code is fresh as long
as the text of its file, and of all kernels which that imports, is the same. So it survives being
installed, copied and checked out, and never outlives what it was made from.

Compiled code is kept where ``NUMBA_CACHE_DIR`` says, else in ``__pycache__`` beside the kernels, else,
where that cannot be written, in the user's cache; then what is beside the kernels is taken all the same,
because who installs may have compiled for all. It belongs to one version of Python and numba and to one
processor, as numba has it. Where nothing can be kept a run compiles for itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from numba import config, njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, _CacheLocator
from numba.core.runtime import rtsys

logger = logging.getLogger(__name__)

_F = TypeVar("_F", bound=Callable[..., Any])

_KERNELS = Path(__file__).parent
_DAMAGED = (EOFError, pickle.UnpicklingError)
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
    beside = _beside()
    if os.access(beside if beside.exists() else _KERNELS, os.W_OK):
        return beside
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # a user without a home, as in a container
        return beside
    return Path(home) / "lstzoom" / "kernels"


def places() -> tuple[Path, ...]:
    """Name the folders in which compiled code is looked for, the one in which it is kept first."""
    if getattr(config, "CACHE_DIR", ""):
        return (folder(),)
    return tuple(dict.fromkeys((folder(), _beside())))


def _beside() -> Path:
    return _KERNELS / "__pycache__"


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


class _Files(IndexDataCacheFile):
    """Numba's files of a function: code for each signature, and a list of them."""

    def load(self, key: object) -> Any:  # noqa: ANN401  (numba's own types)
        """Load code, or None if there is none that can be read."""
        try:
            return super().load(key)  # type: ignore[no-untyped-call]
        except (OSError, *_DAMAGED):
            return None

    def _load_index(self) -> dict[object, str]:
        """Load the list; one that a machine left half-written is as good as none."""
        try:
            listed: dict[object, str] = super()._load_index()  # type: ignore[no-untyped-call]
        except _DAMAGED:
            return {}
        return listed

    def save(self, key: object, data: object) -> None:
        """Keep code under a name that no other code can have.

        Numba numbers its files. Of processes that compile at the same time one would list what the other has
        written under that number, and one that dies in between leaves a list that names older code.
        """
        told = f"{self._version} {self._source_stamp} {key!r}"
        name = self._data_name_pattern.format(number=int(hashlib.sha256(told.encode()).hexdigest()[:12], 16))
        self._save_data(name, data)  # type: ignore[no-untyped-call]
        listed = self._load_index()
        if not listed:
            self._forget_but(name)
        self._save_index({**listed, key: name})  # type: ignore[no-untyped-call]

    def _forget_but(self, name: str) -> None:
        """Delete code that an older list named; who still looks for it compiles anew."""
        stem = self._index_name.removesuffix(".nbi")
        for path in Path(self._cache_path).glob(f"{stem}.*.nbc"):
            if path.name != name:
                path.unlink(missing_ok=True)


class _Cache(FunctionCache):
    """Numba's cache of a function, with our locator and files."""

    _impl_class = _Kept

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        stem, fresh = self._impl.filename_base, self._impl.locator.get_source_stamp()
        self._places = [_Files(str(place), stem, fresh) for place in places()]  # type: ignore[no-untyped-call]
        self._cache_file = self._places[0]

    def load_overload(self, sig: object, target_context: Any) -> Any:  # noqa: ANN401  (numba's own types)
        """Load compiled code, or None.

        Numba would make the context ready for compiling first, which takes half a second of a start. Machine
        code needs no more than the runtime that holds its arrays. What is not kept is compiled, and then
        numba does it all the same.
        """
        rtsys.initialize(target_context)
        key = self._index_key(sig, target_context.codegen())  # type: ignore[no-untyped-call]
        for files in self._places:
            if (data := files.load(key)) is not None:
                return self._impl.rebuild(target_context, data)
        _tell_compiling()
        return None

    def save_overload(self, sig: object, data: object) -> None:
        """Keep compiled code where that is possible."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            _tell_not_kept(error.strerror)


@lru_cache(maxsize=1)
def _tell_compiling() -> None:
    logger.info("compiling kernels, which takes up to a minute and is kept in %s", folder())


@lru_cache
def _tell_not_kept(why: str) -> None:
    logger.warning(
        "compiled kernels cannot be kept in %s (%s), so that every process compiles them anew; set "
        "NUMBA_CACHE_DIR to a folder that can be written, and run `lstzoom warm`",
        folder(), why,
    )  # fmt: skip
