"""What the doctor finds, and what it never tells."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lstzoom import cli, doctor

SECRET = "AKIAVERYSECRET"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DASK_SCHEDULER_ADDRESS", "DASK_GATEWAY__ADDRESS", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)


def found(checks: list[doctor.Check], name: str) -> doctor.Check:
    (one,) = [check for check in checks if check.name == name]
    return one


def test_this_installation_is_well() -> None:
    checks = doctor.examine()
    assert [one for one in checks if one.status == "problem"] == []
    topics = {"versions", "extras", "reading", "machine", "kernels", "cluster", "credentials"}
    assert {one.topic for one in checks} == topics
    assert found(checks, "driver COG").told == "there"
    assert "GiB" in found(checks, "memory").told


def test_credentials_are_seen_and_never_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert found(doctor.examine(), "AWS").told == "none"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRET)
    (tmp_path / ".netrc").write_text(f"machine urs.earthdata.nasa.gov login me password {SECRET}")
    done = CliRunner().invoke(cli.app, ["doctor", "--json"])
    assert SECRET not in done.output
    told = {one["name"]: one["told"] for one in json.loads(done.stdout)["checks"]}
    assert told["AWS"] == "present ($AWS_ACCESS_KEY_ID)"
    assert told["NASA Earthdata"] == "present (~/.netrc)"


def test_a_scheduler_that_is_not_there_is_a_problem_with_a_remedy() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = CliRunner().invoke(
        cli.app, ["doctor", "--scheduler", f"tcp://user:{SECRET}@127.0.0.1:{port}", "-q"]
    )
    assert done.exit_code == cli.BAD_INPUT
    assert "does not answer" in done.stdout
    assert "check the address" in done.stdout
    assert SECRET not in done.output
    assert "numpy" not in done.stdout


def test_what_is_missing_is_told_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PACKAGES", ("numpy", "no-such-package"))
    checks = doctor.examine()
    assert found(checks, "no-such-package").status == "problem"
    assert found(checks, "numpy").status == "ok"

    def broken_gdal() -> list[doctor.Check]:
        raise ImportError("libgdal.so")

    monkeypatch.setattr(doctor, "_gdal", broken_gdal)
    broken = found(doctor.examine(), "reading")
    assert "ImportError" in broken.told


def test_the_quota_of_both_kinds_of_control_groups_is_read(tmp_path: Path) -> None:
    assert doctor._cpu_quota(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert doctor._cpu_quota(tmp_path) == 0.5
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert doctor._cpu_quota(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert doctor._cpu_quota(tmp_path) is None


@pytest.mark.cluster
def test_a_scheduler_that_runs_is_reached() -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster:
        checks = doctor.examine(cluster.scheduler_address)
    told = found(checks, "scheduler")
    assert told.status == "ok"
    assert "1 worker with 2 threads" in told.told


@pytest.mark.parametrize("address", ["tcp://host:99999", "http://[::1"])
def test_what_is_no_address_is_told_as_that(address: str) -> None:
    told = found(doctor.examine(address), "scheduler")
    assert told.status == "problem"
    assert "no address" in told.told


def test_no_extra_is_named_that_installs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda _package: None)
    advice = found(doctor.examine(), "icechunk").remedy
    assert ("Python 3.12" in advice) == (sys.version_info < (3, 12))
