"""What of a mosaic is done: one small object for each tile beside the store, written after the tile.

A mosaic that is made again goes on where it stopped; one of other scenes or settings is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lstzoom.errors import ConfigError

_PLAN: Final = "plan.json"
_DONE: Final = "done"


@dataclass(frozen=True)
class Ledger:
    """The ledger of one store.

    Parameters
    ----------
    url
        Folder or address of its own, beside the store.
    options
        For fsspec.
    """

    url: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, store: str, options: Mapping[str, Any] | None = None) -> Ledger:
        """Ledger of a store."""
        return cls(f"{store.rstrip('/')}.ledger", tuple(sorted((options or {}).items())))

    def _system(self) -> tuple[Any, str]:
        import fsspec  # noqa: PLC0415  (slow to import)

        system, root = fsspec.core.url_to_fs(self.url, **dict(self.options))
        # What other processes wrote counts, not what was there when it was first looked at.
        system.invalidate_cache()
        return system, root

    def plan(self) -> dict[str, Any] | None:
        """Return what the ledger was begun with; None if there is none.

        Raises
        ------
        ConfigError
            If what is there is no ledger.
        """
        system, root = self._system()
        try:
            found = json.loads(system.cat_file(f"{root}/{_PLAN}"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ConfigError(
                f"{self.url!r} holds no ledger of a mosaic ({error}); remove it, or choose another output"
            ) from error
        return dict(found)

    def begin(self, content: Mapping[str, Any]) -> None:
        """Begin anew."""
        self.remove()
        system, root = self._system()
        system.makedirs(f"{root}/{_DONE}", exist_ok=True)
        system.pipe_file(f"{root}/{_PLAN}", json.dumps(content, allow_nan=False).encode())

    def remove(self) -> None:
        """Remove the ledger, if there is one."""
        system, root = self._system()
        if system.exists(root):
            system.rm(root, recursive=True)

    def done(self) -> frozenset[str]:
        """Names of the tiles that are done."""
        system, root = self._system()
        try:
            found = system.ls(f"{root}/{_DONE}", detail=False)
        except FileNotFoundError:
            return frozenset()
        return frozenset(_name(path) for path in found if str(path).endswith(".json"))

    def mark(self, name: str, record: Mapping[str, Any]) -> None:
        """Record a tile as done."""
        system, root = self._system()
        system.pipe_file(f"{root}/{_DONE}/{name}.json", json.dumps(record, allow_nan=False).encode())


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].removesuffix(".json")
