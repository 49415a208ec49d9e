"""Settings of clusters, what is made of them, and what is told of wrong ones. No cluster starts here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lstzoom import clusters, versions
from lstzoom.clusters import Adaptive, Cluster, connect, kubernetes_manifest, local_size, slurm_arguments
from lstzoom.errors import ClusterError, ConfigError, MissingExtraError
from lstzoom.sources.job import parse_job, read_job, write_job

JOB: dict[str, Any] = {"catalog": {"name": "demo"}, "area": {"bbox": [1, 2, 3, 4]}, "datetime": "2023"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "lokal"}, "'local', 'address', 'gateway', 'kubernetes' or 'slurm'"),
        ({"wrokers": 2}, "cluster.wrokers: there is no such key; did you mean 'workers'"),
        ({"kind": "slurm", "slurm": {"wall_time": "1"}}, "no such key; did you mean 'walltime'"),
        ({"adaptive": {"maximun": 3}}, "adaptive.maximun: there is no such key; did you mean 'maximum'"),
        ({"address": "tcp://a:1"}, "address belongs to kind: address"),
        ({"kind": "address"}, "address belongs to kind: address"),
        ({"slurm": {}}, "the settings under slurm belong to kind: slurm; kind is local"),
        ({"workers": 2, "adaptive": {"maximum": 3}}, "give workers or adaptive, not both"),
        ({"adaptive": {"minimum": 4, "maximum": 3}}, "minimum 4 is more than maximum 3"),
        ({"kind": "slurm"}, "kind: slurm needs workers or adaptive"),
        ({"kind": "kubernetes"}, "kind: kubernetes needs workers or adaptive"),
        ({"kind": "gateway"}, "kind: gateway needs workers or adaptive"),
        ({"kind": "gateway", "workers": 1, "memory": "4GB"}, "memory cannot be set for kind: gateway"),
        ({"kind": "address", "address": "tcp://a:1", "threads": 2}, "threads cannot be set for kind"),
        ({"kind": "address", "address": "tcp://a:1", "environment": {"A": "1"}}, "environment cannot be set"),
        ({"kind": "address", "address": "tcp://a:1", "adaptive": {"maximum": 2}}, "scaled by whoever"),
        ({"memory": "4 gigs"}, "memory '4 gigs' is no size"),
        ({"workers": 0}, "greater than or equal to 1"),
        ({"kind": "slurm", "workers": 1, "slurm": {"walltime": "2h"}}, "should match pattern"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_job(JOB | {"cluster": given})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "address", "address": "tcp://me:hunter2@host:8786"},
        {"kind": "gateway", "workers": 1, "gateway": {"address": "https://me:hunter2@hub"}},
        {"kind": "gateway", "workers": 1, "gateway": {"proxy_address": "tls://me:hunter2@hub"}},
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="holds no name or password") as caught:
        parse_job(JOB | {"cluster": given})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValidationError) as direct:
        Cluster(**given)
    assert "hunter2" not in str(direct.value)


def test_addresses_are_shown_without_what_may_be_secret() -> None:
    assert clusters._shown("https://me:hunter2@hub:443/x?token=abc#y") == "https://hub:443/x"
    assert clusters._shown("tcp://10.0.0.1:8786") == "tcp://10.0.0.1:8786"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"workers": 3, "threads": 2, "memory": "3GB", "environment": {"GDAL_HTTP_MAX_RETRY": "5"}},
        {"adaptive": {"maximum": 4}},
        {"kind": "address", "address": "tls://host:8786", "workers": 2},
        {"kind": "gateway", "workers": 2, "gateway": {"options": {"image": "a/b:c", "worker_memory": 8}}},
        {"kind": "gateway", "gateway": {"cluster": "abc"}},
        {"kind": "kubernetes", "workers": 2, "kubernetes": {"image": "a/b:c", "namespace": "lst"}},
        {"kind": "slurm", "adaptive": {"maximum": 9}, "slurm": {"prologue": ["module load gcc"]}},
    ],
)
def test_what_is_written_in_a_job_is_read_again(tmp_path: Path, given: dict[str, Any]) -> None:
    job = parse_job(JOB | {"cluster": given})
    (tmp_path / "job.yaml").write_text(write_job(job))
    assert read_job(tmp_path / "job.yaml").cluster == job.cluster == Cluster(**given)


@pytest.mark.parametrize(
    ("given", "cores", "memory", "expected"),
    [
        ({}, 8, 64 << 30, (8, 8 << 30)),
        ({}, 8, 7 << 30, (3, (7 << 30) // 3)),
        ({}, 1, 1 << 30, (1, 1 << 30)),
        ({"threads": 3}, 8, 64 << 30, (2, 32 << 30)),
        ({"memory": "16GiB"}, 8, 40 << 30, (2, 16 << 30)),
        ({"workers": 5}, 8, 40 << 30, (5, 8 << 30)),
        ({"adaptive": {"maximum": 4}}, 8, 40 << 30, (4, 10 << 30)),
    ],
)
def test_processes_are_sized_from_cores_and_memory(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], cores: int, memory: int, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr(clusters, "usable_cores", lambda: cores)
    monkeypatch.setattr(clusters, "usable_memory", lambda: memory)
    assert local_size(Cluster(**given)) == expected


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [
        ("gateway", "dask_gateway", "gateway"),
        ("kubernetes", "dask_kubernetes", "kubernetes"),
        ("slurm", "dask_jobqueue", "slurm"),
    ],
)
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: clusters.Kind, module: str, extra: str
) -> None:
    for name in [one for one in sys.modules if one.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        def find_spec(self, name: str, *_: object) -> None:
            if name.partition(".")[0] == module:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    wanted = rf'pip install "lstzoom\[{extra}\]"'
    with pytest.raises(MissingExtraError, match=wanted), connect(Cluster(kind=kind, workers=1)):
        pytest.fail("connected")


def test_nobody_answers_at_an_address() -> None:
    settings = Cluster(kind="address", address="tcp://127.0.0.1:9", timeout=1)
    with (
        pytest.raises(ClusterError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9"),
        connect(settings),
    ):
        pytest.fail("connected")


def test_a_job_of_slurm_leaves_before_its_time_limit() -> None:
    for walltime, seconds in (("02:00:00", 7200), ("1-00:00:00", 86400), ("00:02:00", 120)):
        settings = Cluster(kind="slurm", workers=1, slurm=clusters.Slurm(walltime=walltime))
        options = slurm_arguments(settings)["worker_extra_args"]
        lifetime, stagger = (int(options[k].removesuffix("s")) for k in (1, 3))
        assert 0 < lifetime + stagger < seconds
        assert seconds - lifetime <= 420 or seconds > 7200


def test_the_cache_of_gdal_is_no_share_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Cluster(kind="slurm", workers=1)
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    assert clusters.worker_environment(settings)["GDAL_CACHEMAX"] == "128"
    monkeypatch.setenv("GDAL_CACHEMAX", "100")
    assert "export GDAL_CACHEMAX=100" in slurm_arguments(settings)["job_script_prologue"]
    own = Cluster(environment={"GDAL_CACHEMAX": "50"})
    assert clusters.worker_environment(own)["GDAL_CACHEMAX"] == "50"


def test_what_waits_is_woken_seldom_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tick, variable = "distributed.admin.tick.interval", "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL"
    monkeypatch.delenv(variable, raising=False)
    assert clusters._seldom(clusters.worker_environment(Cluster()))[tick] == "500ms"
    given = Cluster(environment={variable: "1s"})
    assert clusters._seldom(clusters.worker_environment(given))[tick] == "1s"
    # Dask reads the environment itself.
    monkeypatch.setenv(variable, "30ms")
    assert tick not in clusters._seldom(clusters.worker_environment(Cluster()))


def test_a_manifest_has_to_be_a_daskcluster(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    settings = Cluster(kind="kubernetes", workers=1, kubernetes=clusters.Kubernetes(manifest=str(path)))
    with pytest.raises(ClusterError, match="cannot be read"):
        kubernetes_manifest(settings)
    path.write_text("kind: DaskJob\n")
    with pytest.raises(ClusterError, match="is no DaskCluster"):
        kubernetes_manifest(settings)
    with pytest.raises(ClusterError, match=r"needs cluster\.kubernetes\.image"):
        kubernetes_manifest(Cluster(kind="kubernetes", adaptive=Adaptive(maximum=2)))


def test_importing_settings_imports_no_dask() -> None:
    code = "import sys, lstzoom.clusters; sys.exit(any(n in sys.modules for n in ('distributed', 'dask')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_versions_are_those_of_this_process() -> None:
    import numba
    import numpy as np
    import rasterio
    import sklearn

    import lstzoom

    own = versions.own_versions()
    assert own["numpy"] == np.__version__
    assert own["scikit-learn"] == sklearn.__version__
    assert own["numba"] == numba.__version__
    assert own["GDAL"] == rasterio.__gdal_version__
    assert own["lstzoom"] == f"{lstzoom.__version__} (code {versions.code_digest()})"
    assert sys.version.startswith(own["python"] + ".")


def test_the_message_names_who_differs_and_in_what() -> None:
    own = {"numpy": "2.4.6", "GDAL": "3.9.1"}
    found = {f"tcp://w{k}:1": own | {"numpy": "2.4.5"} for k in range(7)} | {"tcp://same:1": own}
    differing = versions._differing(own, found)
    message = versions._message(differing, len(found))
    assert "7 of 8 workers" in message
    assert "tcp://w0:1: numpy 2.4.5 (2.4.6 here)" in message
    assert "and 2 more" in message
    assert "same:1" not in message
