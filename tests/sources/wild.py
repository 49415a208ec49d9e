"""Items in the form that real services give them, of the files of a small archive.

Written after the services' own documents: keys, roles, encodings, links and file names are theirs, and so is
what they leave out.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from tests.sources.archive import BANDS, Archive, outline

Fields = dict[str, Any]
TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def _item(
    name: str, collection: str, service: str, grid: GeoBox, when: str | None, assets: Fields,
    properties: Fields, *, version: str = "1.0.0", extensions: tuple[str, ...] = (),
) -> Fields:  # fmt: skip
    ring = outline(grid)
    lon, lat = zip(*ring, strict=True)
    root = f"{service}/collections/{collection}"
    return {
        "type": "Feature", "stac_version": version, "id": name, "collection": collection,
        "stac_extensions": [f"https://stac-extensions.github.io/{one}/schema.json" for one in extensions],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [min(lon), min(lat), max(lon), max(lat)],
        "links": [
            {"rel": "self", "type": "application/geo+json", "href": f"{root}/items/{name}"},
            {"rel": "collection", "type": "application/json", "href": root},
            {"rel": "root", "type": "application/json", "href": service},
            {"rel": "via", "href": "https://example.com/original.json"},
        ],
        "assets": assets, "properties": {"datetime": when, **properties},
    }  # fmt: skip


def _proj(grid: GeoBox, *, code: bool = False) -> Fields:
    assert grid.crs is not None
    crs = {"proj:code": f"EPSG:{grid.crs.epsg}"} if code else {"proj:epsg": grid.crs.epsg}
    return {**crs, **_place(grid)}


def _place(grid: GeoBox) -> Fields:
    return {"proj:shape": list(grid.shape), "proj:transform": [*list(grid.affine)[:6], 0, 0, 1]}


def put(archive: Archive, source: str, path: Path) -> str:
    """Put a file of the archive where the service has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        shutil.copyfile(archive.folder / source, path)
    return str(path)


def _extras(root: str) -> Fields:
    """What lies beside the bands, and is none."""
    return {
        "thumbnail": {"href": f"{root}/thumb_small.jpeg", "type": "image/jpeg", "roles": ["thumbnail"]},
        "index": {"href": f"{root}/index.html", "type": "text/html", "roles": ["metadata"]},
        "mtl.json": {"href": f"{root}/MTL.json", "type": "application/json", "roles": ["metadata"]},
        "tilejson": {"href": "https://example.com/tilejson.json?item=x", "roles": ["tiles"]},
        "rendered_preview": {"href": "https://example.com/preview.png", "roles": ["overview"]},
    }  # fmt: skip


MISSIONS = {
    "landsat-4": ("LT04", "tm", "lwir", "B6"),
    "landsat-5": ("LT05", "tm", "lwir", "B6"),
    "landsat-7": ("LE07", "etm+", "lwir", "B6"),
    "landsat-8": ("LC08", "oli-tirs", "lwir11", "B10"),
    "landsat-9": ("LC09", "oli-tirs", "lwir11", "B10"),
}
OLD_SR = {"blue": "B1", "green": "B2", "red": "B3", "nir08": "B4", "swir16": "B5", "swir22": "B7"}
NEW_SR = {
    "coastal": "B1",
    "blue": "B2",
    "green": "B3",
    "red": "B4",
    "nir08": "B5",
    "swir16": "B6",
    "swir22": "B7",
}


