from __future__ import annotations

from tools.constraints import lines_for


def test_equal_versions_are_pinned_once() -> None:
    assert lines_for("a", {"3.11": {"a": "1.0"}, "3.12": {"a": "1.0"}}) == ["a==1.0"]


def test_a_package_of_some_pythons_needs_no_marker() -> None:
    assert lines_for("a", {"3.11": {}, "3.12": {"a": "1.0"}}) == ["a==1.0"]


def test_versions_that_differ_get_markers_without_gap_or_overlap() -> None:
    resolved = {"3.11": {"a": "1"}, "3.12": {"a": "2"}, "3.13": {"a": "2"}, "3.14": {"a": "3"}}
    assert lines_for("a", resolved) == [
        'a==1; python_version < "3.12"',
        'a==2; python_version >= "3.12" and python_version < "3.14"',
        'a==3; python_version >= "3.14"',
    ]
