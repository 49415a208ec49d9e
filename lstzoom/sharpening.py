"""The recipe for one scene: prepare, train, sharpen its blocks, describe the result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

import lstzoom
from lstzoom.account import (
    band_attributes,
    model_attributes,
    on_coarse_grid,
    require_uncertainty,
    result_attributes,
    with_input,
)
from lstzoom.config import SharpenConfig
from lstzoom.halo import blocks, delayed, map_blocks, run_block
from lstzoom.inputs import SceneArrays, prepare
from lstzoom.kernels.block import BlockSettings, sharpen_block
from lstzoom.kernels.quality import MEANINGS, QA
from lstzoom.registration import align, attributes, measure_scene, tell
from lstzoom.train import SceneModel, train
from lstzoom.types import YX

if TYPE_CHECKING:
    import xarray as xr

ATTRS: Mapping[str, dict[str, Any]] = {
    "lst": {
        "long_name": "land surface temperature, sharpened",
        "standard_name": "surface_temperature",
        "units": "K",
    },
    "qa": {
        "long_name": "where the value comes from, or why there is none",
        "flag_values": np.array([flag.value for flag in QA], np.uint8),
        "flag_meanings": " ".join(MEANINGS[flag] for flag in QA),
    },
    "lst_uncertainty": {
        "long_name": "standard uncertainty of land surface temperature",
        "standard_name": "surface_temperature standard_error",
        "units": "K",
    },
    "lst_global": {"long_name": "prediction of the global model", "units": "K"},
    "lst_local": {"long_name": "prediction of the local models", "units": "K"},
    "local_weight": {"long_name": "share of the local models in the fused prediction", "units": "1"},
    "residual": {"long_name": "coarse LST minus aggregated prediction, before correction", "units": "K"},
}
"""CF attributes of every variable."""


def sharpen(
    vnir: xr.DataArray,
    lst: xr.DataArray,
    *,
    valid: xr.DataArray | None = None,
    model: SceneModel | None = None,
    config: SharpenConfig | None = None,
    ratio: int | None = None,
    lst_uncertainty: xr.DataArray | None = None,
) -> xr.Dataset:
    """Sharpen land surface temperature to the resolution of reflectance.

    Parameters
    ----------
    vnir
        Reflectance, dimensions (band, y, x), any unit and number of bands, missing where not finite.
        Put on the fine grid if it is not on it.
    lst
        Land surface temperature in kelvin, dimensions (y, x), missing where not finite. Its grid owns
        the geometry: it is never resampled, and the result aggregates to it.
    valid
        True where a pixel may be used; dimensions (y, x) on the fine or the coarse grid. What is not
        valid neither trains nor appears in the result.
    model
        From `lstzoom.fit`; by default one is trained on this scene.
    config
        Settings; the defaults are meant for every scene.
    ratio
        Fine pixels per coarse pixel along a side, 2 or more; by default from the grids.
    lst_uncertainty
        Standard uncertainty of the coarse LST, kelvin, dimensions (y, x) on its grid. It is added to that of
        the detail as the root of the sum of squares; where it is not finite it adds nothing.

    Returns
    -------
    xarray.Dataset
        Dimensions (y, x) on the fine grid. ``lst`` (float32, kelvin, NaN where there is none), ``qa``
        (uint8 flags), ``lst_uncertainty`` (float32, kelvin; standard uncertainty of the detail, which the
        coarse LST does not settle, and of the LST itself where it is given; the published method has none)
        and what ``config.outputs`` asks for. Lazy if any input is a dask array: then
        nothing is read or trained before it is computed, with one task for each block; only
        ``config.align`` has to measure the shift at once. The attributes hold how far reflectance lies
        beside the LST, in fine pixels, where that is known when the result is described: not for lazy
        inputs, whose shift is logged when it is computed (see `lstzoom.measure_shift`). The same holds for
        the footprint, the reliability of the detail, the mean uncertainty and the share of pixels without
        supported detail.

    Raises
    ------
    InputError
        If dimensions, sizes or the model do not fit.
    ConfigError
        If ``lst_uncertainty`` is given and the method states none.
    GridMismatchError
        If the grids do not overlap or cannot be made to nest.
    UnitsError
        If the LST cannot be kelvin.

    Notes
    -----
    A fine pixel without valid reflectance under valid LST is interpolated and flagged so. A coarse
    pixel conserves, ``(mean T^4)^(1/4) = LST`` within 0.01 K, wherever all its fine pixels are given.
    Results do not depend on the chunks of the inputs, on ``config.chunk`` or on the number of workers.

    References
    ----------
    Gao, Kustas & Anderson (2012), A Data Mining Approach for Sharpening Thermal Satellite Imagery over
    Land, doi:10.3390/rs4113287.

    Examples
    --------
    >>> from lstzoom.simulate import simulate_scene
    >>> scene = simulate_scene((60, 60)).to_xarray()
    >>> sharp = sharpen(scene.vnir, scene.lst)
    >>> dict(sharp.sizes), bool(sharp.lst.notnull().all())
    ({'y': 60, 'x': 60}, True)
    """
    config = config or SharpenConfig()
    scene, shift = align(prepare(vnir, lst, valid, ratio=ratio), config)
    given = None
    if lst_uncertainty is not None:
        require_uncertainty(config.method)
        given = on_coarse_grid(lst_uncertainty, scene.grids)
    if model is not None:
        model.check(scene, config)
    if scene.is_lazy:
        trained = model or _told(train([scene], config, [shift] if config.align else None), scene)
        attrs = attributes(shift) if config.align else None
        return sharpen_scene(scene, trained, config, attrs, uncertainty=given)
    shift = shift if config.align else measure_scene(scene, config)
    tell(shift, scene.grids.fine, moved=scene.moved is not None)
    trained = model or train([scene], config, [shift])
    attrs = attributes(shift) | model_attributes(trained, scene.grids, config.method)
    sharp = sharpen_scene(scene, trained, config, attrs, uncertainty=given)
    sigma = sharp.get("lst_uncertainty")
    return sharp.assign_attrs(result_attributes(sharp.qa.data, None if sigma is None else np.asarray(sigma)))


def _told(model: Any, scene: SceneArrays) -> Any:  # noqa: ANN401  (a Delayed SceneModel)
    """Let a lazy model tell the shift of its scene when it is computed."""
    told = partial(_tell, grid=scene.grids.fine, moved=scene.moved is not None)
    return delayed(told)(model)


def _tell(model: SceneModel, *, grid: GeoBox, moved: bool) -> SceneModel:
    tell(model.shifts[0], grid, moved=moved)
    return model


def sharpen_scene(
    scene: SceneArrays,
    model: Any,  # noqa: ANN401  (a SceneModel or its Delayed)
    config: SharpenConfig,
    attrs: Mapping[str, Any] | None = None,
    *,
    uncertainty: Any = None,  # noqa: ANN401  (a numpy or dask array)
) -> xr.Dataset:
    """Sharpen a prepared scene with a trained model.

    Parameters
    ----------
    scene
        From `lstzoom.inputs.prepare`, aligned or not.
    model
        `SceneModel` or, for a lazy scene, a dask Delayed of one.
    config
        Settings.
    attrs
        Further attributes of the result.
    uncertainty
        Of the coarse LST, from `lstzoom.account.on_coarse_grid`.

    Returns
    -------
    xarray.Dataset
        As `sharpen` does.
    """
    outputs: dict[str, np.dtype[Any]] = {"lst": np.dtype(np.float32), "qa": np.dtype(np.uint8)}
    if config.method == "calibrated":
        outputs["lst_uncertainty"] = np.dtype(np.float32)
    outputs |= dict.fromkeys(config.outputs, np.dtype(np.float32))
    arrays = dict((_lazily if scene.is_lazy else _directly)(scene, model, config, outputs))
    if uncertainty is not None:
        arrays["lst_uncertainty"] = with_input(arrays["lst_uncertainty"], uncertainty, scene.grids.ratio)
    described = describe(arrays, scene, config)
    return described.assign_attrs(attrs or {})


class BlockFunction:
    """Sharpens one block with a scene's settings; picklable, and the same for equal settings."""

    def __init__(self, config: SharpenConfig, ratio: int, names: tuple[str, ...]) -> None:
        """Keep the settings; `names` are the outputs wanted."""
        self.settings = BlockSettings(
            ratio=ratio,
            local=config.local,
            cv_threshold=config.cv_threshold,
            seed=config.seed,
            calibrated=config.method == "calibrated",
            box=config.conservation_box,
        )
        self.names = names

    def __call__(
        self,
        bands: NDArray[np.float32],
        lst: NDArray[np.float32],
        usable: NDArray[np.bool_] | None,
        origin: YX,
        model: SceneModel,
    ) -> dict[str, NDArray[Any]]:
        """Sharpen one haloed block; shapes as in `lstzoom.kernels.block.sharpen_block`."""
        result = sharpen_block(bands, lst, usable, origin, model.model, self.settings)
        return {name: getattr(result, name) for name in self.names}

    def __dask_tokenize__(self) -> tuple[object, ...]:
        """Tell this function from one with other settings, in every process alike."""
        return ("lstzoom.BlockFunction", lstzoom.__version__, repr(self.settings), self.names)


