"""All settings, validated; every default holds for every scene."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lstzoom.kernels.hashing import MAX_TREES
from lstzoom.kernels.local import LocalSettings
from lstzoom.kernels.trees import MOST_NODES, TreeSettings, node_capacity

OutputName = Literal["lst_global", "lst_local", "local_weight", "residual"]


class _Settings(BaseModel):
    """Frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TreeConfig(_Settings):
    """Size of a forest."""

    trees: int = Field(ge=1, le=MAX_TREES, description="Number of bagged trees.")
    max_depth: int = Field(ge=1, le=20, description="Deepest level of a leaf.")
    min_leaf: int = Field(ge=1, description="Fewest in-bag samples in a leaf.")
    feature_share: float = Field(gt=0, le=1, description="Share of the features a split may choose from.")

    @property
    def settings(self) -> TreeSettings:
        """The same for the kernels."""
        return TreeSettings(**self.model_dump())


class WindowConfig(_Settings):
    """The lattice of local windows, in coarse pixels, anchored to the origin of the coarse grid."""

    stride: int = Field(
        default=16,
        ge=2,
        le=512,
        description="Distance of window centres; neighbours overlap by half a stride.",
    )
    extension: int = Field(default=2, ge=0, le=512, description="Pixels around a window that only train.")
    min_samples: int = Field(
        default=64, ge=2, description="With fewer samples a window leaves its part to the global model."
    )


class SampleConfig(_Settings):
    """The sample that trains the global model; bounded whatever the scene."""

    patch: int = Field(
        default=96, ge=16, le=1024, description="Side of a sampled patch of the scene, coarse pixels."
    )
    max_patches: int = Field(
        default=32, ge=1, description="Patches visited in a run, shared by its scenes; at least one each."
    )
    levels: int = Field(default=32768, ge=256, description="Rows that train the level view.")
    details: int = Field(default=65536, ge=256, description="Rows that train the detail view.")
    per_stratum: int = Field(
        default=256, ge=0, description="Rows that each temperature class of 2 K keeps at least."
    )


class SharpenConfig(_Settings):
    """Settings of `lstzoom.sharpen` and `lstzoom.fit`.

    Examples
    --------
    >>> SharpenConfig(seed=7).windows.stride
    16
    """

    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of all hashes; same seed, same result.")
    method: Literal["calibrated", "published"] = Field(
        default="calibrated",
        description="'calibrated' learns how much detail to believe; 'published' is the method of Gao et al. "
        "(2012) with an exact residual correction, which believes all of it.",
    )
    native_resolution: float | None = Field(
        default=None,
        gt=0,
        description="Side of the ground that the thermal instrument resolves, metres, where that is more "
        "than a coarse pixel (100 for Landsat 8 and 9 on 30 m). Detail that it cannot have seen is "
        "not added. A wider footprint than declared is measured and used all the same.",
    )
    conservation_box: int = Field(
        default=1,
        ge=1,
        le=9,
        description="Side of the boxes, in coarse pixels, on which LST is conserved. More than 1 leaves room "
        "for reflectance that is a little out of place (Xue et al. 2020).",
    )
    outputs: tuple[OutputName, ...] = Field(default=(), description="Further variables in the result.")
    chunk: int = Field(
        default=256, ge=1, description="Side of a block in coarse pixels; a multiple of windows.stride."
    )
    align: bool = Field(
        default=False,
        description="Move reflectance to where the LST shows the same ground, by the shift measured between "
        "the two, before anything is learned.",
    )
    cv_threshold: float = Field(
        default=0.1, gt=0, description="CV of reflectance up to which a sample has full weight."
    )
    windows: WindowConfig = WindowConfig()
    local_trees: TreeConfig = TreeConfig(trees=2, max_depth=5, min_leaf=5, feature_share=0.35)
    level_trees: TreeConfig = TreeConfig(trees=4, max_depth=8, min_leaf=10, feature_share=0.5)
    detail_trees: TreeConfig = TreeConfig(trees=14, max_depth=11, min_leaf=20, feature_share=0.3)
    sample: SampleConfig = SampleConfig()

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        stride = self.windows.stride
        if self.chunk % stride:
            up = -(-self.chunk // stride) * stride
            raise ValueError(
                f"chunk is {self.chunk} and windows.stride {stride}; blocks must hold whole strides: "
                f"use chunk={up}, or a stride that divides {self.chunk}"
            )
        return self

    @model_validator(mode="after")
    def _walkable(self) -> Self:
        most = {
            "local_trees": self.local.most_samples,
            "level_trees": self.sample.levels,
            "detail_trees": self.sample.details,
        }
        for name, samples in most.items():
            trees: TreeConfig = getattr(self, name)
            nodes = node_capacity(samples, trees.settings)
            if nodes > MOST_NODES:
                raise ValueError(
                    f"{name} with max_depth {trees.max_depth} and min_leaf {trees.min_leaf} may grow to "
                    f"{nodes} nodes on {samples} samples, and {MOST_NODES} are possible: use a max_depth of "
                    f"15 or less, or a min_leaf of {-(-2 * samples // (MOST_NODES - 1))} or more"
                )
        return self

    @property
    def of_training(self) -> SharpenConfig:
        """The same, with what only runs care about as by default: models do not depend on it."""
        stride, usual = self.windows.stride, type(self).model_fields["chunk"].default
        whole = -(-usual // stride) * stride
        return self.model_copy(update={"chunk": whole, "outputs": (), "conservation_box": 1})

    @property
    def local(self) -> LocalSettings:
        """Settings of the local windows for the kernels."""
        w = self.windows
        return LocalSettings(w.stride, w.extension, w.min_samples, self.local_trees.settings)


class MosaicConfig(_Settings):
    """Settings of `lstzoom.mosaic`: the grid, and how scenes are merged.

    Examples
    --------
    >>> MosaicConfig(rule="latest").resolution
    10.0
    """

    rule: Literal["mean", "median", "latest"] = Field(
        default="mean",
        description="How scenes are merged: 'mean' is feathered by the distance to edges and gaps and "
        "weighted by inverse variance; 'latest' shows the edges of scenes.",
    )
    crs: str = Field(
        default="EPSG:3035",
        description="CRS of the mosaic: EPSG:3035 (Europe, equal area), EPSG:6933 (world, equal area), any "
        "other, or 'utm' (the zones of the scenes, one mosaic each).",
    )
    resolution: float = Field(default=10.0, gt=0, description="Side of a pixel, units of the CRS.")
    tile: int = Field(
        default=2048,
        ge=64,
        le=8192,
        description="Side of a tile in pixels; one tile is one task and one shard.",
    )
    period: Literal["all", "year", "month", "day"] = Field(
        default="all",
        description="Scenes that go into one mosaic: all, or those of each year, month or day (UTC).",
    )
    feather: float = Field(
        default=1000.0,
        ge=0,
        le=100_000,
        description="Width over which a scene fades to its edges and gaps, metres.",
    )
    scene_sd: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="Standard deviation by which scenes differ beside their uncertainty, kelvin; bounds how "
        "far one scene can outweigh another.",
    )
    resampling: Literal["cubic", "bilinear", "nearest"] = Field(
        default="cubic", description="How temperature is put on the grid, once for every scene."
    )
