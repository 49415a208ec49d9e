"""Names of what a run keeps in its store; docs/jobs.md describes them."""

from __future__ import annotations

from typing import Final

JOB: Final = "job.json"
SUMMARY: Final = "summary.json"
PLACES: Final = "places.json"
REPORT: Final = "report.html"
COLLECTION: Final = "collection.json"


def model(key: str) -> str:
    """Trained model of one scene or several."""
    return f"models/{key}.lstzoom"


def model_record(key: str) -> str:
    """Name the record of a trained model; written after it."""
    return f"models/{key}.json"


def sample(key: str) -> str:
    """Folder of what a model is going to be trained on."""
    return f"sample/{key}"


def look(key: str, number: int) -> str:
    """Name what the survey needs of one scene of a model."""
    return f"sample/{key}/look-{number:05d}.npz"


def rows(key: str, number: int, group: int) -> str:
    """Sample of some patches of one scene of a model."""
    return f"sample/{key}/rows-{number:05d}-{group:03d}.npz"


def ledger(scene: str) -> str:
    """Folder of the entries of tiles that are done."""
    return f"ledger/{scene}"


def entry(scene: str, tile: str) -> str:
    """Entry of a tile that is done; written after all else of the tile."""
    return f"ledger/{scene}/{tile}.json"


def failures(scene: str) -> str:
    """Folder of what failed."""
    return f"failed/{scene}"


def failure(scene: str, what: str) -> str:
    """Why a tile, or the model (``what`` is "model"), failed."""
    return f"failed/{scene}/{what}.json"


def scene_record(scene: str) -> str:
    """Name the record of a scene that is complete; written after all else of it."""
    return f"scenes/{scene}.json"


def cube(key: str) -> str:
    """Cube of one grid."""
    return f"cubes/{key}.zarr"


def finished(key: str) -> str:
    """Name the mark of a cube that has levels and statistics; written after them."""
    return f"finished/{key}.json"


def cogs(scene: str) -> str:
    """Folder of the COGs of a scene."""
    return f"cogs/{scene}"


def cog(scene: str, name: str, layer: str) -> str:
    """COG of a layer of a tile, or of a whole scene."""
    return f"{cogs(scene)}/{name}_{layer}.tif"


def items(scene: str) -> str:
    """Folder of the STAC items of a scene."""
    return f"items/{scene}"


def item(scene: str, name: str) -> str:
    """STAC item of a tile, or of a whole scene."""
    return f"{items(scene)}/{name}.json"


def log(run: str) -> str:
    """Log of a run."""
    return f"logs/{run}.jsonl"
