"""What the parts of a run share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from lstzoom.errors import StoreFullError
from lstzoom.jobs.driver import Tally
from lstzoom.jobs.lease import Lease
from lstzoom.jobs.ledger import MODEL, Ledger
from lstzoom.jobs.log import RunLog
from lstzoom.jobs.plan import Plan, Scene, Tile
from lstzoom.jobs.progress import Report
from lstzoom.jobs.store import Store


class Finisher(Protocol):
    """What a run does with its complete scenes when the tiles are done; comes from outside of this room."""

    def is_due(self, run: Run) -> bool:
        """Tell whether there is anything to do although all tiles are done; asked before work begins.

        Raises
        ------
        ConfigError
            If what is wanted cannot be made.
        """

    def make(self, run: Run, client: Any) -> None:  # noqa: ANN401  (distributed is untyped)
        """Do it; what came of it goes into `Run.made`.

        Raises
        ------
        JobError
            If a part of it failed for good.
        """


@dataclass(frozen=True, slots=True)
class Options:
    """How a job is run this time.

    Attributes
    ----------
    into
        Address in place of the job's own.
    since_last
        Add what is new to what the store has.
    only_failed
        Do what failed, and nothing else.
    performance
        File for dask's report on performance.
    finisher
        What is made of the scenes.
    """

    into: str | None = None
    since_last: bool = False
    only_failed: bool = False
    performance: Path | None = None
    finisher: Finisher | None = None


@dataclass(slots=True)
class Run:
    """One run of a job.

    Attributes
    ----------
    plan, store, options, lease
        What, where to, how, and by what right.
    report, say
        Told about the progress, and sentences.
    complete
        Records of scenes that are complete, by key.
    ready
        Names of tiles that are done, by key of the scene, of the others.
    entries
        Entries of tiles that this run has done, by scene and name, until the scene is complete.
    models
        Records of trained models, by key.
    broken
        Models that could not be trained.
    places
        Place along time in its cube, by key of the scene.
    failed
        Scene and tile, or ``"model"``, of what failed for good and was not done since.
    wanted
        What of it failed before this run.
    made
        What the finisher made, for the summary.
    why
        What the finisher failed of.
    """

    plan: Plan
    store: Store
    options: Options
    lease: Lease
    report: Report
    say: Callable[[str], None]
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = ""
    complete: dict[str, dict[str, Any]] = field(default_factory=dict)
    ready: dict[str, set[str]] = field(default_factory=dict)
    entries: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    places: dict[str, int] = field(default_factory=dict)
    failed: set[tuple[str, str]] = field(default_factory=set)
    wanted: frozenset[tuple[str, str]] = frozenset()
    before: int = 0
    done: int = 0
    tasks: int = 0
    retried: int = 0
    written: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    why: str = ""

    def __post_init__(self) -> None:
        """Give the run its id."""
        self.id = f"{self.begun:%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}"
        self.log = RunLog(self.store, self.id)
        self.ledger = Ledger(self.store)

    log: RunLog = field(init=False)
    ledger: Ledger = field(init=False)

    def take_stock(self) -> None:
        """See what is done, and what failed before."""
        keys = {scene.key for scene in self.plan.scenes}
        self.complete = {key: one for key, one in self.ledger.complete().items() if key in keys}
        self.failed = {(one.scene, one.what) for one in self.ledger.failures() if one.scene in keys}
        self.wanted = frozenset(self.failed)
        self.before = self._count()

    def recount(self) -> None:
        """Count what this run has done by the ledger, as whoever asks for the status does.

        Workers finish tiles that a run that was interrupted no longer hears of.
        """
        self.done = max(self.done, self._count() - self.before)

    def _count(self) -> int:
        """Count the tiles of the plan that are done."""
        for scene in self.unfinished:
            names = {tile.name for tile in scene.tiles()}
            self.ready[scene.key] = self.ledger.done(scene.key) & names
        return sum(one["tiles"] for one in self.complete.values()) + sum(
            len(self.ready[scene.key]) for scene in self.unfinished
        )

    @property
    def unfinished(self) -> list[Scene]:
        """Scenes that are not complete."""
        return [scene for scene in self.plan.scenes if scene.key not in self.complete]

    def pending(self, scene: Scene) -> Iterator[Tile]:
        """Tiles of a scene that this run has to do."""
        for tile in scene.tiles():
            if tile.name not in self.ready[scene.key] and self._is_wanted(scene.key, tile.name):
                yield tile

    def _is_wanted(self, scene: str, tile: str) -> bool:
        return not self.options.only_failed or bool({(scene, tile), (scene, MODEL)} & self.wanted)

    def drive_settings(self) -> dict[str, Any]:
        """Return the settings of the job for `lstzoom.jobs.driver.drive`."""
        given = self.plan.job.run
        return {
            "in_flight": given.in_flight, "retries": given.retries, "backoff": given.backoff_s,
            "patience": given.patience_s,
        }  # fmt: skip

    def count(self, tally: Tally) -> None:
        """Add up what was driven."""
        self.tasks += tally.submitted
        self.retried += tally.retried

    def forgive(self, scene: str, what: str) -> None:
        """Note that what failed once is done."""
        if (scene, what) in self.failed:
            self.ledger.forgive(scene, what)
            self.failed.discard((scene, what))

    def fail(self, scene: str, what: str, error: BaseException, attempts: int) -> None:
        """Note that something failed for good."""
        one = self.ledger.fail(scene, what, error, attempts)
        self.failed.add((scene, what))
        self.log.add("failed", scene=scene, what=what, error=one.error, kind=one.kind, attempts=attempts)


def stop_if_full(error: BaseException) -> None:
    """End the run where every other task would fail of the same."""
    if isinstance(error, StoreFullError):
        raise error
