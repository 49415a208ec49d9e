"""What is done and what failed: an object for each tile, and one for each scene that is complete."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lstzoom.account import Moments, summarise
from lstzoom.jobs import layout
from lstzoom.jobs.records import Entry, FailureRecord, ModelRecord, Record, parsed, read_parsed
from lstzoom.jobs.store import Store, as_json
from lstzoom.sources.redaction import redact

MODEL = "model"
"""What failed, if no tile did."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed for good, and why.

    Attributes
    ----------
    scene, what
        Key of the scene; name of the tile, or ``"model"``.
    error
        Message.
    kind
        Class of the error.
    attempts
        How often it was tried.
    at
        When, ISO 8601.
    """

    scene: str
    what: str
    error: str
    kind: str
    attempts: int
    at: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.scene} {self.what}: {self.error}"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The entries in a store."""

    store: Store

    def done(self, scene: str) -> set[str]:
        """Names of the tiles of a scene that are done."""
        folder = layout.ledger(scene)
        return {_stem(key) for key in self.store.keys(folder)}

    def entries(self, scene: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Entries of tiles, by name."""
        keys = {layout.entry(scene, name): name for name in names}
        return {keys[key]: parsed(data, key, Entry) for key, data in self.store.read_all(keys).items()}

    def complete(self) -> dict[str, dict[str, Any]]:
        """Return records of the scenes that are complete, by key."""
        keys = [key for key in self.store.keys("scenes") if key.endswith(".json")]
        return {_stem(key): parsed(data, key, Record) for key, data in self.store.read_all(keys).items()}

    def model(self, key: str) -> dict[str, Any] | None:
        """Record of a trained model."""
        return read_parsed(self.store, layout.model_record(key), ModelRecord)

    # Failures

    def failures(self) -> list[Failure]:
        """All that failed and was not done since."""
        found = self.store.read_all(self.store.keys("failed"))
        told = (parsed(data, key, FailureRecord) for key, data in sorted(found.items()))
        return [Failure(**{name: one[name] for name in Failure.__slots__}) for one in told]

    def fail(self, scene: str, what: str, error: BaseException, attempts: int) -> Failure:
        """Note that something failed."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        one = Failure(scene, what, redact(str(error)), type(error).__name__, attempts, at)
        content = {name: getattr(one, name) for name in Failure.__slots__}
        self.store.write(layout.failure(scene, what), as_json(content))
        return one

    def forgive(self, scene: str, what: str) -> None:
        """Note that it was done after all."""
        self.store.remove(layout.failure(scene, what))

    def drop(self, scene: str, name: str) -> None:
        """Forget a tile, so that it is made anew."""
        self.store.remove(layout.entry(scene, name))

    def forget(self, scene: str) -> None:
        """Forget all of a scene, so that it is made anew."""
        self.store.remove_all(layout.ledger(scene))
        self.store.remove_all(layout.failures(scene))
        self.store.remove(layout.scene_record(scene))

    def forget_model(self, key: str) -> None:
        """Forget a model, so that it is trained anew."""
        self.store.remove(layout.model_record(key))
        self.store.remove(layout.model(key))


def _stem(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")


def sum_up(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of a scene from the entries of its tiles, summed in the order of their names.

    Returns
    -------
    dict
        ``tiles``, ``pixels``, ``valid``, ``kelvin`` (min, mean, max) where there is any, ``flags`` in pixels,
        ``bytes``, ``cpu_s``, and what `account` tells.
    """
    ordered = [entries[name] for name in sorted(entries)]
    found: dict[str, Any] = {
        "tiles": len(ordered),
        "pixels": sum(one["pixels"] for one in ordered),
        "valid": sum(one["valid"] for one in ordered),
        "bytes": {kind: sum(one["bytes"][kind] for one in ordered) for kind in ("zarr", "cog")},
        "cpu_s": round(math.fsum(one["cpu_s"] for one in ordered), 3),
    }
    kelvin = [one["kelvin"] for one in ordered if "kelvin" in one]
    if kelvin:
        found["kelvin"] = {
            "min": min(one["min"] for one in kelvin),
            "mean": math.fsum(one["sum"] for one in kelvin) / found["valid"],
            "max": max(one["max"] for one in kelvin),
        }
    if flags := [one["flags"] for one in ordered if "flags" in one]:
        found["flags"] = {name: sum(one[name] for one in flags) for name in flags[0]}
    return found | account(*ordered)


def account(*entries: Mapping[str, Any]) -> dict[str, float]:
    """Say what tiles tell of the quality of their values, the same for any order of them.

    Returns
    -------
    dict
        ``lstzoom_unsupported_share`` and mean ``lstzoom_mean_uncertainty`` (kelvin) where flags are written,
        ``lstzoom_residual_bias`` and ``lstzoom_residual_rmse`` (kelvin): of the coarse LST minus the
        aggregated prediction, before it was corrected.
    """
    found: dict[str, float] = {}
    if flags := [one["flags"] for one in entries if "flags" in one]:
        sigma = [one["uncertainty"] for one in entries if "uncertainty" in one]
        whole = {name: sum(one[name] for one in flags) for name in flags[0]}
        found |= summarise(whole, math.fsum(one["sum"] for one in sigma), sum(one["count"] for one in sigma))
    # Entries of older runs have none.
    residual = Moments.joined(Moments(**one["residual"]) for one in entries if "residual" in one)
    return found | residual.attributes("residual")