def landsat_pc(
    archive: Archive, folder: Path, platform: str, *, version: str = "1.0.0", thermal: bool = True
) -> Fields:
    """Planetary Computer, landsat-c2-l2: all missions; one grid on the item, `raster:bands` on assets."""
    letters, instrument, key, band = MISSIONS[platform]
    name = f"{letters}_L2SP_193027_20230702_02_T1"
    base = f"{letters}_L2SP_193027_20230702_20230711_02_T1"
    new = version == "1.1.0"

    def asset(suffix: str, source: str, roles: list[str], **told: Any) -> Fields:
        found: Fields = {
            "href": put(archive, source, folder / f"{base}_{suffix}.TIF"),
            "type": TIFF,
            "roles": roles,
        }
        if new:
            fields = {
                k if k in {"nodata", "unit", "data_type"} else f"raster:{k}": v for k, v in told.items()
            }
            return found | {"bands": [fields]}
        return found | {"raster:bands": [told]}

    st = {"nodata": 0, "data_type": "uint16", "unit": "kelvin", "scale": 0.00341802, "offset": 149.0}
    sr = {"nodata": 0, "data_type": "uint16", "scale": 2.75e-05, "offset": -0.2}
    assets = _extras(str(folder))
    assets["qa"] = asset("ST_QA", "LC08_ST_QA.TIF", ["data"], nodata=-9999, unit="kelvin", scale=0.01)
    for name_, number in (OLD_SR if instrument != "oli-tirs" else NEW_SR).items():
        assets[name_] = asset(f"SR_{number}", "LC08_ST_B10.TIF", ["data", "reflectance"], **sr)
    if thermal:
        assets[key] = asset(f"ST_{band}", "LC08_ST_B10.TIF", ["data", "temperature"], **st)
    assets["emis"] = asset("ST_EMIS", "LC08_ST_B10.TIF", ["data"], scale=0.0001, nodata=-9999)
    assets["trad"] = asset("ST_TRAD", "LC08_ST_B10.TIF", ["data"], scale=0.001, nodata=-9999)
    assets["qa_pixel"] = asset(
        "QA_PIXEL", "LC08_QA_PIXEL.TIF", ["cloud", "snow-ice"], nodata=1, unit="bit index"
    )
    assets["qa_radsat"] = asset("QA_RADSAT", "LC08_QA_PIXEL.TIF", ["saturation"], unit="bit index")
    told = {
        "platform": platform, "instruments": [instrument], "gsd": 30, "eo:cloud_cover": 2.37,
        "view:off_nadir": 0, "landsat:correction": "L2SP" if thermal else "L2SR",
        "created": "2023-07-12T08:00:00.000000Z", **_proj(archive.lst_grid, code=new),
    }  # fmt: skip
    service = "https://planetarycomputer.microsoft.com/api/stac/v1"
    return _item(
        name, "landsat-c2-l2", service, archive.lst_grid, "2023-07-02T10:10:15.123456Z", assets, told,
        version=version, extensions=("raster/v1.1.0", "eo/v1.0.0", "projection/v1.1.0"),
    )  # fmt: skip


def landsat_usgs(archive: Archive, folder: Path, kind: str, platform: str = "LANDSAT_8") -> Fields:
    """USGS, landsat-c2l2-st and -sr: no encoding; a server that wants a login, the bucket as alternate."""
    letters, instrument, key, band = MISSIONS[platform.lower().replace("_", "-")]
    base = f"{letters}_L2SP_193027_20230702_20230711_02_T1"

    def asset(suffix: str, source: str) -> Fields:
        path = put(archive, source, folder / f"{base}_{suffix}.TIF")
        return {
            "href": f"https://landsatlook.usgs.gov/data/collection02/{base}_{suffix}.TIF",
            "title": suffix, "type": "image/vnd.stac.geotiff; cloud-optimized=true", "roles": ["data"],
            "alternate": {"s3": {"storage:platform": "AWS", "storage:requester_pays": True, "href": path}},
        }  # fmt: skip

    if kind == "st":
        assets = {key: asset(f"ST_{band}", "LC08_ST_B10.TIF"), "qa": asset("ST_QA", "LC08_ST_QA.TIF")}
        assets |= {name: asset(f"ST_{name}", "LC08_ST_B10.TIF") for name in ("TRAD", "URAD", "EMIS", "CDIST")}
    else:
        bands = OLD_SR if instrument != "oli-tirs" else NEW_SR
        assets = {name: asset(f"SR_{number}", "LC08_ST_B10.TIF") for name, number in bands.items()}
    assets |= {"qa_pixel": asset("QA_PIXEL", "LC08_QA_PIXEL.TIF"), **_extras(str(folder))}
    told = {
        "platform": platform, "instruments": ["OLI", "TIRS"], "eo:cloud_cover": -1, "view:off_nadir": 0,
        "landsat:correction": "L2SP", **_proj(archive.lst_grid),
    }  # fmt: skip
    return _item(
        f"{base}_{kind.upper()}", f"landsat-c2l2-{kind}", "https://landsatlook.usgs.gov/stac-server",
        archive.lst_grid, "2023-07-02T10:10:15.123456Z", assets, told, extensions=("projection/v1.0.0",),
    )  # fmt: skip


