"""Metadata files beside the rasters: read whole, for what they tell of encodings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from lstzoom.errors import InputError, LstzoomError, import_extra
from lstzoom.product.metadata import read_metadata
from lstzoom.sources.allowed import require_allowed
from lstzoom.sources.encoding import find_asset, href_of
from lstzoom.sources.fetch import fetched, require_allowed_onward
from lstzoom.sources.redaction import plain, redact
from lstzoom.sources.signing import keep_logs_clean, sign

if TYPE_CHECKING:
    import pystac

    from lstzoom.product.encoding import Variable
    from lstzoom.sources.catalog import Access, Catalog, Constants

_MOST_BYTES: Final = 1 << 24
_TIMEOUT: Final = 60.0
_STORES: Final = {"s3": ("s3fs", "s3")}


def metadata_constants(
    source: Catalog, item: pystac.Item, access: Access, variable: Variable, constants: Constants
) -> Constants:
    """Return the encoding that the metadata file of an item tells, in place of what is documented.

    Parameters
    ----------
    source
        Its ``[metadata]`` says where the file is found; without one, or without the file, nothing changes.
    item, access
        Item, and how its files are reached.
    variable
        ``"ST"`` or ``"SR"``.
    constants
        What is documented.

    Raises
    ------
    InputError
        If the file cannot be read or contradicts its documents.
    """
    key = None if source.metadata is None else find_asset(item, source.metadata)
    if key is None:
        return constants
    href = href_of(item.assets[key], access)
    told, _ = read_metadata(small_file(href, access), plain(href))
    said = told.stored(variable)
    fields = {name: getattr(said, name) for name in ("scale", "offset", "nodata", "unit", "dtype")}
    return constants.model_copy(update={name: one for name, one in fields.items() if one is not None})


def small_file(href: str, access: Access) -> bytes:
    """Read a small file whole.

    Raises
    ------
    InputError
        If it cannot be read, is too large, or may not be read.
    MissingExtraError
        If the package for the object store is not installed.
    """
    keep_logs_clean()
    require_allowed(href, access.allow)
    scheme = urlsplit(href).scheme.lower()
    try:
        if scheme in {"http", "https"}:
            found = _fetched(sign(href, access), access)
        elif scheme in {"", "file"}:
            path = Path(unquote(urlsplit(href).path) if scheme else href)
            found = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else None
        elif scheme.startswith("zip+"):
            found = _unpacked(href, access)
        else:
            found = _stored(href, scheme, access)
    except LstzoomError:
        raise
    except Exception as error:  # noqa: BLE001  (stores raise their own)
        told = redact(str(error)) or type(error).__name__
        raise InputError(
            f"cannot read {plain(href)!r}: {told[:300]}; check the address and the access"
        ) from None
    if found is None:
        raise InputError(f"{plain(href)!r} is far larger than metadata; {_MOST_BYTES >> 20} MiB are allowed")
    return found


def _fetched(address: str, access: Access) -> bytes | None:
    with fetched(address, access, retries=access.retries, timeout=_TIMEOUT) as answer:
        if not answer.ok:
            raise InputError(
                f"cannot read {plain(address)!r}: HTTP status {answer.status_code}; check the access"
            )
        found = bytes(answer.raw.read(_MOST_BYTES + 1, decode_content=True))
    return found if len(found) <= _MOST_BYTES else None


def _stored(href: str, scheme: str, access: Access) -> bytes | None:
    import fsspec  # noqa: PLC0415  (slow to import, and only object stores need it)

    if scheme in _STORES:
        import_extra(*_STORES[scheme])
    options = _s3_options(access) if scheme == "s3" else {}
    if "::" in href and options:  # of an archive's own store
        options = {scheme: options}
    with fsspec.open(href, "rb", **options) as file:
        found = bytes(file.read(_MOST_BYTES + 1))
    return found if len(found) <= _MOST_BYTES else None


def _s3_options(access: Access) -> dict[str, Any]:
    """Say to s3fs what `lstzoom.sources.signing.gdal_options` says to GDAL."""
    options: dict[str, Any] = {"anon": True} if access.anonymous else {}
    if access.s3_endpoint:
        options["endpoint_url"] = access.s3_endpoint
    if access.profile:
        options["profile"] = access.profile
    return options


def _unpacked(href: str, access: Access) -> bytes | None:
    """Read a file in a zip, spelled as rasterio does: zip+https://host/scene.zip!folder/file."""
    archive, _, name = href[len("zip+") :].partition("!")
    scheme = urlsplit(archive).scheme.lower()
    if scheme in {"http", "https"}:
        archive = sign(archive, access)
        require_allowed_onward(archive, access)
    return _stored(f"zip://{name}::{archive}", scheme, access)
