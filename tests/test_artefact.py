from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstzoom
from lstzoom import artefact
from lstzoom.kernels.trees import Forest
from tests.scenes import random_scene

CONFIG = lstzoom.SharpenConfig(seed=5)
SCENE = random_scene((64, 64), gaps=0.01)


@pytest.fixture(scope="module")
def model() -> lstzoom.SceneModel:
    return lstzoom.fit([SCENE], config=CONFIG)


@pytest.fixture(scope="module")
def data(model: lstzoom.SceneModel) -> bytes:
    return artefact.encode(model.model, artefact.describe(model.model, model._facts()))


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def with_header(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Change a header and make its hash right again, as somebody would who means harm."""
    members = unpacked(data)
    header = json.loads(members["model.json"])
    change(header)
    header["sha256"] = artefact.digest(header)
    return packed(members | {"model.json": json.dumps(header).encode()})


def with_forest(model: lstzoom.SceneModel, **arrays: Any) -> bytes:
    """Bytes of a model with other trees; hashes and header fit."""
    assert model.model.levels is not None
    broken = replace(model.model, levels=replace(model.model.levels, **arrays))
    file, members = io.BytesIO(), artefact._arrays(broken)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.json", json.dumps(artefact.describe(broken, model._facts())))
        for name, array in members.items():
            out = io.BytesIO()
            np.save(out, array)
            archive.writestr(f"{name}.npy", out.getvalue())
    return file.getvalue()


def forests(model: lstzoom.SceneModel) -> list[Forest]:
    found = (model.model.levels, model.model.details, model.model.errors.trees)
    return [forest for forest in found if forest is not None]


def test_a_model_predicts_the_same_after_a_round_trip(model: lstzoom.SceneModel, tmp_path: Path) -> None:
    path = tmp_path / "scene.lstzoom"
    assert model.save(path) == model.content_hash
    again = lstzoom.load_model(path)
    assert len(forests(model)) == 3
    for one, other in zip(forests(model), forests(again), strict=True):
        for field in fields(Forest):
            kept, read = getattr(one, field.name), getattr(other, field.name)
            np.testing.assert_array_equal(kept, read, strict=True)
            # Compiled functions tell these apart.
            assert read.flags.writeable
            assert read.flags.c_contiguous
    for field in fields(model):
        if field.name != "model":
            assert getattr(again, field.name) == getattr(model, field.name)
    first = lstzoom.sharpen(*SCENE, model=model, config=CONFIG)
    second = lstzoom.sharpen(*SCENE, model=again, config=CONFIG)
    for name in first.data_vars:
        np.testing.assert_array_equal(first[name], second[name])
    assert np.isfinite(first.lst).any()


def test_equal_models_make_equal_files_and_a_date_is_no_content(
    model: lstzoom.SceneModel, tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in ("a", "b", "dated")]
    model.save(paths[0])
    lstzoom.load_model(paths[0]).save(paths[1])
    hashed = model.save(paths[2], created=datetime(2026, 7, 1, 12, tzinfo=UTC))
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    assert hashed == model.content_hash
    assert json.loads(unpacked(paths[2].read_bytes())["model.json"])["created"] == "2026-07-01T12:00:00+00:00"
    assert replace(model, level_rows=1).content_hash != model.content_hash


def test_numpy_alone_opens_the_arrays(model: lstzoom.SceneModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as arrays:
        assert model.model.levels is not None
        np.testing.assert_array_equal(arrays["levels.value"], model.model.levels.value)


def test_a_file_is_replaced_only_when_asked_and_never_left_half(
    model: lstzoom.SceneModel, tmp_path: Path
) -> None:
    path = tmp_path / "m"
    model.save(path)
    with pytest.raises(lstzoom.InputError, match="exists"):
        model.save(path)
    broken = replace(model, ratio=1)
    with pytest.raises(lstzoom.InputError, match="ratio"):
        broken.save(path, overwrite=True)
    assert lstzoom.load_model(path).ratio == model.ratio
    model.save(path, overwrite=True)
    assert [one.name for one in tmp_path.iterdir()] == ["m"]
    with pytest.raises(lstzoom.InputError, match="cannot write"):
        model.save(tmp_path / "absent" / "m")
    with pytest.raises(lstzoom.InputError, match="cannot read"):
        lstzoom.load_model(tmp_path / "absent")
    with pytest.raises(lstzoom.InputError, match="exists"):
        model.save(tmp_path, overwrite=True)


def test_a_url_is_as_good_as_a_path(model: lstzoom.SceneModel) -> None:
    model.save("memory://models/m")
    assert lstzoom.load_model("memory://models/m").content_hash == model.content_hash
    with pytest.raises(lstzoom.InputError, match="exists"):
        model.save("memory://models/m")


def test_an_empty_model_is_kept_too(model: lstzoom.SceneModel, tmp_path: Path) -> None:
    errors = replace(model.model.errors, trees=None)
    bare = replace(model, model=replace(model.model, levels=None, details=None, errors=errors))
    bare.save(tmp_path / "m")
    assert forests(lstzoom.load_model(tmp_path / "m")) == []


def change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def apply(header: dict[str, Any]) -> None:
        *way, last = path.split("/")
        for key in way:
            header = header[key]
        header[last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("version", 2, "version 2 and this lstzoom reads version 1"),
        ("format", "other", "not that of a model"),
        ("extra", 1, "extra: Extra inputs"),
        ("facts/config/unheard_of", 1, "unheard_of: Extra inputs"),
        ("facts/ratio", 3.0, "ratio"),
        ("facts/ratio", 1, "ratio"),
        ("facts/seed", 6, "seed is not that of the settings"),
        ("facts/bands", ["red", "red"], "same name"),
        ("facts/bands", ["red"], "pairs name bands"),
        ("numbers/reliability", float("nan"), "reliability|finite"),
        ("numbers/reliability", 1.5, "reliability"),
        ("numbers/scene_mean", 20.0, "scene_mean"),
        ("numbers/footprint", 1e9, "wider"),
        ("numbers/pairs", [[0, 7]], "pairs name bands"),
        ("arrays/levels.left/shape", [1, 1], "levels.left"),
        ("arrays/levels.left/shape", [8, 1 << 40], "levels.left"),
        ("arrays/levels.left/dtype", "<f4", "levels.left"),
        ("arrays/levels.left/sha256", "0" * 64, "not the one that was written"),
        ("arrays/other.left", {"dtype": "<i4", "shape": [1, 1], "sha256": "0" * 64}, "missing or unknown"),
    ],
)
def test_a_header_that_is_not_known_is_refused(data: bytes, path: str, value: object, told: str) -> None:
    def harm(header: dict[str, Any]) -> None:
        change(path, value)(header)

    if value != value:  # noqa: PLR0124  (NaN has no hash)
        members = unpacked(data)
        header = json.loads(members["model.json"])
        harm(header)
        bad = packed(members | {"model.json": json.dumps(header).encode()})
    else:
        bad = with_header(data, harm)
    with pytest.raises(lstzoom.InputError, match=told):
        artefact.decode(bad, "m")


def test_a_changed_header_is_noticed(data: bytes) -> None:
    members = unpacked(data)
    text = members["model.json"].replace(b'"seed": 5', b'"seed": 4')
    with pytest.raises(lstzoom.InputError, match="changed after it was written"):
        artefact.decode(packed(members | {"model.json": text}), "m")


def test_missing_and_further_files_are_refused(data: bytes) -> None:
    members = unpacked(data)
    with pytest.raises(lstzoom.InputError, match=r"other\.txt"):
        artefact.decode(packed(members | {"other.txt": b""}), "m")
    for name in members:
        with pytest.raises(lstzoom.InputError, match=name):
            artefact.decode(packed({k: v for k, v in members.items() if k != name}), "m")


def test_objects_are_never_unpickled(data: bytes) -> None:
    out = io.BytesIO()
    np.save(out, np.array([[object()]], object), allow_pickle=True)
    with pytest.raises(lstzoom.InputError, match=r"levels\.left is object"):
        artefact.decode(packed(unpacked(data) | {"levels.left.npy": out.getvalue()}), "m")


def test_broken_trees_are_refused(model: lstzoom.SceneModel) -> None:
    forest = model.model.levels
    assert forest is not None

    def left(node: int, value: int) -> bytes:
        array = forest.left.copy()
        array[0, node] = value
        return with_forest(model, left=array)

    artefact.decode(left(0, 1), "what is right passes")
    inner = int(np.flatnonzero(forest.left[0] > 0)[-1])
    for node, value, told in [
        (0, forest.left.shape[1], "outside"),
        (0, forest.left.shape[1] - 1, "outside"),
        (inner, 0, "before their parent"),
        (inner, inner, "before their parent"),
        (0, -2, "before their parent"),
        (0, int(forest.left[0, inner]), "two parents"),
    ]:
        with pytest.raises(lstzoom.InputError, match=told):
            artefact.decode(left(node, value), "m")


def test_features_and_numbers_of_trees_are_checked(model: lstzoom.SceneModel) -> None:
    forest = model.model.levels
    assert forest is not None
    for name, value, told in [
        ("feature", 3, "features outside of 0 to 2"),
        ("feature", -1, "features outside"),
        ("threshold", np.inf, "not finite"),
        ("value", np.nan, "not finite"),
    ]:
        array = getattr(forest, name).copy()
        array[-1, 0] = value
        with pytest.raises(lstzoom.InputError, match=told):
            artefact.decode(with_forest(model, **{name: array}), "m")
    with pytest.raises(lstzoom.InputError, match="different shapes"):
        artefact.decode(with_forest(model, value=forest.value[:, :-1]), "m")


def test_a_tree_deeper_than_any_is_refused(model: lstzoom.SceneModel) -> None:
    nodes = 2 * 21 + 1
    left = np.full((1, nodes), -1, np.int32)
    left[0, 0] = 1
    left[0, 2:-2:2] = np.arange(3, nodes - 1, 2)
    zeros = np.zeros((1, nodes))
    arrays = {"threshold": zeros, "value": zeros, "feature": zeros, "left": left}
    with pytest.raises(lstzoom.InputError, match="deeper than 20"):
        artefact.decode(with_forest(model, **arrays), "m")
    # As deep, and beside the way: every pixel would take all of the steps.
    left[0, 0] = -1
    with pytest.raises(lstzoom.InputError, match="no way leads"):
        artefact.decode(with_forest(model, **arrays), "m")


@given(where=st.floats(0, 1, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_a_file_cut_short_is_refused(data: bytes, where: float) -> None:
    with pytest.raises(lstzoom.InputError, match="'cut'"):
        artefact.decode(data[: int(where * len(data))], "cut")


@given(seed=st.integers(0, 2**32 - 1), flips=st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_flipped_bits_are_refused_or_harmless(data: bytes, seed: int, flips: int) -> None:
    rng, bad = np.random.default_rng(seed), bytearray(data)
    # Most of the file are arrays, which checksums guard: half of the flips go to the zip's own tables.
    for _ in range(flips):
        at = int(rng.integers(len(bad))) if rng.random() < 0.5 else len(bad) - 1 - int(rng.integers(1200))
        bad[at] ^= 1 << int(rng.integers(8))
    try:
        model, header = artefact.decode(bytes(bad), "flipped")
    except lstzoom.InputError:
        return
    good, original = artefact.decode(data, "good")
    assert header == original
    for name, array in artefact._arrays(model).items():
        np.testing.assert_array_equal(array, artefact._arrays(good)[name])


@given(foreign=st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_foreign_files_are_refused(foreign: bytes) -> None:
    bare = packed({"model.json": foreign})
    array = packed({"model.json": foreign, "levels.left.npy": b"\x93NUMPY\x01\x00" + foreign})
    for content in (foreign, bare, array):
        with pytest.raises(lstzoom.InputError):
            artefact.decode(content, "foreign")


@given(body=st.binary(max_size=200), magic=st.booleans())
@settings(max_examples=60, deadline=None)
def test_foreign_arrays_are_refused(data: bytes, body: bytes, magic: bool) -> None:  # noqa: FBT001
    content = (b"\x93NUMPY\x01\x00" if magic else b"") + body
    with pytest.raises(lstzoom.InputError):
        artefact.decode(packed(unpacked(data) | {"details.value.npy": content}), "foreign")


def test_nested_json_is_no_way_around(data: bytes) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(lstzoom.InputError):
        artefact.decode(packed(unpacked(data) | {"model.json": deep}), "deep")


def test_settings_of_runs_do_not_make_another_model(model: lstzoom.SceneModel) -> None:
    run = CONFIG.model_copy(update={"chunk": 32, "outputs": ("residual",), "conservation_box": 3})
    assert lstzoom.fit([SCENE], config=run).content_hash == model.content_hash
    assert lstzoom.fit([SCENE], config=lstzoom.SharpenConfig(seed=6)).content_hash != model.content_hash