def _lazily(
    scene: SceneArrays,
    model: Any,  # noqa: ANN401  (a SceneModel or its Delayed)
    config: SharpenConfig,
    outputs: Mapping[str, np.dtype[Any]],
) -> Mapping[str, Any]:
    function = BlockFunction(config, scene.grids.ratio, tuple(outputs))
    return map_blocks(
        function, *scene.lazy(), model,
        ratio=scene.grids.ratio, chunk=config.chunk, halo=function.settings.halo, outputs=outputs,
    )  # fmt: skip


def _directly(
    scene: SceneArrays, model: SceneModel, config: SharpenConfig, outputs: Mapping[str, np.dtype[Any]]
) -> Mapping[str, Any]:
    function = BlockFunction(config, scene.grids.ratio, tuple(outputs))
    out = {name: np.empty(scene.vnir.shape[1:], dtype) for name, dtype in outputs.items()}
    for block in blocks(scene.lst.shape, config.chunk, function.settings.halo):
        core = scene.grids.fine_window((block.rows, block.columns))
        results = run_block(function, scene.vnir, scene.lst, scene.usable, model, block, scene.grids.ratio)
        for name, values in results.items():
            out[name][core] = values
    return out


def describe(arrays: Mapping[str, Any], scene: SceneArrays, config: SharpenConfig) -> xr.Dataset:
    """Give arrays on the fine grid their coordinates, CRS and attributes."""
    import xarray as xr  # noqa: PLC0415  (slow to import, and files do not need it)
    from odc.geo.xr import xr_coords  # noqa: PLC0415  (slow to import, and files do not need it)

    coords: dict[Any, Any] = dict(xr_coords(scene.grids.fine, dims=("y", "x")))
    variables = {name: (("y", "x"), values, dict(ATTRS[name])) for name, values in arrays.items()}
    dataset = xr.Dataset(variables, coords=coords)
    for name in variables:
        dataset[name].encoding["grid_mapping"] = "spatial_ref"
    dataset.attrs = {
        "Conventions": "CF-1.11",
        "title": "Land surface temperature sharpened with reflectance",
        "source": f"lstzoom {lstzoom.__version__}",
        "lstzoom_method": config.method,
        "lstzoom_ratio": scene.grids.ratio,
        "lstzoom_bands": ", ".join(scene.bands),
        "lstzoom_seed": config.seed,
        "lstzoom_aligned": int(scene.moved is not None),
        **band_attributes(scene),
    }
    return dataset
