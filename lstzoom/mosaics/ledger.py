"""What of a mosaic is done: one small object for each tile beside the store, written after the tile.

A mosaic that is made again goes on where it stopped; one of other scenes or settings is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lstzoom.errors import ConfigError
from lstzoom.jobs.store import Store, as_json, store_at

_PLAN: Final = "plan.json"
_DONE: Final = "done"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of one mosaic.

    Parameters
    ----------
    store
        Where it is kept; also what a run holds the lease of.
    """

    store: Store

    @classmethod
    def of(cls, mosaic: str) -> Ledger:
        """Ledger beside a mosaic."""
        return cls(store_at(f"{mosaic.rstrip('/')}.ledger"))

    def plan(self) -> dict[str, Any] | None:
        """Return what the ledger was begun with; None if there is none.

        Raises
        ------
        ConfigError
            If what is there is no ledger.
        """
        data = self.store.read(_PLAN)
        if data is None:
            return None
        try:
            return dict(json.loads(data))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{self.store.url!r} is no ledger of a mosaic ({error}); remove it, or choose another output"
            ) from error

    def begin(self, content: Mapping[str, Any]) -> None:
        """Begin anew."""
        self.forget()
        self.store.write(_PLAN, as_json(content))

    def grow(self, content: Mapping[str, Any]) -> None:
        """Go on with more scenes: what is done of the same scenes stays done."""
        self.store.write(_PLAN, as_json(content))

    def forget(self) -> None:
        """Forget what is done, and of what."""
        self.store.remove(_PLAN)
        self.store.remove_all(_DONE)

    def done(self) -> frozenset[str]:
        """Names of the tiles that are done."""
        keys = self.store.keys(_DONE)
        return frozenset(key.rpartition("/")[2].removesuffix(".json") for key in keys)

    def drop(self, names: Iterable[str]) -> None:
        """Forget tiles that are made anew."""
        for name in names:
            self.store.remove(f"{_DONE}/{name}.json")

    def mark(self, name: str, record: Mapping[str, Any]) -> None:
        """Record a tile as done."""
        self.store.write(f"{_DONE}/{name}.json", as_json(record))
