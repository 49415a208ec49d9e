"""A small archive as real catalogues keep it: cloud-optimised GeoTIFFs of one place, and their items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from lstzoom.simulate import Scene, simulate_scene

CRS = "EPSG:32632"
BANDS = {"green": "B03", "red": "B04", "nir": "B08", "swir16": "B11", "swir22": "B12"}
COARSE = {"swir16", "swir22"}


def write_cog(
    path: Path, values: NDArray[Any], grid: GeoBox, *, nodata: float | None = None,
    scale: float | None = None, offset: float | None = None, unit: str = "",
) -> None:  # fmt: skip
    """COG with overviews, tags only where given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = values if values.ndim == 3 else values[None]
    profile = {
        "driver": "GTiff", "height": grid.shape.y, "width": grid.shape.x, "count": len(planes),
        "dtype": values.dtype, "crs": str(grid.crs), "transform": grid.affine, "nodata": nodata,
    }  # fmt: skip
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(planes)
            if scale is not None or offset is not None:
                file.scales, file.offsets = (scale or 1.0,) * len(planes), (offset or 0.0,) * len(planes)
            if unit:
                file.units = (unit,)
        with memory.open() as file:
            rasterio.shutil.copy(
                file, path, driver="COG", blocksize=128, compress="DEFLATE", overviews="IGNORE_EXISTING"
            )


def box(left: float, top: float, pixel: float, shape: tuple[int, int], crs: str = CRS) -> GeoBox:
    return GeoBox(shape, Affine(pixel, 0, left, 0, -pixel, top), crs)


def outline(grid: GeoBox) -> list[list[float]]:
    """Ring of a footprint, longitude and latitude."""
    found = grid.extent.to_crs("EPSG:4326", resolution=1000)
    return [[float(x), float(y)] for x, y in found.exterior.points]


def item_of(
    name: str, collection: str, when: str, grid: GeoBox, assets: dict[str, Any], **properties: Any
) -> dict[str, Any]:
    """STAC 1.0 item with the projection extension 1.1, its grid on the item."""
    ring = outline(grid)
    lon, lat = zip(*ring, strict=True)
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": collection,
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [min(lon), min(lat), max(lon), max(lat)], "links": [], "assets": assets,
        "properties": {
            "datetime": when, "proj:epsg": grid.crs.epsg,  # type: ignore[union-attr]
            "proj:shape": list(grid.shape), "proj:transform": list(grid.affine)[:6],
            **{key.replace("__", ":"): value for key, value in properties.items()},
        },
    }  # fmt: skip


def asset(href: str, grid: GeoBox | None = None, **band: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "href": href, "type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["data"],
    }  # fmt: skip
    if band:
        found["raster:bands"] = [band]
    if grid is not None:
        found |= {"proj:shape": list(grid.shape), "proj:transform": list(grid.affine)[:6]}
    return found


