"""What the STAC extensions require, by hand: their schemas are in no package.

Written from the specifications of projection 2.0, raster 2.0, eo 2.0, view 1.1, classification 1.1,
processing 1.2, product 1.0, render 2.0 and file 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

COMMON_NAMES = {
    "pan", "coastal", "blue", "green", "green05", "yellow", "red", "rededge", "rededge071", "rededge075",
    "rededge078", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22", "lwir", "lwir11", "lwir12",
}  # fmt: skip


def number(low: float = -float("inf"), high: float = float("inf")) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and low <= value <= high


def numbers(*sizes: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) in sizes and all(map(number(), value))


def matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def one_of(*values: object) -> Callable[[Any], bool]:
    return lambda value: value in values


def shape(value: object) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(one, int) and one > 0 for one in value)
    )


def moment(value: object) -> bool:
    return isinstance(value, str) and value.endswith("Z") and datetime.fromisoformat(value) is not None


def software(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(one, str) for one in value.values())


def classes(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    codes = [one["value"] for one in value]
    return (
        len(set(codes)) == len(codes)
        and all(isinstance(code, int) for code in codes)
        and all(matches(r"[0-9A-Za-z_-]+")(one["name"]) and one["description"] for one in value)
        and all(matches(r"[0-9A-F]{6}")(one.get("color_hint", "000000")) for one in value)
    )


def bitfields(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(one["offset"], int) and one["length"] >= 1 and classes(one["classes"]) for one in value
    )


RULES: Mapping[str, Callable[[Any], bool]] = {
    "proj:code": lambda value: value is None or matches(r"[A-Z]+:\d+")(value),
    "proj:wkt2": matches(r".+"),
    "proj:shape": shape,
    "proj:transform": numbers(6, 9),
    "proj:bbox": numbers(4),
    "raster:scale": number(),
    "raster:offset": number(),
    "raster:spatial_resolution": number(0),
    "raster:sampling": one_of("area", "point"),
    "eo:cloud_cover": number(0, 100),
    "eo:common_name": lambda value: value in COMMON_NAMES,
    "eo:center_wavelength": number(0.1, 20),
    "eo:full_width_half_max": number(0.001, 2),
    "view:off_nadir": number(0, 90),
    "view:incidence_angle": number(0, 90),
    "view:azimuth": number(0, 360),
    "view:sun_azimuth": number(0, 360),
    "view:sun_elevation": number(-90, 90),
    "classification:classes": classes,
    "classification:bitfields": bitfields,
    "processing:level": matches(r"L[0-4]"),
    "processing:datetime": moment,
    "processing:lineage": matches(r"[\s\S]+"),
    "processing:software": software,
    "product:type": matches(r".+"),
    "file:size": lambda value: isinstance(value, int) and value > 0,
    "file:checksum": matches(r"1220[0-9a-f]{64}"),
}
NAMES = {
    "proj": "projection", "raster": "raster", "eo": "eo", "view": "view", "classification": "classification",
    "processing": "processing", "product": "product", "file": "file",
}  # fmt: skip


def fields(item: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Every field of an extension, with where it stands."""
    places = [("properties", item["properties"])]
    for kind, asset in item["assets"].items():
        places += [(kind, asset), *((f"{kind} band", band) for band in asset.get("bands", []))]
    for place, content in places:
        yield from (
            (place, key, value)
            for key, value in content.items()
            if ":" in key and not key.startswith("lstzoom:")
        )


def mistakes(item: Mapping[str, Any]) -> list[str]:
    found = [f"{place}: {key}" for place, key, value in fields(item) if not RULES[key](value)]
    used = {NAMES[key.split(":")[0]] for _, key, _ in fields(item)} | (
        {"render"} if "renders" in item["properties"] else set()
    )
    declared = {url.split("/")[3] for url in item["stac_extensions"]}
    found += [f"declared and not used, or the other way round: {one}" for one in used ^ declared]
    for kind, asset in item["assets"].items():
        if "data" in asset["roles"] and "zarr" not in asset["type"]:
            found += [
                f"{kind}: no {key}" for key in ("proj:shape", "proj:transform", "bands") if key not in asset
            ]
    for name, render in item["properties"].get("renders", {}).items():
        known = all(one in item["assets"] for one in render["assets"])
        if not known or not all(map(numbers(2), render.get("rescale", []))):
            found.append(f"render {name}")
    return found
