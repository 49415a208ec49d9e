"""What the figures mean, in words that need no training in remote sensing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lstzoom.kernels.quality import QA
from lstzoom.report.scene import ReportScene
from lstzoom.report.views import Measured

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLAGS: Final[Mapping[int, str]] = {
    QA.NODATA: "no temperature in the input",
    QA.LOCAL: "sharpened, by what was learned nearby",
    QA.GLOBAL: "sharpened, by what was learned from the whole scene",
    QA.INTERPOLATED: "interpolated: no reflectance here",
    QA.MASKED: "masked, for example cloud",
    QA.UNSUPPORTED: "interpolated: reflectance explains no detail here",
}
"""Flags in plain words, by value."""
_CONSERVED: Final = 0.02
"""Kelvin: 0.01 of the method, and rounding of input and result to steps of 0.01."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure and what it means.

    Attributes
    ----------
    name
        What was measured.
    value
        The figure, with its unit.
    meaning
        One or two sentences.
    good
        True or False where the figure is a check that passes or not, None where it only informs.
    """

    name: str
    value: str
    meaning: str
    good: bool | None = None


def findings(scene: ReportScene, measured: Measured) -> list[Finding]:
    """Say what is known of a result: what it conserves, how good it is, how sure, where it comes from."""
    found = [
        _conservation(scene, measured),
        *_accuracy(scene.accuracy),
        _detail(measured),
        _uncertainty(measured),
        flags_finding(measured.flags),
        _reliability(scene.facts),
        _footprint(scene.facts),
        _shift(scene.facts),
    ]
    return [one for one in found if one is not None]


def _conservation(scene: ReportScene, measured: Measured) -> Finding:
    box = int(float(scene.facts.get("conservation_box", 1)))
    name = "Agreement with the input"
    told = measured.conservation.summary() or scene.conserved
    if not told:
        return Finding(
            name,
            "not checked",
            "The input was not named, so the coarse map on this page is the average of the result itself.",
        )
    value = f"{told['largest']:.3f} K at most"
    pixels = f"{told['coarse_pixels']:,}".replace(",", "\N{NO-BREAK SPACE}")
    if box > 1:
        return Finding(
            name,
            value,
            f"The result was asked to keep the input on boxes of {box} x {box} pixels, so single pixels may "
            f"differ. This is the largest of {pixels} differences of single pixels.",
        )
    good = told["largest"] <= _CONSERVED
    words = (
        "Averaged back, the sharp map gives the input again: nothing was made warmer or cooler overall."
        if good
        else "Averaged back, the sharp map departs from the input by more than rounding: are these files of "
        "one run?"
    )
    return Finding(name, value, f"{words} Compared on {pixels} pixels of the input.", good)


def _accuracy(report: Mapping[str, Any] | None) -> list[Finding]:
    """Error beside interpolation, where the answer is known."""
    if not report:
        return []
    ours, plain = report["methods"]["lstzoom"]["rmse"], report["methods"]["bicubic"]["rmse"]
    if ours is None or not plain:
        return []
    less = 100 * (1 - ours / plain)
    compared = f"{abs(less):.0f} % {'less' if less >= 0 else 'more'} than interpolation's {plain:.2f} K"
    how = {
        "one-scale-up": f"The input was made {report['ratio']} times coarser, sharpened back, and compared "
        "with itself. That tests the method on this very scene, one step coarser than the map; it is no "
        "promise for the fine map.",
        "degraded": "A sharper map was made coarse, sharpened back, and compared with itself.",
        "direct": "The result was compared with a map that is known to be right.",
    }[report["mode"]]
    return [Finding("Error where the answer is known", f"{ours:.2f} K, {compared}", how, less > 0)]


def _detail(measured: Measured) -> Finding | None:
    if not measured.after.count:
        return None
    span = [[one.quantile(share) for share in (0.01, 0.5, 0.99)] for one in (measured.before, measured.after)]
    (low, middle, high), (fine_low, _, fine_high) = span
    return Finding(
        "Range of temperature",
        f"{fine_low - 273.15:.1f} to {fine_high - 273.15:.1f} °C",
        f"98 % of the pixels of the sharp map lie in this range, and 98 % of those of the input between "
        f"{low - 273.15:.1f} and {high - 273.15:.1f} °C, around a middle of {middle - 273.15:.1f} °C: "
        "averaging over large pixels hides the extremes.",
    )


def _uncertainty(measured: Measured) -> Finding | None:
    if not measured.uncertainty.count:
        return None
    mean = measured.uncertainty.total / measured.uncertainty.count
    return Finding(
        "Typical uncertainty of a pixel",
        f"± {mean:.2f} K",
        "One standard uncertainty of the detail, learned from the scene. About nine in ten pixels are "
        f"meant to lie within ± {1.645 * mean:.1f} K.",
    )


def flags_finding(flags: NDArray[np.int64] | None) -> Finding | None:
    """Say where values come from; `flags` are pixels by flag."""
    if flags is None or not flags.any():
        return None
    total = int(flags.sum())
    sharpened = int(flags[QA.LOCAL] + flags[QA.GLOBAL])
    valued = total - int(flags[QA.NODATA] + flags[QA.MASKED])
    rest = [
        f"{100 * flags[flag] / total:.1f} % {words}"
        for flag, words in FLAGS.items()
        if flag not in (QA.LOCAL, QA.GLOBAL) and flags[flag]
    ]
    return Finding(
        "Pixels that were sharpened",
        f"{100 * sharpened / max(valued, 1):.1f} % of those with a temperature",
        f"Of all pixels: {'; '.join(rest)}." if rest else "Every pixel has a temperature and was sharpened.",
    )


def _reliability(facts: Mapping[str, str]) -> Finding | None:
    value = _number(facts, "reliability")
    if value is None:
        return None
    words = "strongly" if value > 0.8 else "well" if value > 0.6 else "partly" if value > 0.3 else "hardly"
    return Finding(
        "How far reflectance explains the detail",
        f"{value:.2f} of 1",
        f"In this scene reflectance explains the fine pattern of temperature {words}. It was tested on "
        "pixels that were left out of the training, and the detail in the map was scaled accordingly.",
    )


def _footprint(facts: Mapping[str, str]) -> Finding | None:
    metres = _number(facts, "footprint_metres")
    if metres is None:
        return None
    return Finding(
        "Blur of the thermal input",
        f"{metres:.0f} m" if metres else "none measured",
        "Width (standard deviation) of the ground that one input value averages beside its own pixel, as "
        "measured. Detail finer than the input can have seen is not claimed.",
    )


def _shift(facts: Mapping[str, str]) -> Finding | None:
    y, x, sure = (_number(facts, f"shift_{name}") for name in ("y", "x", "confidence"))
    if y is None or x is None:
        return None
    length = math.hypot(y, x)
    corrected = facts.get("aligned") == "1"
    if sure is not None and sure < 0.8:
        return Finding(
            "Fit of the two images", "not measurable", "Too little common pattern to measure a shift."
        )
    good = length <= 0.5 or corrected
    words = (
        "The shift was corrected before sharpening."
        if corrected
        else "The two images lie on each other."
        if good
        else "Reflectance lies beside the temperature: sharpen again with --align."
    )
    return Finding("Fit of the two images", f"{length:.1f} fine pixels apart", words, good)


def _number(facts: Mapping[str, str], name: str) -> float | None:
    try:
        value = float(facts[name])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None