@dataclass(frozen=True)
class Archive:
    """What was written: truth, files and grids."""

    folder: Path
    scene: Scene
    lst_grid: GeoBox
    codes: NDArray[np.uint16]
    classes: NDArray[np.uint8]
    stored: dict[str, NDArray[np.uint16]]
    lst_stored: NDArray[np.uint16]

    def area(self) -> tuple[float, float, float, float]:
        """Bounds in degrees, some pixels inside."""
        inner = self.lst_grid[3:-3, 3:-3].extent.to_crs("EPSG:4326").boundingbox
        return inner.left, inner.bottom, inner.right, inner.top

    def landsat(
        self, root: str, name: str = "LC08_L2SP_193027_20230702_02_T1", **changes: Any
    ) -> dict[str, Any]:
        """Item in the form of Earth Search v1 and of the Planetary Computer."""
        bands: dict[str, dict[str, Any]] = {
            "lwir11": {"scale": 0.00341802, "offset": 149.0, "nodata": 0, "unit": "kelvin"},
            "qa_pixel": {"nodata": 1, "data_type": "uint16", "unit": "bit index"},
            "qa": {"scale": 0.01, "nodata": -9999, "unit": "kelvin"},
        }
        files = {"lwir11": "ST_B10", "qa_pixel": "QA_PIXEL", "qa": "ST_QA"}
        assets = {key: asset(f"{root}/LC08_{files[key]}.TIF", **band) for key, band in bands.items()}
        properties: dict[str, Any] = {"platform": "landsat-8", "eo__cloud_cover": 2.5}
        properties |= changes
        when = properties.pop("when", "2023-07-02T10:10:00Z")
        return item_of(name, "landsat-c2-l2", when, self.lst_grid, assets, **properties)

    def sentinel2(self, root: str, name: str = "S2A_32UPU_20230703_0_L2A", **changes: Any) -> dict[str, Any]:
        """Item in the form of Earth Search v1: the offset is listed, and the pixels have it already."""
        fine = self.scene.geobox
        assets = {}
        for key in BANDS:
            grid = fine.zoom_out(2) if key in COARSE else fine
            assets[key] = asset(f"{root}/S2_{key}.tif", grid, scale=0.0001, offset=-0.1, nodata=0)
        assets["scl"] = asset(f"{root}/S2_SCL.tif", fine.zoom_out(2), nodata=0, data_type="uint8")
        properties: dict[str, Any] = {
            "platform": "sentinel-2a", "eo__cloud_cover": 4.0, "s2__processing_baseline": "05.09",
            "earthsearch__boa_offset_applied": True,
        }  # fmt: skip
        properties |= changes
        when = properties.pop("when", "2023-07-03T10:20:00Z")
        return item_of(name, "sentinel-2-l2a", when, fine, assets, **properties)

    def sentinel2_pc(self, root: str, **changes: Any) -> dict[str, Any]:
        """The same in the form of the Planetary Computer: other keys, no encoding."""
        item = self.sentinel2(root, "S2A_MSIL2A_20230703T102031_T32UPU", **changes)
        del item["properties"]["earthsearch:boa_offset_applied"]
        kept = {"scl": "SCL", **BANDS}
        item["assets"] = {kept[key]: value for key, value in item["assets"].items()}
        for one in item["assets"].values():
            del one["raster:bands"]
        return item


def make_archive(folder: Path) -> Archive:
    """Landsat-like and Sentinel-2-like files of the simulated city; clouds in both."""
    scene = simulate_scene((240, 300), bands=tuple(BANDS), seed=5)
    fine, coarse = scene.geobox, scene.coarse_geobox
    arrays = scene.to_xarray()
    lst = np.round((arrays.lst.values - 149.0) / 0.00341802).astype(np.uint16)
    lst[:2, :3] = 0
    codes = np.full(coarse.shape, 1 << 6, np.uint16)
    codes[40:48, 50:60] = (1 << 3) | (3 << 8)
    codes[:2, :3] = 1
    classes = np.full((fine.shape.y // 2, fine.shape.x // 2), 4, np.uint8)
    classes[20:30, 100:110] = 9
    write_cog(folder / "LC08_ST_B10.TIF", lst, coarse, nodata=0)
    write_cog(folder / "LC08_QA_PIXEL.TIF", codes, coarse, nodata=1)
    spread = np.full(coarse.shape, 150, np.int16)
    spread[10:12, 10:12] = 900
    write_cog(folder / "LC08_ST_QA.TIF", spread, coarse, nodata=-9999)
    stored = {}
    for key, plane in zip(BANDS, arrays.vnir.sel(band=list(BANDS)).values, strict=True):
        numbers = np.round(plane / 0.0001).astype(np.uint16)
        grid = fine
        if key in COARSE:
            numbers, grid = numbers[::2, ::2].copy(), fine.zoom_out(2)
        numbers[5, 7] = 0
        stored[key] = numbers
        write_cog(folder / f"S2_{key}.tif", numbers, grid, nodata=0)
    write_cog(folder / "S2_SCL.tif", classes, fine.zoom_out(2), nodata=0)
    return Archive(folder, scene, coarse, codes, classes, stored, lst)
