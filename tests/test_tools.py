from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.sources.servers import file_server
from tools import audit
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


@pytest.mark.fault("vulnerabilities cannot be looked up (make audit)", "it says so, exit code 2")
def test_an_audit_that_cannot_be_made_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pins = tmp_path / "constraints.txt"
    pins.write_text("# pinned\naffine==3.0.1\n")
    place = tmp_path / "affine" / "3.0.1" / "json"
    place.parent.mkdir(parents=True)
    with file_server(tmp_path) as files:
        assert audit.main(pins, files.url) == 2
        assert "NOTHING WAS LOOKED UP" in capsys.readouterr().err
        for answer in ("<html>a portal</html>", "[]", json.dumps({"info": {}})):
            place.write_text(answer)
            assert audit.unavailable(pins, files.url)
        place.write_text(json.dumps({"vulnerabilities": []}))
        assert audit.unavailable(pins, files.url) == ""
    assert audit.unavailable(pins, "http://127.0.0.1:9")
    pins.write_text("")
    assert audit.unavailable(pins, files.url).endswith("pins nothing")


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
