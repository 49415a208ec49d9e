"""The report of a job as one page: map of tiles and failures, time and bytes, figures and pictures of scenes.

All comes from the store, also while a run goes on or after it was interrupted; nothing is searched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.errors import JobError
from lstzoom.globe import beside
from lstzoom.jobs import layout, lease
from lstzoom.jobs.frozen import read_frozen
from lstzoom.jobs.ledger import MODEL, Failure, Ledger, sum_up
from lstzoom.jobs.places import Place, read_places
from lstzoom.jobs.progress import duration, size
from lstzoom.jobs.records import read_summary
from lstzoom.jobs.scene_views import views_of
from lstzoom.jobs.store import Store
from lstzoom.kernels.quality import MEANINGS
from lstzoom.kernels.quality import QA as FLAGS
from lstzoom.product.fields import drawn
from lstzoom.report.maps import crs_name, make_maps
from lstzoom.report.page import Link, Page, Table, render, write_page
from lstzoom.report.sentences import Finding, flags_finding
from lstzoom.report.tiles import DONE, FAILED, LEFT, SceneTiles, TileGroup, make_tile_map
from lstzoom.sources.redaction import redact
from lstzoom.wording import counted
from lstzoom.write import require_writable

_MOST_TILES: Final = 20_000
"""Tiles that are drawn; more would make the page heavy, and be too small to see."""
_MOST_ROWS: Final = 300
_NONE: Final = "\N{EN DASH}"
_ENDS: Final[Mapping[str, tuple[str, bool | None]]] = {
    "done": ("Everything that was planned is there.", True),
    "nothing new": ("Everything that was planned was there already.", True),
    "failed": ("Something failed for good; the rest is there. Again: lstzoom retry JOB --failed.", False),
    "stopped": ("Cluster or store were lost. The same command goes on where it stopped.", False),
    "interrupted": ("The run was interrupted. The same command goes on where it stopped.", None),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class JobState:
    """All that a report says of a job, as it was in the store.

    Attributes
    ----------
    store
        Where it is.
    frozen
        The job that the store is of.
    places
        Where scenes lie, by key; empty for stores of older versions.
    records
        Figures of scenes: of complete ones their records, of others what their tiles sum up to.
    done
        Names of tiles that are done, by scene.
    failures
        What failed for good, by scene and by tile or ``"model"``.
    complete
        Keys of complete scenes.
    held
        Who is at it; None if nobody is.
    last
        Summary of the last run; None before one has ended.
    """

    store: Store
    frozen: Mapping[str, Any]
    places: Mapping[str, Place]
    records: Mapping[str, Mapping[str, Any]]
    done: Mapping[str, set[str]]
    failures: Mapping[str, Mapping[str, Failure]]
    complete: frozenset[str]
    held: Mapping[str, Any] | None
    last: Mapping[str, Any] | None

    @property
    def scenes(self) -> list[str]:
        """Keys of all scenes, by time as far as it is known."""
        return [*self.places, *sorted(key for key in self.frozen["inputs"] if key not in self.places)]

    def tiles_of(self, key: str) -> int:
        """Tiles of a scene; those that are known, where its place is not."""
        return self.places[key].tile_count if key in self.places else len(self.done[key])

    def failed_in(self, key: str) -> Mapping[str, Failure]:
        """Return what failed of a scene, by tile."""
        return self.failures.get(key, {})


def read_state(store: Store) -> JobState:
    """Read the state of a job.

    Parameters
    ----------
    store
        Of the job.

    Raises
    ------
    JobError
        If the store holds no run of a job.
    StoreError
        If the store cannot be read.
    """
    frozen = read_frozen(store)
    if frozen is None:
        raise JobError(f"{store.url!r} holds no run of a job; start one with `lstzoom run`")
    ledger, places = Ledger(store), read_places(store)
    complete = ledger.complete()
    records: dict[str, Mapping[str, Any]] = {}
    done: dict[str, set[str]] = {}
    for key in {*frozen["inputs"], *places}:
        if key in complete:
            records[key], done[key] = complete[key], set(complete[key]["tile_names"])
        else:
            done[key] = ledger.done(key)
            records[key] = sum_up(ledger.entries(key, done[key])) if done[key] else {}
    failures: dict[str, dict[str, Failure]] = {}
    for one in ledger.failures():
        failures.setdefault(one.scene, {})[one.what] = one
    held = lease.described(store)
    return JobState(
        store, frozen, places, records, done, failures, frozenset(complete) & done.keys(),
        None if held is None or held["expired"] else held, read_summary(store),
    )  # fmt: skip


def make_page(store: Store) -> Page:
    """Make the page of a job from its store.

    Parameters
    ----------
    store
        Of the job.

    Returns
    -------
    Page

    Raises
    ------
    JobError
        If the store holds no run of a job.
    StoreError
        If the store cannot be read.
    MissingExtraError
        If Bokeh is not installed.
    """
    state = read_state(store)
    shown = views_of(store, _pictured(state))
    views = {key: views[0].key for key, _, views in shown}
    return Page(
        title=f"Job of {counted(len(state.scenes), 'scene')} "
        f"from {Path(state.frozen['settings']['catalog']['name']).name}",
        lead=f"{state.store.url}, as it was on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        findings=list(_findings(state)),
        findings_title="How far it is",
        details=_details(state),
        map=make_maps([(scene, views) for _, scene, views in shown]) if shown else None,
        map_title="Pictures of scenes",
        tiles=_tile_map(state),
        tables=[one for one in (_failure_table(state), _scene_table(state, views), _left_out(state)) if one],
    )


def write_into_store(store: Store) -> str:
    """Write the report into the store of the job itself, and return its address."""
    page = make_page(store)
    if store.is_local:
        # Not by way of the folder of what is being written: the run that has ended took it away.
        write_page(page, store.root / layout.REPORT, overwrite=True)
    else:
        store.write(layout.REPORT, render(page).encode())
    return store.address(layout.REPORT)


def _pictured(state: JobState) -> list[tuple[Place, bool]]:
    """Scenes of which something is in a cube, and whether they are complete."""
    if not state.frozen["settings"]["outputs"]["zarr"]:
        return []
    return [(one, one.key in state.complete) for one in state.places.values() if state.done[one.key]]


# Figures


def _findings(state: JobState) -> Iterator[Finding]:
    yield _ending(state)
    tiles, done = sum(map(state.tiles_of, state.scenes)), sum(len(state.done[key]) for key in state.scenes)
    failed = sum(len(state.failed_in(key)) for key in state.scenes)
    parts = [
        f"{counted(failed, 'failure')} for good, see below" if failed else "",
        f"{counted(tiles - done, 'tile')} not done" if tiles > done else "",
    ]
    rest = "; ".join(part for part in parts if part) or "Each counts when all of it is in the store"
    yield Finding(
        "Tiles", f"{done} of {tiles} done", f"{rest}.", False if failed else (done == tiles or None)
    )
    complete = f"{len(state.complete)} of {len(state.scenes)} complete"
    left_out = len((state.last or {}).get("left_out", ()))
    words = (
        f"{left_out} more were found and cannot be used, see below."
        if left_out
        else "All that was found can be used."
    )
    yield Finding("Scenes", complete, words)
    records = [one for one in state.records.values() if one]
    written = {kind: sum(one["bytes"][kind] for one in records) for kind in ("zarr", "cog")}
    words = f"{size(written['zarr'])} in Zarr cubes and {size(written['cog'])} in COGs."
    yield Finding("Written", size(sum(written.values())), words)
    if records:
        yield _time(state, records)
        yield from _values(records)


def _ending(state: JobState) -> Finding:
    if state.held is not None:
        by = f"Held by {state.held['who']}."
        return Finding("State", "running", f"{by} Make the page again to see how far it got.")
    if state.last is None:
        return Finding(
            "State", "not finished", "No run has ended yet. The same command goes on where it stopped.", None
        )
    words, good = _ENDS.get(state.last["state"], ("", None))
    why = f" It says: {state.last['why']}" if state.last["why"] else ""
    return Finding("State", state.last["state"], f"{words}{why}", good)


def _time(state: JobState, records: Sequence[Mapping[str, Any]]) -> Finding:
    cpu, pixels = sum(one["cpu_s"] for one in records), sum(one["pixels"] for one in records)
    rate = f"{1e6 * cpu / max(pixels, 1):.2g} µs for a pixel" if pixels else ""
    words = f"Workers computed for {duration(cpu)} of one core, {rate}."
    if state.last is None:
        return Finding("Time", f"{duration(cpu)} of one core", words)
    return Finding("Time", f"{duration(state.last['seconds']['all'])} in the last run", words)


def _values(records: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    warm = [one for one in records if "kelvin" in one]
    if warm:
        low, high = min(one["kelvin"]["min"] for one in warm), max(one["kelvin"]["max"] for one in warm)
        mean = sum(one["kelvin"]["mean"] * one["valid"] for one in warm) / sum(one["valid"] for one in warm)
        yield Finding(
            "Range of temperature", f"{low - 273.15:.1f} to {high - 273.15:.1f} °C",
            f"Coldest and warmest pixel of all tiles that are done; the mean is {mean - 273.15:.1f} °C.",
        )  # fmt: skip
    counts = np.zeros(len(FLAGS), np.int64)
    for one in records:
        for flag in FLAGS:
            counts[flag] += one.get("flags", {}).get(MEANINGS[flag], 0)
    found = flags_finding(counts)
    if found is not None:
        yield found


# Tables


def _scene_table(state: JobState, views: Mapping[str, str]) -> Table:
    columns = (
        "Scene", "Time (UTC)", "Tiles", "State", "Lowest", "Mean", "Highest", "Uncertainty", "Bytes",
        "Reflectance",
    )  # fmt: skip
    rows = [_scene_row(state, key, views) for key in state.scenes[:_MOST_ROWS]]
    notes = [
        "Temperatures in °C, of all pixels of the tiles that are done." if rows else "",
        "Names lead to pictures below." if views else "",
        f"{len(state.scenes) - _MOST_ROWS} more are in the store." if len(state.scenes) > _MOST_ROWS else "",
    ]
    return Table("Scenes", columns, rows, " ".join(note for note in notes if note))


def _scene_row(state: JobState, key: str, views: Mapping[str, str]) -> list[str | Link]:
    place, record, failed = state.places.get(key), state.records[key], state.failed_in(key)
    count, whole = len(state.done[key]), state.tiles_of(key)
    word = "complete" if key in state.complete else f"{len(failed)} failed" if failed else "incomplete"
    kelvin = record.get("kelvin")
    warm = [f"{kelvin[name] - 273.15:.1f}" if kelvin else _NONE for name in ("min", "mean", "max")]
    sigma = record.get("lstzoom_mean_uncertainty")
    when = _NONE if place is None else f"{place.when:%Y-%m-%d %H:%M}"
    return [
        Link(key, views[key]) if key in views else key, when,
        f"{count} of {whole}" if place is not None else f"{count}", word, *warm,
        _NONE if sigma is None else f"± {sigma:.2f} K",
        size(sum(record["bytes"].values())) if record else _NONE,
        _NONE if place is None else " + ".join(place.vnir) or _NONE,
    ]  # fmt: skip


def _failure_table(state: JobState) -> Table | None:
    every = [one for key in state.scenes for one in state.failed_in(key).values()]
    if not every:
        return None
    rows = [
        [f"{one.scene} {one.what}", f"{one.error} ({one.kind})", f"{one.attempts}, {_minute(one.at)}"]
        for one in every[:_MOST_ROWS]
    ]
    more = f" {len(every) - _MOST_ROWS} more are in the store." if len(every) > _MOST_ROWS else ""
    note = f"Do again what failed, and nothing else, with: lstzoom retry JOB --failed.{more}"
    columns = ("Scene and tile", "Why", "Attempts, last at (UTC)")
    return Table("What failed", columns, rows, note, is_text=True)


def _minute(at: str) -> str:
    return at[:16].replace("T", " ")


def _left_out(state: JobState) -> Table | None:
    every = (state.last or {}).get("left_out", ())
    rows = [[one["name"], one["reason"]] for one in every]
    return Table("Not processed", ("Item", "Why"), rows, is_text=True) if rows else None


def _details(state: JobState) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        "The store": {"Address": state.store.url, "Job": state.frozen["hash"]}
    }
    if state.last is not None:
        last = state.last
        found["The last run"] = {
            "Began": last["started"], "Ended": last["ended"], "lstzoom": last["lstzoom"],
            **{f"Seconds, {name}": seconds for name, seconds in last["seconds"].items()},
            "Tasks": last["tasks"], "Tried again": last["retried"], "Tiles done": last["tiles"]["done"],
            "Written": size(last["bytes"]), "Cubes": ", ".join(last["cubes"]) or "none",
            "Collection": last["collection"] or "none",
        }  # fmt: skip
    settings = state.frozen["settings"]
    found["What was asked for"] = {
        name: redact(part if isinstance(part, str) else json.dumps(part, ensure_ascii=False))
        for name, part in settings.items()
    }
    return found | {"Code": {name: str(value) for name, value in state.frozen["code"].items()}}


# Tiles


def _tile_map(state: JobState) -> dict[str, Any] | None:
    cubes = {place.cube: place for place in state.places.values()}
    if not cubes or sum(place.tile_count for place in cubes.values()) > _MOST_TILES:
        return None
    systems = {crs_name(place.grids.fine) for place in cubes.values()}
    projected = len(systems) == 1 and not next(iter(cubes.values())).grids.fine.crs.geographic  # type: ignore[union-attr]
    groups, names = [], {}
    for number, (cube, place) in enumerate(cubes.items()):
        tiles = list(place.tiles())
        names[cube] = number, [name for name, _ in tiles]
        groups.append((names[cube][1], [_edge(grid, projected=projected) for _, grid in tiles]))
    scenes = [_scene_tiles(state, place, *names[place.cube]) for place in state.places.values()]
    if projected:
        labels = f"easting, m ({systems.pop()})", "northing, m"
        return make_tile_map([TileGroup(*group) for group in groups], scenes, labels)
    edges = beside([edge for _, some in groups for edge in some])
    latitude, ordered = np.mean([edge[:, 1].mean() for edge in edges]), iter(edges)
    aspect = 1 / max(float(np.cos(np.deg2rad(latitude))), 0.05)
    placed = [TileGroup(told, [next(ordered) for _ in some]) for told, some in groups]
    return make_tile_map(placed, scenes, ("longitude, degrees", "latitude, degrees"), aspect)


def _edge(grid: GeoBox, *, projected: bool) -> NDArray[np.float64]:
    if projected:
        left, bottom, right, top = grid.boundingbox.bbox
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    return drawn(grid)


def _scene_tiles(state: JobState, place: Place, group: int, names: Sequence[str]) -> SceneTiles:
    done, failed = state.done[place.key], state.failed_in(place.key)
    states, reasons = [], {}
    for number, name in enumerate(names):
        why = failed.get(name) or failed.get(MODEL)
        states.append(DONE if name in done else LEFT if why is None else FAILED)
        if states[-1] == FAILED and why is not None:
            what = "the model: " if why.what == MODEL else ""
            reasons[number] = f"{what}{why.error} ({counted(why.attempts, 'attempt')})"
    return SceneTiles(f"{place.when:%Y-%m-%d %H:%M}, {place.key}", group, "".join(states), reasons)


def write_job_report(store: Store, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the report of a job as one HTML file.

    Parameters
    ----------
    store
        Of the job.
    path
        HTML file to write; it appears when it is complete.
    overwrite
        Replace a file that exists.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the file exists or its folder does not.
    JobError
        If the store holds no run of a job.
    StoreError
        If the store cannot be read.
    MissingExtraError
        If Bokeh is not installed (extra ``report``).
    """
    target = Path(path)
    require_writable(target, overwrite=overwrite)
    return write_page(make_page(store), target, overwrite=overwrite)
