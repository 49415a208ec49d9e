"""Names of bundles and of the files in them, in every style that is in circulation.

Three styles:

``short``
    Plain names (``lst.tiff``) in a folder or zip named by time, product and order, 2025 to early 2026.
``subdirectories``
    The same in ``vnir_data/``, ``tir_data/`` and ``scl_masks_data/``, September 2025. Files of that
    time may carry the name of the area and the order before their own.
``long``
    ``LSTPRECISION_SBA02_U155VHMQ_20260708T235815Z_LST.tiff``, since June 2026.

A reader does not need to know the style: `kind_of` finds what a file is from the end of its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final, Literal, TypeAlias

from lstzoom.errors import InputError

Style: TypeAlias = Literal["short", "subdirectories", "long"]

STYLES: Final[tuple[Style, ...]] = ("short", "subdirectories", "long")
PRODUCTS: Final = ("LSTprecision", "LSTzoom")
TIME: Final = "%Y%m%dT%H%M%SZ"
GEOHASH_LENGTH: Final = 8

_BASE32: Final = "0123456789bcdefghjkmnpqrstuvwxyz"
_EXTENSIONS: Final = "tiff|tif|json|geojson|jpg|jpeg|png"
_KINDS: Final = (
    r"lst",
    r"lst_sharpened_10m",
    r"vnir(?:0[1-9]|10)",
    r"vnir(?:0[1-9]|10)_qa",
    r"scl_mask_(?:10|20|30|60)m",
    r"metadata",
    r"tcwv",
    r"aot",
    r"emi_0[1-4]",
    r"lst_composite",
    r"lst_thumbnail",
    r"rgb_composite",
    r"rgb_thumbnail",
    r"quicklook",
    r"thumbnail",
    r"rgb_quicklook",
    r"lst_quicklook_sharpened_10m",
    r"lst_thumbnail_sharpened_10m",
    # Written by lstzoom beside the documented files.
    r"lst_uncertainty",
    r"lst_qa",
)
# A search finds the leftmost match, which is the longest one that ends the name.
_FILE: Final = re.compile(rf"(?:^|_)({'|'.join(_KINDS)})\.(?:{_EXTENSIONS})$", re.IGNORECASE)
_PLAIN: Final = re.compile(rf"(?:{'|'.join(_KINDS)})")
_LONG: Final = re.compile(
    r"(?P<product>[A-Z][A-Z0-9]*)_(?P<satellite>SBA\d{2})_(?P<geohash>[0-9B-HJKMNP-Z]{8})"
    rf"_(?P<time>\d{{8}}T\d{{6}}Z)(?:_(?P<kind>[A-Z0-9_]+))?(?:\.(?:zip|{_EXTENSIONS}))?",
    re.IGNORECASE,
)
_SHORT: Final = re.compile(
    r"(?P<time>\d{8}T\d{6}Z)_(?P<product>[A-Za-z][A-Za-z0-9]*)_(?:(?P<aoi>.+)_)?(?P<order>[^_/.]+)(?:\.zip)?"
)
_FOLDERS: Final = (("vnir", "vnir_data"), ("tcwv", "vnir_data"), ("aot", "vnir_data"),
                   ("scl_mask", "scl_masks_data"))  # fmt: skip


# Geohash


def geohash(lon: float, lat: float, length: int = GEOHASH_LENGTH) -> str:
    """Encode a position (Niemeyer's geohash), in upper case as in names of bundles.

    Raises
    ------
    InputError
        If the position is not on Earth.

    Examples
    --------
    >>> geohash(54.471, 24.417)[:6], geohash(10.40744, 57.64911, 11)
    ('THQDZS', 'U4PRUYDQQVJ')
    """
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise InputError(f"lon {lon}, lat {lat} is no position; -180 to 180 and -90 to 90 are needed")
    bounds = [[-180.0, 180.0], [-90.0, 90.0]]
    bits = 0
    for k in range(5 * length):
        axis, value = bounds[k % 2], (lon, lat)[k % 2]
        middle = (axis[0] + axis[1]) / 2
        upper = value >= middle
        bits = 2 * bits + upper
        axis[not upper] = middle
    digits = [_BASE32[(bits >> 5 * k) & 31] for k in reversed(range(length))]
    return "".join(digits).upper()


def geohash_bounds(code: str) -> tuple[float, float, float, float]:
    """Decode a geohash to west, south, east, north.

    Raises
    ------
    InputError
        If it holds a character that is none of a geohash.

    Examples
    --------
    >>> west, south, east, north = geohash_bounds("THQDZSBX")
    >>> round((west + east) / 2, 3), round((south + north) / 2, 3)
    (54.471, 24.417)
    """
    bounds = [[-180.0, 180.0], [-90.0, 90.0]]
    if not code or any(one not in _BASE32 for one in code.lower()):
        raise InputError(f"{code!r} is no geohash; it consists of {_BASE32}")
    bits = (int(one) for char in code.lower() for one in f"{_BASE32.index(char):05b}")
    for k, upper in enumerate(bits):
        axis = bounds[k % 2]
        axis[not upper] = (axis[0] + axis[1]) / 2
    return bounds[0][0], bounds[1][0], bounds[0][1], bounds[1][1]


# Bundles


def _utc(time: datetime) -> datetime:
    """Whole seconds in UTC: what a name can hold."""
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return aware.replace(microsecond=0)


def _time(text: str, name: str) -> datetime:
    try:
        return datetime.strptime(text.upper(), TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise InputError(f"{text!r} in the name {name!r} is no time: {error}; rename it") from error


@dataclass(frozen=True, slots=True)
class LongName:
    """Name since June 2026: upper case, the same for folder, zip and, with a type, every file.

    Attributes
    ----------
    product
        As in metadata, for example ``"LSTzoom"``; compared without regard to case.
    satellite
        ``"SBA01"`` or ``"SBA02"``.
    geohash
        Of the image centre, 8 characters.
    acquired
        UTC; fractions of a second are dropped.

    Raises
    ------
    InputError
        If a part does not fit the pattern.

    Examples
    --------
    >>> name = LongName("LSTzoom", "SBA01", "THQDZSBX", datetime(2025, 11, 23, 7, 28, 38, tzinfo=UTC))
    >>> name.folder
    'LSTZOOM_SBA01_THQDZSBX_20251123T072838Z'
    >>> name.file("scl_mask_10m")
    'LSTZOOM_SBA01_THQDZSBX_20251123T072838Z_SCL_MASK_10M.tiff'
    >>> LongName.parse(name.folder + ".zip") == name
    True
    """

    product: str
    satellite: str
    geohash: str
    acquired: datetime

    def __post_init__(self) -> None:
        """Bring all parts into the case and precision that names have."""
        object.__setattr__(self, "product", _product(self.product))
        object.__setattr__(self, "satellite", self.satellite.upper())
        object.__setattr__(self, "geohash", self.geohash.upper())
        object.__setattr__(self, "acquired", _utc(self.acquired))
        if not _LONG.fullmatch(self.folder):
            raise InputError(
                f"{self.folder!r} is no long name; it is PRODUCT_SATELLITE_GEOHASH_TIME, for example "
                "LSTPRECISION_SBA02_U155VHMQ_20260708T235815Z"
            )

    @property
    def folder(self) -> str:
        """Name of the folder, and of a zip without its ending."""
        return "_".join((self.product, self.satellite, self.geohash, _stamp(self.acquired))).upper()

    def file(self, kind: str) -> str:
        """Path of a file within the bundle."""
        _require_kind(kind)
        return f"{self.folder}_{kind.upper()}.{_extension(kind)}"

    @classmethod
    def parse(cls, name: str) -> LongName | None:
        """Read the name of a folder, zip or file; None if it is of another style.

        Raises
        ------
        InputError
            If it looks like a long name and its time is none.
        """
        found = _LONG.fullmatch(name)
        if not found:
            return None
        return cls(found["product"], found["satellite"], found["geohash"], _time(found["time"], name))


@dataclass(frozen=True, slots=True)
class ShortName:
    """Name until early 2026: time, product and order of a folder or zip with plain names inside.

    Attributes
    ----------
    acquired
        UTC; fractions of a second are dropped.
    product
        For example ``"LSTzoom"``.
    order
        Id of the order, without ``_`` and ``.``.
    aoi
        Name of the area, used in September 2025; files then repeat the name before their own.
    subdirectories
        Files lie in one folder for each sensor.

    Examples
    --------
    >>> name = ShortName.parse("20240512T095854Z_LSTzoom_cae562b6-04a2-48cf-a044-eb61064e4c9b")
    >>> name.product, name.acquired.isoformat(), name.file("vnir03_qa")
    ('LSTzoom', '2024-05-12T09:58:54+00:00', 'vnir03_qa.tiff')
    """

    acquired: datetime
    product: str
    order: str
    aoi: str = ""
    subdirectories: bool = False

    def __post_init__(self) -> None:
        """Refuse parts that could not be read back."""
        object.__setattr__(self, "product", _product(self.product))
        object.__setattr__(self, "acquired", _utc(self.acquired))
        if not _SHORT.fullmatch(self.folder) or "_" in self.order:
            raise InputError(
                f"{self.folder!r} is no short name; it is TIME_Product_order, the order without '_' and '.': "
                "20240512T095854Z_LSTzoom_cae562b6-04a2-48cf-a044-eb61064e4c9b"
            )

    @property
    def folder(self) -> str:
        """Name of the folder, and of a zip without its ending."""
        parts = (_stamp(self.acquired), self.product, self.aoi, self.order)
        return "_".join(part for part in parts if part)

    def file(self, kind: str) -> str:
        """Path of a file within the bundle."""
        _require_kind(kind)
        prefix = f"{self.folder}_" if self.aoi else ""
        name = f"{prefix}{kind}.{_extension(kind)}"
        return f"{_folder_of(kind)}{name}" if self.subdirectories else name

    @classmethod
    def parse(cls, name: str) -> ShortName | None:
        """Read the name of a folder or zip; None if it is of another style.

        Raises
        ------
        InputError
            If it looks like a short name and its time is none.
        """
        found = _SHORT.fullmatch(name)
        if not found:
            return None
        return cls(_time(found["time"], name), found["product"], found["order"], found["aoi"] or "")


BundleName: TypeAlias = LongName | ShortName


def _stamp(time: datetime) -> str:
    # strftime does not pad years before 1000.
    return f"{time.year:04d}{time.strftime('%m%dT%H%M%SZ')}"


def _product(product: str) -> str:
    """Spell a known product as metadata does."""
    return next((one for one in PRODUCTS if one.lower() == product.lower()), product)


def parse_name(name: str) -> BundleName | None:
    """Read the name of a bundle's folder or zip, or of a file with a long name.

    Returns
    -------
    LongName, ShortName or None
        None if the name says nothing, which is no error: anybody may rename a folder.
    """
    base = PurePosixPath(name.rstrip("/")).name
    try:
        return LongName.parse(base) or ShortName.parse(base)
    except InputError:
        return None


# Files


def kind_of(path: str) -> str | None:
    """Tell what a file of a bundle is, from the end of its name and in any style.

    Returns
    -------
    str or None
        Plain name without ending, in lower case; None for a file that no bundle is documented to hold.

    Examples
    --------
    >>> kind_of("LSTPRECISION_SBA02_U155VHMQ_20260708T235815Z_LST.tiff")
    'lst'
    >>> kind_of("vnir_data/vnir03.tiff"), kind_of("readme.txt")
    ('vnir03', None)
    """
    found = _FILE.search(PurePosixPath(path).name)
    return found[1].lower() if found else None


def _require_kind(kind: str) -> None:
    if not _PLAIN.fullmatch(kind):
        raise InputError(
            f"{kind!r} is no file of a bundle; for example lst, vnir03_qa, scl_mask_10m, metadata"
        )


def _extension(kind: str) -> str:
    if kind == "metadata":
        return "json"
    return "jpg" if "thumbnail" in kind else "tiff"


def _folder_of(kind: str) -> str:
    if kind == "lst":
        return "tir_data/"
    return next((f"{folder}/" for start, folder in _FOLDERS if kind.startswith(start)), "")
