"""The map and the histogram of a page: layers packed small, and the Bokeh figures that show them."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lstzoom.errors import import_extra
from lstzoom.report.scene import ReportScene
from lstzoom.report.sentences import FLAGS
from lstzoom.report.views import Measured, View

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

_MISSING: Final = 65535
_GREY: Final = "#b8b8b8"
# Okabe and Ito's colours, which people with any kind of colour vision tell apart.
_CLASSES: Final = ("#000000", "#0072b2", "#56b4e9", "#e69f00", "#cc79a7", "#f0e442")
_BINS: Final = 60
# What is stored as value = scale x number + offset: range and step of each kind of layer.
_STORED: Final[Mapping[str, tuple[float, float]]] = {
    "kelvin": (0.01, 0.0),
    "positive": (0.001, 0.0),
    "difference": (0.005, -160.0),
    "share": (0.0001, 0.0),
    "classes": (1.0, 0.0),
}


def make_map(scene: ReportScene, views: Sequence[View], measured: Measured) -> dict[str, Any]:
    """Make what a page needs for the map and the histogram of one scene.

    Parameters
    ----------
    scene, views, measured
        What is shown, and what was measured.

    Returns
    -------
    dict
        ``models``: Bokeh's, by name; ``data``: JSON for the page's script; ``views`` and
        ``histogram_words`` for its text.

    Raises
    ------
    MissingExtraError
        If Bokeh is not installed.
    """
    made = make_maps([(scene, views)])
    made["models"]["histogram"] = _histogram_figure(import_extra("bokeh.models", "report"))
    made["data"]["histogram"] = _histogram(measured)
    return {**made, "histogram_words": _histogram_words(measured, scene)}


def make_maps(shown: Sequence[tuple[ReportScene, Sequence[View]]]) -> dict[str, Any]:
    """Make a map on which one of many scenes is chosen; keys of all views differ.

    Parameters
    ----------
    shown
        Scenes and their views, one at least; layers, colours and their range are shared.

    Returns
    -------
    dict
        As `make_map` returns it, without a histogram.

    Raises
    ------
    MissingExtraError
        If Bokeh is not installed.
    """
    layers = _layers([scene for scene, _ in shown], [view for _, views in shown for view in views])
    packed = [_packed(view, scene.grids.fine, layers) for scene, views in shown for view in views]
    return {
        "models": _models(),
        "data": {"views": packed, "layers": layers, "order": list(layers), "histogram": None},
        "views": [{"key": view.key, "title": view.title} for _, views in shown for view in views],
        "histogram_words": "",
    }


# Layers


def _layers(scenes: Sequence[ReportScene], views: Sequence[View]) -> dict[str, dict[str, Any]]:
    """Say how each layer looks: title, unit, colours and their range."""
    palettes = import_extra("bokeh.palettes", "report")
    fine = _sizes([scene.grids.fine for scene in scenes])
    coarse = _sizes([scene.grids.coarse for scene in scenes])
    names = {name for view in views for name in view.layers}
    inferno, cividis = list(palettes.Inferno256), list(palettes.Cividis256)
    diverging = list(palettes.interp_palette(palettes.PuOr11, 256))
    low, high = _range([*_all_of("fine", views), *_all_of("coarse", views)], (1, 99))
    shared = {"unit": "K", "kind": "kelvin", "palette": inferno, "low": low, "high": high}
    given = "" if all(scene.coarse is not None for scene in scenes) else ", averaged from the result"
    layers: dict[str, dict[str, Any]] = {
        "coarse": {"title": f"LST before{coarse}{given}", **shared},
        "fine": {"title": f"LST sharpened{fine}", **shared},
    }
    if "truth" in names:
        layers["truth"] = {"title": f"LST truth{fine}", **shared}
    reach = max(
        abs(bound) for bound in _range([_added(view) for view in views if "coarse" in view.layers], (1, 99))
    )
    layers["added"] = _difference("What sharpening added", reach, diverging)
    if any(view.rgb is not None for view in views):
        layers["rgb"] = {"title": f"Natural colours{fine}", "unit": "", "kind": "picture"}
    if "lst_uncertainty" in names:
        top = _range(_all_of("lst_uncertainty", views), (0, 99))[1]
        layers["lst_uncertainty"] = {"title": "Uncertainty (standard)", "unit": "K", "kind": "positive",
                                     "palette": cividis, "low": 0.0, "high": top}  # fmt: skip
    if "qa" in names:
        layers["qa"] = _classes()
    if "local_weight" in names:
        layers["local_weight"] = {"title": "Weight of the local models", "unit": "", "kind": "share",
                                  "palette": cividis, "low": 0.0, "high": 1.0}  # fmt: skip
    if "residual" in names:
        reach = max(abs(bound) for bound in _range(_all_of("residual", views), (1, 99)))
        layers["residual"] = _difference("Residual before correction", reach, diverging)
    return layers


def _difference(title: str, reach: float, palette: list[str]) -> dict[str, Any]:
    return {"title": title, "unit": "K", "kind": "difference", "palette": palette, "low": -reach,
            "high": reach}  # fmt: skip


def _classes() -> dict[str, Any]:
    classes = [{"label": FLAGS[flag], "colour": _CLASSES[flag]} for flag in sorted(FLAGS)]
    return {"title": "Where values come from", "unit": "", "kind": "classes", "palette": list(_CLASSES),
            "low": -0.5, "high": len(_CLASSES) - 0.5, "classes": classes}  # fmt: skip


def _all_of(name: str, views: Sequence[View]) -> list[NDArray[np.float32]]:
    return [view.layers[name] for view in views if name in view.layers]


def _added(view: View) -> NDArray[np.float32]:
    fine, coarse = view.layers["fine"], view.layers["coarse"]
    # A view holds whole coarse pixels.
    factor = fine.shape[0] // coarse.shape[0]
    return fine - coarse.repeat(factor, axis=0).repeat(factor, axis=1)


def _range(arrays: Sequence[NDArray[np.float32]], shares: tuple[float, float]) -> tuple[float, float]:
    """Quantiles of all that is valid, a tenth of a kelvin apart at least."""
    known = np.concatenate([np.empty(0, np.float32), *(one[np.isfinite(one)] for one in arrays)])
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, shares)
    middle, half = (low + high) / 2, max((high - low) / 2, 0.05)
    return round(float(middle - half), 3), round(float(middle + half), 3)


def _packed(view: View, grid: GeoBox, layers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One view for the page: where it lies, and its layers as deflated whole numbers."""
    pixel_x, pixel_y = abs(grid.affine.a), abs(grid.affine.e)
    note = (
        f"Of this large scene one pixel of {view.step} x {view.step} is shown here; the close-up shows all."
        if view.step > 1
        else ""
    )
    return {
        "key": view.key,
        "note": note,
        "left": grid.affine.c + view.columns.start * pixel_x,
        "top": grid.affine.f - view.rows.start * pixel_y,
        "width": (view.columns.stop - view.columns.start) * pixel_x,
        "height": (view.rows.stop - view.rows.start) * pixel_y,
        "pixel": pixel_x * view.step,
        "start": dict(zip(("left", "right"), view.start, strict=True)),
        "place": f"Place in {crs_name(grid)}, m (latitude, longitude)",
        "lonlat": _degrees(grid),
        "rgb": None if view.rgb is None else _jpeg(view.rgb),
        "layers": {
            name: _stored(values, layers[name]["kind"])
            for name, values in view.layers.items()
            if name in layers
        },
    }


