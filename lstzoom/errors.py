"""What lstzoom raises when it cannot go on.

Every message says what was given, what was needed and what to do. All errors derive from
`LstzoomError`, and from the built-in class that fits, so that ``except ValueError`` works too.
"""

from __future__ import annotations

import importlib
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType

# An extra that installs nothing on an older Python: pip alone would not help the user there.
_MINIMUM_PYTHON: Final[dict[str, tuple[int, int]]] = {"icechunk": (3, 12)}


class ExitCode(IntEnum):
    """How a command ends."""

    OK = 0
    """Done, or nothing to do."""
    UNEXPECTED = 1
    """An error that is none of ours."""
    USAGE = 2
    """The command line cannot be read."""
    BAD_INPUT = 3
    """Input or settings cannot be used; the message tells the remedy."""
    FAILED = 4
    """Something failed for good, and the rest is there."""
    BUSY = 5
    """Another run holds the store."""
    STOPPED = 6
    """Cluster or store were lost."""
    INTERRUPTED = 130
    """By Ctrl-C or SIGTERM."""


class LstzoomError(Exception):
    """Base class of all errors of lstzoom."""


class InputError(LstzoomError, ValueError):
    """The data or an argument is not what the function needs."""


class GridMismatchError(InputError):
    """The coarse and the fine grid do not fit together, or not in the way asked for."""


class UnitsError(InputError):
    """The values are in another unit than the one needed, or their unit is unknown."""


class EncodingError(InputError):
    """A scale, an offset, a nodata value or a data type cannot hold the values."""


class NothingFoundError(InputError):
    """A search worked and gave nothing that can be processed."""


class ConfigError(InputError):
    """A setting, or a combination of settings, is not possible."""


class EmptySampleError(InputError):
    """No usable pixel is left to train on."""


class ClusterError(LstzoomError, RuntimeError):
    """A cluster cannot be reached, gives no workers, or its workers are not what this process needs."""


class JobError(LstzoomError):
    """A job cannot be run on this store, or not now."""


class JobChangedError(JobError, ValueError):
    """The store holds results of another job."""


class StoreBusyError(JobError):
    """Another run holds the store."""


class StoreError(LstzoomError):
    """The store of results cannot be read or written."""


class StoreFullError(StoreError):
    """The store takes no more: it is full, read-only or forbidden."""


class MissingExtraError(LstzoomError, ImportError):
    """An optional dependency is needed that is not installed."""


def import_extra(module: str, extra: str) -> ModuleType:
    """Import an optional dependency.

    Parameters
    ----------
    module
        Absolute name of the module, for example ``"s3fs"``.
    extra
        Extra of lstzoom that installs it, for example ``"s3"``.

    Returns
    -------
    ModuleType
        The imported module.

    Raises
    ------
    MissingExtraError
        If the module is not installed. If it is installed and something that it imports
        itself is absent, the original ``ModuleNotFoundError`` is raised instead, because
        installing the extra again would not help.

    Examples
    --------
    >>> import_extra("json", "s3").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not _is_same_or_parent(error.name, module):
            raise
        raise MissingExtraError(_missing_extra_message(module, extra), name=module) from error


def _is_same_or_parent(missing: str | None, module: str) -> bool:
    """Tell whether the missing module is the one asked for or a package that holds it."""
    return missing is not None and f"{module}.".startswith(f"{missing}.")


def _missing_extra_message(module: str, extra: str) -> str:
    """Say what is missing and how to get it on this Python."""
    minimum = _MINIMUM_PYTHON.get(extra)
    remedy = f'pip install "lstzoom[{extra}]"'
    if minimum is not None and sys.version_info[:2] < minimum:
        have = ".".join(map(str, sys.version_info[:2]))
        need = ".".join(map(str, minimum))
        remedy = f"this is Python {have}; use Python {need} or newer, then {remedy}"
    return f'the module {module!r} is not installed; it needs the extra "{extra}": {remedy}'
