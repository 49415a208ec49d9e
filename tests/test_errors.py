from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING

import pytest

from lstzoom import errors
from lstzoom.errors import LstzoomError, MissingExtraError, import_extra

if TYPE_CHECKING:
    from pathlib import Path

INPUT_ERRORS = [
    errors.ConfigError,
    errors.EmptySampleError,
    errors.EncodingError,
    errors.GridMismatchError,
    errors.NothingFoundError,
    errors.UnitsError,
]


@pytest.mark.parametrize("error", INPUT_ERRORS)
def test_input_errors_are_caught_as_value_error(error: type[Exception]) -> None:
    assert issubclass(error, errors.InputError)
    with pytest.raises(ValueError, match="chunk 40"):
        raise error("chunk 40")


def test_every_error_is_an_lstzoom_error() -> None:
    raised = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert len(raised) == len(INPUT_ERRORS) + 9
    assert all(issubclass(error, LstzoomError) for error in raised)


def test_errors_survive_the_way_back_from_a_worker() -> None:
    error = pickle.loads(pickle.dumps(errors.GridMismatchError("30 m on 20 m")))  # noqa: S301
    assert isinstance(error, errors.GridMismatchError)
    assert str(error) == "30 m on 20 m"


def test_import_extra_gives_the_module() -> None:
    import json.decoder

    assert import_extra("json.decoder", "s3") is json.decoder


@pytest.mark.parametrize("module", ["lstzoom_absent", "lstzoom_absent.child"])
def test_import_extra_says_how_to_get_a_missing_module(module: str) -> None:
    with pytest.raises(MissingExtraError, match=r'needs the extra "s3"') as caught:
        import_extra(module, "s3")
    assert 'pip install "lstzoom[s3]"' in str(caught.value)
    assert isinstance(caught.value, ImportError)
    assert caught.value.name == module


def test_import_extra_leaves_the_error_of_a_broken_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lstzoom_broken.py").write_text("import lstzoom_absent\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="lstzoom_absent") as caught:
        import_extra("lstzoom_broken", "s3")
    assert not isinstance(caught.value, MissingExtraError)


@pytest.mark.parametrize(("running", "too_old"), [((3, 11, 7), True), ((3, 12, 1), False)])
def test_a_missing_extra_names_the_python_it_needs(
    monkeypatch: pytest.MonkeyPatch, *, running: tuple[int, int, int], too_old: bool
) -> None:
    monkeypatch.setattr(sys, "version_info", running)
    message = errors._missing_extra_message("icechunk", "icechunk")
    assert ("this is Python 3.11; use Python 3.12 or newer" in message) is too_old
    assert message.endswith('pip install "lstzoom[icechunk]"')