def _stored(values: NDArray[np.float32], kind: str) -> dict[str, Any]:
    scale, offset = _STORED[kind]
    known = np.isfinite(values)
    number = np.clip(np.rint((np.where(known, values, offset) - offset) / scale), 0, _MISSING - 1)
    stored = np.where(known, number, _MISSING).astype("<u2")
    packed = base64.b64encode(zlib.compress(stored.tobytes(), 9)).decode()
    return {"shape": list(values.shape), "scale": scale, "offset": offset, "data": packed}


def _jpeg(rgb: NDArray[np.uint8]) -> str:
    images, target = import_extra("PIL.Image", "report"), io.BytesIO()
    images.fromarray(rgb).save(target, format="JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(target.getvalue()).decode()}"


# Places


def _sizes(grids: Sequence[GeoBox]) -> str:
    """Say the side of a pixel, where it is the same for all."""
    sizes = {_size(grid) for grid in grids}
    return f", {sizes.pop()}" if len(sizes) == 1 else ""


def _size(grid: GeoBox) -> str:
    side, projected = abs(grid.affine.a), grid.crs is None or not grid.crs.geographic
    return f"{side:.4g} m" if projected else f"{side:.4g}°"


def crs_name(grid: GeoBox) -> str:
    """Name the CRS of a grid by its code, where it has one."""
    code = None if grid.crs is None else grid.crs.to_epsg()
    return f"EPSG:{code}" if code else "the grid's CRS"


def _degrees(grid: GeoBox) -> dict[str, list[float]]:
    """Longitude and latitude at nine points, between which the page interpolates (to a metre or so)."""
    from pyproj import Transformer  # noqa: PLC0415  (slow to import)

    rows, columns = grid.shape
    xs = [grid.affine.c + part * columns * grid.affine.a for part in (0.0, 0.5, 1.0)]
    ys = [grid.affine.f + part * rows * grid.affine.e for part in (0.0, 0.5, 1.0)]
    x, y = np.meshgrid(xs, ys)
    transformer = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    lon, lat = transformer.transform(x.ravel(), y.ravel())
    return {"xs": xs, "ys": ys, "lon": list(lon), "lat": list(lat)}


# Histogram


def _histogram(measured: Measured) -> dict[str, list[float]]:
    """Shares of pixels, percent, in equal classes over the middle 99.8 % of all values."""
    histograms = (measured.before, measured.after)
    low = min(one.quantile(0.001) for one in histograms)
    high = max(one.quantile(0.999) for one in histograms)
    edges = np.linspace(low - 0.05, max(high, low + 0.1) + 0.05, _BINS + 1)
    out: dict[str, list[float]] = {"edges": [float(edge) for edge in edges]}
    for name, one in zip(("before", "after"), histograms, strict=True):
        centres = one.low + one.step * np.arange(len(one.counts))
        counts, _ = np.histogram(centres, edges, weights=one.counts)
        out[name] = [float(count) for count in 100 * counts / max(one.count, 1)]
    return out


def _histogram_words(measured: Measured, scene: ReportScene) -> str:
    def told(name: str, one: Any) -> str:  # noqa: ANN401  (a Histogram)
        low, middle, high = (one.quantile(share) - 273.15 for share in (0.05, 0.5, 0.95))
        return f"{name}: half of the pixels are warmer than {middle:.1f} °C, nine in ten lie between {low:.1f} and {high:.1f} °C."  # noqa: E501

    before = told(f"Before ({_size(scene.grids.coarse)}, line)", measured.before)
    after = told(f"Sharpened ({_size(scene.grids.fine)}, filled)", measured.after)
    return f"Share of pixels by temperature. {before} {after}"


# Bokeh


def _models() -> dict[str, Any]:
    """Two figures, one above the other; the page's script fills them."""
    models = import_extra("bokeh.models", "report")
    x, y = models.Range1d(0, 1, name="x"), models.Range1d(0, 1, name="y")
    return {
        "left": _pane("left", x, y, models),
        "right": _pane("right", x, y, models),
    }


def _pane(side: str, x: Any, y: Any, models: Any) -> Any:  # noqa: ANN401  (Bokeh has no types)
    figure = import_extra("bokeh.plotting", "report").figure(
        x_range=x, y_range=y, sizing_mode="stretch_both", toolbar_location=None, min_border=0,
        outline_line_color=None, background_fill_color=_GREY, tools="",
    )  # fmt: skip
    figure.axis.visible = False
    figure.grid.visible = False
    wheel = models.WheelZoomTool()
    figure.add_tools(models.PanTool(), wheel)
    figure.toolbar.active_scroll = wheel
    place = {"x": [0.0], "y": [0.0], "dw": [1.0], "dh": [1.0]}
    image = models.ColumnDataSource({"image": [np.zeros((1, 1), np.float32)], **place}, name=f"{side}-image")
    mapper = models.LinearColorMapper(
        palette=["#000000", "#ffffff"], low=0, high=1, nan_color="rgba(0, 0, 0, 0)", name=f"{side}-colours"
    )
    figure.image(
        image="image", x="x", y="y", dw="dw", dh="dh", source=image, color_mapper=mapper,
        origin="top_left", anchor="top_left", name=f"{side}-raster",
    )  # fmt: skip
    picture = models.ColumnDataSource({"url": [""], **place}, name=f"{side}-rgb")
    figure.image_url(
        url="url", x="x", y="y", w="dw", h="dh", anchor="top_left", source=picture, visible=False,
        name=f"{side}-picture",
    )  # fmt: skip
    cross = models.ColumnDataSource({"x": [], "y": []}, name=f"{side}-cross")
    for colour, width in (("black", 4), ("white", 2)):
        figure.scatter("x", "y", source=cross, marker="cross", size=18, line_color=colour, line_width=width)
    figure.add_layout(
        models.ScaleBar(
            range=x, unit="m", location="bottom_left", background_fill_alpha=0.85, border_line_color=None,
            padding=4, margin=8, bar_length=0.25, label_text_font_size="12px",
        )
    )  # fmt: skip
    return figure


def _histogram_figure(models: Any) -> Any:  # noqa: ANN401  (Bokeh has no types)
    x = models.Range1d(0, 1, name="histogram-x")
    figure = import_extra("bokeh.plotting", "report").figure(
        x_range=x, sizing_mode="stretch_both", toolbar_location=None, tools="", min_border_right=12,
        y_axis_label="share of pixels, %",
    )  # fmt: skip
    bars = models.ColumnDataSource({"left": [], "right": [], "before": [], "after": []}, name="histogram")
    step = models.ColumnDataSource({"x": [], "y": []}, name="histogram-step")
    figure.quad(
        left="left", right="right", bottom=0, top="after", source=bars, fill_color="#f1731d",
        line_color=None, legend_label="sharpened",
    )  # fmt: skip
    figure.step(
        "x", "y", source=step, mode="after", line_color="#200c4a", line_width=2, legend_label="before"
    )
    figure.xaxis[0].name = "histogram-axis"
    figure.y_range.start = 0
    figure.grid.grid_line_alpha = 0.5
    figure.legend.orientation = "horizontal"
    figure.legend.border_line_color = None
    # Inside it would hide bars on a phone.
    figure.add_layout(figure.legend[0], "above")
    return figure
