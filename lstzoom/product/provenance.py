"""The ``sharpening`` block of the metadata: how a product was made, and what is not known about that."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import lstzoom
from lstzoom.errors import InputError
from lstzoom.product.bundle import VNIR, Bundle
from lstzoom.product.outputs import Outputs
from lstzoom.product.survey import Survey
from lstzoom.train import load_model

if TYPE_CHECKING:
    from lstzoom.product.containers import Container

VERSION: Final = "1"
_METHODS: Final[Mapping[str, str]] = {
    "calibrated": "trees trained on the scene, global and in windows; as much of the predicted detail is "
    "added as proved right out of bag; residuals corrected",
    "published": "decision trees after Gao et al. (2012), global and in windows; all of the predicted detail "
    "is added; residuals corrected",
}
_REFERENCE: Final = "https://doi.org/10.3390/rs4113287"
_NOT_TAGGED: Final = "the files of the result do not say"
_ONE_SCALE_UP: Final = "one-scale-up"
_MODES: Final = (_ONE_SCALE_UP, "degraded", "direct")
_COARSE_ONLY: Final = "20 m or coarser, and not asked for"


@dataclass(frozen=True, slots=True)
class Extras:
    """What a run can tell beside its files.

    Attributes
    ----------
    model
        Name, size and SHA-256 of the file of the model, and the model's own content hash.
    accuracy
        Figures of `lstzoom validate --json`, one scale up.
    """

    model: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Any] | None = None


def read_extras(
    model: Path | None = None, accuracy: Path | None = None, lst_sha256: str | None = None
) -> Extras:
    """Read what is told beside the files of a result.

    Parameters
    ----------
    model
        File that `SceneModel.save` or ``lstzoom fit`` wrote.
    accuracy
        JSON that ``lstzoom validate --json`` wrote.
    lst_sha256
        As for `read_accuracy`.

    Raises
    ------
    InputError
        If a file cannot be read, is no model, or tells no accuracy one scale up of this LST.
    """
    figures = None if accuracy is None else read_accuracy(accuracy, lst_sha256)
    if figures is not None and figures["mode"] != _ONE_SCALE_UP:
        raise InputError(
            f"{str(accuracy)!r} compares with a truth (mode {figures['mode']!r}), and metadata tell the "
            "accuracy one scale up; make it without a truth: lstzoom validate BUNDLE --json accuracy.json"
        )
    return Extras(None if model is None else _file_of_model(model), _finite(figures))


def read_accuracy(path: Path, lst_sha256: str | None = None) -> dict[str, Any]:
    """Read what ``lstzoom validate --json`` wrote.

    Parameters
    ----------
    path
        The file.
    lst_sha256
        SHA-256 of the file of the coarse LST that was sharpened, if that is known.

    Raises
    ------
    InputError
        If it cannot be read, is something else, or says that it is of another LST.
    """
    try:
        figures = _accuracy_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{str(path)!r} is not what `lstzoom validate --json` writes ({type(error).__name__}: {error}); "
            "make it with: lstzoom validate LST VNIR... --json accuracy.json"
        ) from error
    told = figures.get("lst_sha256")
    if told is not None and lst_sha256 is not None and told != lst_sha256:
        raise InputError(
            f"{str(path)!r} is of another LST (SHA-256 {str(told)[:12]}...) than the one that was sharpened "
            f"({lst_sha256[:12]}...); make it of that: lstzoom validate LST VNIR... --json accuracy.json"
        )
    return figures


def _accuracy_of(content: Any) -> dict[str, Any]:  # noqa: ANN401  (any JSON)
    figures = [content["methods"][name]["rmse"] for name in ("lstzoom", "bicubic")]
    told = [content["ratio"], *(one for one in figures if one is not None)]
    if content["mode"] not in _MODES or not all(isinstance(one, int | float) for one in told):
        raise ValueError("its figures are none")
    return dict(content)


def _file_of_model(path: Path) -> dict[str, Any]:
    content_hash, stored = load_model(path).content_hash, path.read_bytes()
    digest = hashlib.sha256(stored).hexdigest()
    return {"name": path.name, "bytes": len(stored), "sha256": digest, "content_hash": content_hash}


def _finite(value: Any) -> Any:  # noqa: ANN401  (any JSON)
    """Turn numbers that JSON does not have into null."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(slots=True)
class _Account:
    """A block that is being written; null entries have reasons."""

    content: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def tell(self, key: str, value: object, reason: str = _NOT_TAGGED) -> None:
        self.content[key] = value
        if value is None:
            self.unknown[key] = reason


def sharpening_block(
    bundle: Bundle, outputs: Outputs, found: Survey, inputs: list[dict[str, Any]], extras: Extras
) -> dict[str, Any]:
    """Describe how a product was made.

    Parameters
    ----------
    bundle
        Input.
    outputs, found
        The result, and what a pass over it found.
    inputs
        From `checksums`.
    extras
        What else is known.

    Returns
    -------
    dict
        JSON; null where something is not known, and then ``unknown`` says why.
    """
    tags, account = outputs.tags, _Account()
    account.tell("block_version", VERSION)
    method = tags.get("method")
    account.tell("method", method)
    account.tell("method_description", _METHODS.get(method or ""), "the method is not known here")
    account.tell(
        "method_reference", _REFERENCE if method in _METHODS else None, "the method is not known here"
    )
    account.tell("software", {"name": "lstzoom", "version": tags["version"]} if "version" in tags else None)
    account.tell("published_with", {"name": "lstzoom", "version": lstzoom.__version__})
    account.tell("seed", _whole(tags.get("seed")))
    account.tell("ratio", round(bundle.lst.source.geobox.affine.a / outputs.grid.affine.a))
    _tell_bands(account, bundle, tags)
    _tell_training(account, tags, extras)
    _tell_quality(account, outputs, found, extras)
    account.tell("inputs", inputs)
    if not tags.get("vnir"):
        account.unknown["inputs"] = "incomplete: the files of the result do not name the reflectance"
    return account.content | {"unknown": account.unknown}