def sentinel2_c1(archive: Archive, folder: Path) -> Fields:
    """Earth Search v1, sentinel-2-c1-l2a: the offset is listed, and it is not in the pixels."""
    fine = archive.scene.geobox
    names = {"blue": "B02", "rededge1": "B05", "nir08": "B8A", **BANDS}
    assets: Fields = {
        "thumbnail": {"href": f"{folder}/L2A_PVI.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
        "granule_metadata": {"href": f"{folder}/metadata.xml", "roles": ["metadata"]},
        "preview": {"href": f"{folder}/L2A_PVI.tif", "type": TIFF, "roles": ["overview"]},
        "visual": {"href": f"{folder}/TCI.tif", "type": TIFF, "roles": ["visual"]},
    }
    for key, band in names.items():
        grid = fine if key not in {"swir16", "swir22", "nir08", "rededge1"} else fine.zoom_out(2)
        source = f"S2_{key}.tif" if key in BANDS else ("S2_green.tif" if grid is fine else "S2_swir16.tif")
        assets[key] = {
            "href": put(archive, source, folder / f"{band}.tif"), "type": TIFF,
            "title": f"{key} - {grid.affine.a:g}m", "roles": ["data", "reflectance"],
            "eo:bands": [{"name": band, "common_name": key}], "gsd": grid.affine.a, **_place(grid),
            "raster:bands": [
                {"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}
            ],
            "file:checksum": "1220d4a1", "file:size": 1,
        }  # fmt: skip
    assets["scl"] = {
        "href": put(archive, "S2_SCL.tif", folder / "SCL.tif"), "type": TIFF, "roles": ["data"],
        **_place(fine.zoom_out(2)), "raster:bands": [{"nodata": 0, "data_type": "uint8"}],
    }  # fmt: skip
    told = {
        "platform": "sentinel-2b", "instruments": ["msi"], "eo:cloud_cover": 11.4,
        "grid:code": "MGRS-32UPU", "s2:processing_baseline": "05.09", "processing:software": {"x": "1"},
        "s2:generation_time": "2023-07-04T16:19:58.000000Z", "created": "2023-11-01T00:00:00.000Z",
        "storage:platform": "AWS", "storage:region": "us-west-2", "storage:requester_pays": False,
        "earthsearch:boa_offset_applied": False, **_proj(fine),
    }  # fmt: skip
    del told["proj:shape"], told["proj:transform"]
    return _item(
        "S2B_T32UPU_20230703T102019_L2A", "sentinel-2-c1-l2a", "https://earth-search.aws.element84.com/v1",
        fine, "2023-07-03T10:20:19.024000Z", assets, told, extensions=("projection/v1.1.0", "raster/v1.1.0"),
    )  # fmt: skip


def sentinel2_cdse(archive: Archive, folder: Path) -> Fields:
    """Copernicus Data Space: STAC 1.1, raster 2 and projection 2, encoding on the asset, `B04_10m` keys."""
    fine = archive.scene.geobox
    assets: Fields = {}
    for key, band in BANDS.items():
        pixel = 20 if key.startswith("swir") else 10
        grid = fine if pixel == 10 else fine.zoom_out(2)
        assets[f"{band}_{pixel}m"] = {
            "href": put(archive, f"S2_{key}.tif", folder / f"T32UPU_20230703T102019_{band}_{pixel}m.tif"),
            "type": "image/jp2", "roles": ["data", "reflectance", f"sampling:original,gsd:{pixel}m"],
            "gsd": pixel, "nodata": 0, "data_type": "uint16", "raster:scale": 0.0001, "raster:offset": -0.1,
            "bands": [{"name": band, "eo:common_name": key}], "proj:code": "EPSG:32632", **_place(grid),
            "alternate": {"https": {"href": f"https://download.example/{band}", "auth:refs": ["oidc"]}},
        }  # fmt: skip
    assets["SCL_20m"] = {
        "href": put(archive, "S2_SCL.tif", folder / "T32UPU_20230703T102019_SCL_20m.tif"), "gsd": 20,
        "roles": ["data"], "nodata": 0, "bands": [{"name": "SCL"}], "proj:code": "EPSG:32632",
        **_place(fine.zoom_out(2)),
    }  # fmt: skip
    assets["Product"] = {
        "href": "https://download.example/Product",
        "type": "application/zip",
        "roles": ["data"],
    }
    told = {
        "start_datetime": "2023-07-03T10:20:19.024Z", "end_datetime": "2023-07-03T10:20:19.024Z",
        "platform": "sentinel-2a", "instruments": ["msi"], "processing:version": "05.09",
        "processing:datetime": "2023-07-03T18:00:00Z",
    }  # fmt: skip
    return _item(
        "S2A_MSIL2A_20230703T102019_N0509_R065_T32UPU_20230703T180000", "sentinel-2-l2a",
        "https://stac.dataspace.copernicus.eu/v1", fine, None, assets, told, version="1.1.0",
        extensions=("projection/v2.0.0", "raster/v2.0.0", "eo/v2.0.0"),
    )  # fmt: skip


def ecostress_cmr(files: dict[str, Path], grid: GeoBox, keys: str) -> Fields:
    """CMR-STAC, ECO_L2T_LSTE_002: neither grid nor encoding; keys of several years."""
    name = "ECOv002_L2T_LSTE_28691_004_32UPU_20230703T101500_0710_01"
    root = "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected"
    assets: Fields = {
        "browse": {"href": f"{root}/{name}_LST.jpeg", "type": "image/jpeg", "roles": ["thumbnail"]},
        "metadata": {"href": "https://cmr.earthdata.nasa.gov/search/concepts/G1.xml", "roles": ["metadata"]},
    }
    for number, (layer, path) in enumerate(files.items()):
        one = {
            "short": layer, "numbered": f"{number:04d}_{name}_{layer}", "long": f"{name}_{layer}",
            "path": f"002/ECO_L2T_LSTE.002/{name}/{name}_{layer}",
        }  # fmt: skip
        assets[one[keys]] = {"href": str(path), "title": f"Download {path.name}", "type": "image/tiff"}
        assets[f"s3_{one[keys]}"] = {"href": f"s3://lp-prod-protected/{path.name}", "type": "image/tiff"}
        assets[f"{one[keys]}.json"] = {"href": f"{path}.json", "roles": ["metadata"]}
    told = {
        "start_datetime": "2023-07-03T10:15:00.000Z", "end_datetime": "2023-07-03T10:15:52.000Z",
        "eo:cloud_cover": None,
    }  # fmt: skip
    return _item(
        name, "ECO_L2T_LSTE_002", "https://cmr.earthdata.nasa.gov/stac/LPCLOUD", grid,
        "2023-07-03T10:15:00.000Z", assets, told,
    )  # fmt: skip


def constellr_api(archive: Archive, folder: Path, version: str) -> Fields:
    """constellr: pre-signed addresses, no extension; `lst` and `metadata`, and no reflectance."""
    assets = {
        key: {"href": f"https://bucket.s3.eu-central-1.amazonaws.com/{folder.name}/{name}?X-Amz-Signature=s3cret",
              "type": "image/tiff"}
        for key, name in (("lst", "lst.tiff"), ("metadata", "metadata.json"))
    }  # fmt: skip
    told = {"gsd": 30, "order:id": "cae562b6-04a2-48cf-a044-eb61064e4c9b"}
    return _item(
        "LSTPRECISION_SBA01_THQDZSBX_20251123T072838Z", "lstprecision", "https://api.constellr.com/stac",
        archive.lst_grid, "2025-11-23T07:28:38.602271Z", assets, told, version=version,
    )  # fmt: skip


def landsat_before_1_0(archive: Archive, folder: Path, kind: str, platform: str = "LANDSAT_8") -> Fields:
    """USGS, beside scenes of 2020: STAC 0.7, keys with suffix, a day for a time, one id for both items."""
    letters, instrument, _, band = MISSIONS[platform.lower().replace("_", "-")]
    base = f"{letters}_L2SP_193027_20230702_20230711_02_T1"
    root = "https://landsatlook.usgs.gov/data"

    def asset(suffix: str, source: str) -> Fields:
        path = put(archive, source, folder / f"{base}_{suffix}")
        return {"title": suffix, "type": "image/vnd.stac.geotiff; cloud-optimized=true", "href": path}

    if kind == "st":
        assets = {f"ST_{band}.TIF": asset(f"ST_{band}.TIF", "LC08_ST_B10.TIF")}
        assets |= {"ST_QA.TIF": asset("ST_QA.TIF", "LC08_ST_QA.TIF")}
        assets |= {f"ST_{one}.TIF": asset(f"ST_{one}.TIF", "LC08_ST_B10.TIF") for one in ("TRAD", "EMIS")}
    else:
        numbers = (OLD_SR if instrument != "oli-tirs" else NEW_SR).values()
        assets = {f"SR_{one}.TIF": asset(f"SR_{one}.TIF", "LC08_ST_B10.TIF") for one in numbers}
    assets["QA_PIXEL.TIF"] = asset("QA_PIXEL.TIF", "LC08_QA_PIXEL.TIF")
    assets["MTL.json"] = {"href": f"{root}/MTL.json", "type": "application/json"}
    assets["index"] = {"href": f"{root}/browser", "type": "text/html"}
    told = {"eo:cloud_cover": 3.5, "eo:platform": platform, "eo:off_nadir": 0}
    item = _item(base, f"landsat-c2l2-{kind}", root, archive.lst_grid, "2023-07-02", assets, told)
    item["links"] = [{"rel": "root", "href": f"{root}/catalog.json"}]
    return item | {
        "stac_version": "0.7.0",
        "stac_extensions": ["eo", "https://landsat.usgs.gov/stac/landsat-extension/schema.json"],
    }


def landsat_de_africa(archive: Archive, folder: Path, kind: str) -> Fields:
    """Digital Earth Africa, ls8_st and ls8_sr: ids that are random, keys that are names of bands."""
    base = "LC08_L2SP_193027_20230702_20230711_02_T1"
    grid = {**_proj(archive.lst_grid)}

    def asset(name: str, source: str) -> Fields:
        path = put(archive, source, folder / f"{base}_{name}.TIF")
        return {
            "title": name,
            "type": TIFF,
            "roles": ["data"],
            "eo:bands": [{"name": name}],
            "href": path,
            **grid,
        }

    layers = {"ST_B10": "LC08_ST_B10.TIF", "ST_QA": "LC08_ST_QA.TIF", "ST_EMIS": "LC08_ST_B10.TIF"}
    if kind == "sr":
        layers = {f"SR_{one}": "LC08_ST_B10.TIF" for one in NEW_SR.values()}
    layers |= {"QA_PIXEL": "LC08_QA_PIXEL.TIF"}
    assets = {name: asset(name, source) for name, source in layers.items()}
    told = {
        "platform": "landsat-8", "odc:product": f"ls8_{kind}", "eo:cloud_cover": 3.5,
        "created": "2023-07-12T08:00:00Z", **grid,
    }  # fmt: skip
    name = f"3b0f-{'a1' if kind == 'st' else 'e7'}-5f53-8b5a"
    service = "https://explorer.digitalearth.africa/stac"
    return _item(name, f"ls8_{kind}", service, archive.lst_grid, "2023-07-02T10:10:15.123456Z", assets, told)


def sentinel2_v0(archive: Archive, folder: Path) -> Fields:
    """Earth Search v0, sentinel-s2-l2a-cogs: keys of bands, and nothing of the encoding."""
    fine = archive.scene.geobox
    assets: Fields = {
        "overview": {"href": f"{folder}/L2A_PVI.tif", "type": TIFF, "roles": ["overview"],
                     "eo:bands": [{"name": f"B{n:02}"} for n in (4, 3, 2)]},
        "visual": {"href": f"{folder}/TCI.tif", "type": TIFF, "roles": ["overview"],
                   "eo:bands": [{"name": "B04", "common_name": "red"}, {"name": "B03"}, {"name": "B02"}]},
    }  # fmt: skip
    for key, band in {**BANDS, "SCL": "SCL"}.items():
        grid = fine.zoom_out(2) if key in {"swir16", "swir22", "SCL"} else fine
        assets[band] = {
            "href": put(archive, f"S2_{key}.tif", folder / f"{band}.tif"), "type": TIFF, "roles": ["data"],
            **_place(grid),
        }  # fmt: skip
    told = {
        "platform": "sentinel-2a", "gsd": 10, "view:off_nadir": 0, "sentinel:valid_cloud_cover": True,
        "eo:cloud_cover": 3.2, "sentinel:product_id": "S2A_MSIL2A_20230703T102031_N0509_R065",
        "sentinel:processing_baseline": "05.09", "sentinel:boa_offset_applied": True, "proj:epsg": 32632,
        "created": "2023-07-03T20:00:00.000Z",
    }  # fmt: skip
    return _item(
        "S2A_32UPU_20230703_0_L2A", "sentinel-s2-l2a-cogs", "https://earth-search.aws.element84.com/v0", fine,
        "2023-07-03T10:20:19Z", assets, told, version="1.0.0-beta.2",
    ) | {"stac_extensions": ["eo", "view", "proj"]}  # fmt: skip


def sentinel2_named(archive: Archive, folder: Path) -> Fields:
    """A catalogue of one's own: keys that are file names, bands told by `eo:bands` alone."""
    fine = archive.scene.geobox
    assets: Fields = {}
    for key, band in {**BANDS, "SCL": "SCL"}.items():
        grid = fine.zoom_out(2) if key in {"swir16", "swir22", "SCL"} else fine
        path = put(archive, f"S2_{key}.tif", folder / f"layer-{band.lower()}.tiff")
        told: Fields = {"name": band} if key == "SCL" else {"name": f"band {band}", "common_name": key}
        assets[f"layer-{band.lower()}"] = {"href": path, "type": TIFF, "roles": ["data"],
                                           "eo:bands": [told], **_place(grid)}  # fmt: skip
    assets["picture"] = {
        "href": f"{folder}/picture.tif", "roles": ["visual"],
        "eo:bands": [{"name": "r", "common_name": "red"}, {"name": "g", "common_name": "green"}],
    }  # fmt: skip
    told = {"platform": "sentinel-2a", "s2:processing_baseline": "05.09", "proj:epsg": 32632}
    return _item("one", "own", "https://stac.example", fine, "2023-07-03T10:20:19Z", assets, told)
