from __future__ import annotations

import json
import re
from pathlib import Path

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


def test_the_devcontainer_does_what_the_makefile_offers() -> None:
    root = Path(__file__).resolve().parent.parent
    text = (root / ".devcontainer" / "devcontainer.json").read_text()
    # JSON with comments, as the format has it.
    content = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    commands = [content[name] for name in ("onCreateCommand", "updateContentCommand")]
    wanted = {word for one in commands for word in one.removeprefix("make ").split()}
    assert wanted
    assert wanted <= targets