def _tell_bands(account: _Account, bundle: Bundle, tags: Mapping[str, str]) -> None:
    used = [name.strip() for name in tags["bands"].split(",")] if tags.get("bands") else None
    account.tell("bands_used", used)
    account.tell("bands_coarser_than_result", _coarser(tags, used))
    account.tell(
        "bands_left_out",
        None if used is None else [
            {"name": facts.key, "eo:common_name": facts.common_name, "reason": _why_not(bundle, facts.key)}
            for facts in VNIR
            if facts.common_name not in used
        ],
    )  # fmt: skip


def _coarser(tags: Mapping[str, str], used: list[str] | None) -> list[str] | None:
    """Bands, with the side of their own pixels, that hold no detail of the fine grid."""
    if used is None:
        return None
    return [one.strip() for one in tags["coarser_bands"].split(",")] if "coarser_bands" in tags else []


def _why_not(bundle: Bundle, key: str) -> str:
    if key not in bundle.band_keys:
        return "not delivered with the input"
    if key == "vnir02":
        return "off by default: its sharpness in orbit is far below that of the other bands"
    facts = next(facts for facts in VNIR if facts.key == key)
    return "not asked for" if facts.default else _COARSE_ONLY


def _tell_training(account: _Account, tags: Mapping[str, str], extras: Extras) -> None:
    rows = {name: _whole(tags.get(f"{name}_rows")) for name in ("level", "detail")}
    account.tell("sample_rows", rows if all(value is not None for value in rows.values()) else None)
    lattice = [_whole(part) for part in tags.get("windows", "").split(",")]
    names = ("stride", "extension", "min_samples")
    known = len(lattice) == len(names) and None not in lattice
    account.tell(
        "windows", {**dict(zip(names, lattice, strict=True)), "unit": "coarse pixels"} if known else None
    )
    account.tell("model_content_hash", _hash_of_model(tags, extras))
    account.tell("model_file", extras.model, "no file of the model was named (--model)")
    shift = {name: _number(tags.get(f"shift_{name}")) for name in ("y", "x", "confidence")}
    measured = shift["y"] is not None
    account.tell(
        "shift", {**shift, "unit": "fine pixels"} if measured else None,
        "nothing could be measured" if shift["confidence"] == 0 else _NOT_TAGGED,
    )  # fmt: skip
    account.tell("shift_corrected", None if "aligned" not in tags else tags["aligned"] == "1")
    account.tell("footprint_sd_fine_pixels", _number(tags.get("footprint")))
    account.tell("reliability", _number(tags.get("reliability")))


def _hash_of_model(tags: Mapping[str, str], extras: Extras) -> str | None:
    """Say which model it was, as the run told; a file has to hold the same."""
    told, stored = tags.get("model"), (extras.model or {}).get("content_hash")
    if told is not None and stored is not None and told != stored:
        raise InputError(
            f"the result was made with the model {told[:12]}..., and {(extras.model or {})['name']!r} holds "
            f"{stored[:12]}...; name the model of the run, or none"
        )
    return told


def _tell_quality(account: _Account, outputs: Outputs, found: Survey, extras: Extras) -> None:
    account.tell("conservation_box_coarse_pixels", _whole(outputs.tags.get("conservation_box")))
    account.tell("conservation", found.conservation.summary(), "no coarse pixel has all of its fine pixels")
    account.tell("residual_before_correction", _residual(outputs.tags))
    account.tell("accuracy_one_scale_up", extras.accuracy, "the run was not validated")
    if extras.accuracy is not None and extras.accuracy.get("lst_sha256") is None:
        account.unknown["accuracy_one_scale_up"] = "of which temperature: the figures do not say"
    account.tell("qa_percentages", found.shares(), "flags were not written (--qa)")
    account.tell("temperature", found.kelvin.summary("K"))
    account.tell(
        "uncertainty", found.sigma.summary("K") if found.sigma.count else None,
        "it was not written" if outputs.uncertainty is None else "no pixel has one",
    )  # fmt: skip


def _residual(tags: Mapping[str, str]) -> dict[str, Any] | None:
    """Coarse temperature minus aggregated prediction, as the run summed it up."""
    found = {name: _number(tags.get(f"residual_{name}")) for name in ("bias", "rmse")}
    return None if None in found.values() else {"unit": "K", **found}


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None


def _number(text: str | None) -> float | None:
    try:
        value = None if text is None else float(text)
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) else None


# Checksums


def checksums(bundle: Bundle, container: Container, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Name the files of the input that a result was made of, with size and SHA-256.

    Parameters
    ----------
    bundle, container
        The input, and its files.
    tags
        Of the result; reflectance that it does not name is left out.
    """
    named = {name.strip() for name in tags.get("vnir", "").split(",") if name.strip()}
    finest = f"scl_mask_{min(bundle.scl)}m" if bundle.scl else ""
    out = []
    for kind, entry in sorted(bundle.files.items()):
        base = kind.removesuffix("_qa")
        is_band = base in bundle.band_keys
        used = is_band and Path(bundle.files[base].name).name in named
        if used or kind in ("lst", "metadata", finest):
            content = container.read(entry)
            out.append(
                {"name": Path(entry.name).name, "kind": kind, "bytes": len(content),
                 "sha256": hashlib.sha256(content).hexdigest()}
            )  # fmt: skip
    return out
