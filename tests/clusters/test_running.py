"""Every kind of cluster that can run on one machine, run for real, with workers in processes of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import psutil
import pytest
import requests

from lstzoom.clusters import Adaptive, Cluster, Gateway, Slurm, connect
from lstzoom.errors import ClusterError
from lstzoom.machine import KEEP_MEMORY
from lstzoom.versions import check_versions, own_versions
from tests.clusters import services

pytestmark = pytest.mark.cluster


def test_processes_of_this_machine() -> None:
    settings = Cluster(workers=2, threads=2, memory="700MB", environment={"GDAL_HTTP_MAX_RETRY": "7"})
    with connect(settings) as client:
        assert list(client.nthreads().values()) == [2, 2]
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        assert {one["memory_limit"] for one in workers} == {700_000_000}
        assert set(client.run(os.getenv, "GDAL_HTTP_MAX_RETRY").values()) == {"7"}
        assert set(client.run(dask.config.get, "distributed.worker.profile.enabled").values()) == {False}
        assert client.submit(sum, (1, 2)).result() == 3
        assert requests.get(client.dashboard_link, timeout=20).status_code == 200
        assert check_versions(client) == own_versions()
        pids = client.run(os.getpid).values()
    services.wait_until(lambda: not any(map(psutil.pid_exists, pids)), 20, "the end of the workers")


def test_workers_keep_memory_from_their_start() -> None:
    """The C library reads its settings once: what comes after the start is of no use."""
    with connect(Cluster(workers=1)) as client:
        (started,) = client.run(lambda: Path("/proc/self/environ").read_text()).values()
    told = dict(line.partition("=")[::2] for line in started.split("\0"))
    assert {name: told[name] for name in KEEP_MEMORY} == {name: str(v) for name, v in KEEP_MEMORY.items()}


def test_without_a_dashboard_no_port_is_shared_with_others() -> None:
    settings = Cluster(workers=1, memory="700MB", dashboard="")
    with connect(settings, check=False) as one, connect(settings, check=False) as other:
        links = {client.dashboard_link for client in (one, other)}
    assert len(links) == 2
    assert not any(":8787" in link for link in links)


def test_processes_come_with_the_work_and_go() -> None:
    with connect(Cluster(adaptive=Adaptive(minimum=1, maximum=3), memory="700MB")) as client:
        assert len(client.nthreads()) == 1
        futures = client.map(time.sleep, [1.0 + k / 1000 for k in range(12)])
        services.wait_until(lambda: len(client.nthreads()) > 1, 30, "another worker")
        client.gather(futures)
        del futures
        services.wait_until(lambda: len(client.nthreads()) == 1, 60, "the end of the other workers")


def test_a_running_scheduler_is_used_and_left_running(tmp_path: Path) -> None:
    with services.dask_scheduler(tmp_path) as address:
        settings = Cluster(kind="address", address=address, workers=2, timeout=30)
        with services.dask_worker(address, tmp_path, "a"):
            with connect(settings.model_copy(update={"workers": None})) as client:
                assert len(client.nthreads()) == 1
            hasty = settings.model_copy(update={"timeout": 2})
            with pytest.raises(ClusterError, match="1 of 2 workers after 2 s"), connect(hasty):
                pytest.fail("connected")
            with services.dask_worker(address, tmp_path, "b"):
                for _ in range(2):
                    with connect(settings) as client:
                        assert client.submit(sum, (1, 2)).result() == 3
                with connect(settings, check=False) as client:
                    assert len(client.nthreads()) == 2
                    # What another client of this scheduler runs is not our business once we are gone.
                    plugins = client.run_on_scheduler(
                        lambda dask_scheduler: list(dask_scheduler.worker_plugins)
                    )
                    assert not [name for name in plugins if "lstzoom" in name]


def test_a_worker_with_another_lstzoom_is_named(tmp_path: Path) -> None:
    other = services.other_lstzoom(tmp_path / "other")
    with services.dask_scheduler(tmp_path) as address:
        settings = Cluster(kind="address", address=address, workers=2, timeout=30)
        with (
            services.dask_worker(address, tmp_path, "same"),
            services.dask_worker(address, tmp_path, "other", other),
            pytest.raises(ClusterError) as caught,
            connect(settings),
        ):
            pytest.fail("connected")
    message = str(caught.value)
    assert "1 of 2 workers have other versions" in message
    assert "lstzoom 0.0.1 (code" in message
    assert f"({own_versions()['lstzoom']} here)" in message
    assert "numpy" not in message


def test_a_worker_with_another_lstzoom_cannot_join_later(tmp_path: Path) -> None:
    other = services.other_lstzoom(tmp_path / "other")
    with (
        services.dask_scheduler(tmp_path) as address,
        services.dask_worker(address, tmp_path, "same"),
        connect(Cluster(kind="address", address=address, timeout=30)) as client,
    ):
        with services.dask_worker(address, tmp_path, "other", other) as log:
            services.wait_until(lambda: "have other versions" in log.read_text(), 40, "the refusal")
            assert client.submit(sum, (1, 2)).result() == 3
            services.wait_until(lambda: len(client.nthreads()) == 1, 30, "the end of the other worker")
        with services.dask_worker(address, tmp_path, "later"):
            services.wait_until(lambda: len(client.nthreads()) == 2, 40, "a worker that joins later")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("dask_gateway_server")
    with services.gateway(tmp_path_factory.mktemp("gateway")) as address:
        yield address


@pytest.fixture
def password() -> Iterator[None]:
    import dask
    import dask_gateway

    assert dask_gateway.__version__  # its import adds its settings to dask's
    # As DASK_GATEWAY__AUTH__KWARGS__PASSWORD would, which dask reads when it is imported.
    with dask.config.set({"gateway.auth.kwargs.password": services.PASSWORD}):
        yield


@pytest.mark.usefixtures("password")
def test_a_gateway_starts_a_cluster_and_stops_it(gateway: str, caplog: pytest.LogCaptureFixture) -> None:
    import dask_gateway

    given = Gateway(address=gateway, auth="basic", options={"worker_memory": 0.5})
    settings = Cluster(kind="gateway", workers=2, timeout=60, gateway=given)
    with caplog.at_level("DEBUG", "lstzoom"), connect(settings) as client:
        services.wait_until(lambda: len(client.nthreads()) == 2, what="the second worker")
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        assert {one["memory_limit"] for one in workers} == {1 << 29}
        assert client.submit(sum, (1, 2)).result() == 3
    server = dask_gateway.Gateway(address=gateway, auth="basic")
    services.wait_until(lambda: not server.list_clusters(), what="the end of the cluster")
    assert "gateway cluster: scheduler gateway://127.0.0.1" in caplog.text
    assert services.PASSWORD not in caplog.text


@pytest.mark.usefixtures("password")
def test_a_cluster_of_a_gateway_is_used_and_left_running(gateway: str) -> None:
    import dask_gateway

    server = dask_gateway.Gateway(address=gateway, auth="basic")
    name = server.submit(worker_memory=0.5)
    given = Gateway(address=gateway, auth="basic", cluster=name)
    try:
        adaptive = Adaptive(minimum=1, maximum=2)
        with connect(Cluster(kind="gateway", adaptive=adaptive, timeout=60, gateway=given)) as client:
            assert client.submit(sum, (1, 2)).result() == 3
        assert [one.name for one in server.list_clusters()] == [name]
    finally:
        server.stop_cluster(name)


@pytest.mark.usefixtures("password")
def test_wrong_options_of_a_gateway_are_told(gateway: str) -> None:
    given = Gateway(address=gateway, auth="basic", options={"worker_mem": 1})
    with (
        pytest.raises(ClusterError, match=r"no option 'worker_mem'.*there are worker_memory"),
        connect(Cluster(kind="gateway", workers=1, gateway=given)),
    ):
        pytest.fail("connected")
    given = Gateway(address=gateway, auth="basic", options={"worker_memory": 99})
    with (
        pytest.raises(ClusterError, match="could not be started"),
        connect(Cluster(kind="gateway", workers=1, gateway=given)),
    ):
        pytest.fail("connected")


def test_a_gateway_that_does_not_let_in_is_told(gateway: str) -> None:
    given = Gateway(address=gateway, auth="basic")
    with (
        pytest.raises(ClusterError, match=r"cannot be used: .*401"),
        connect(Cluster(kind="gateway", workers=1, gateway=given)),
    ):
        pytest.fail("connected")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    pytest.importorskip("dask_jobqueue")
    absent = services.absent_for_slurm()
    if absent is not None:
        pytest.skip(absent)
    with services.slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def submitting(slurm: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    return slurm


def jobs(environment: dict[str, str]) -> list[str]:
    return services.slurm_tells(["squeue", "-h", "-o", "%i", "-t", "running,pending"], environment).split()


def test_jobs_of_slurm(submitting: dict[str, str], tmp_path: Path) -> None:
    given = Slurm(logs=str(tmp_path / "logs"), walltime="00:20:00", interface="lo", partition="debug",
                  prologue=("export MARK=here",))  # fmt: skip
    settings = Cluster(kind="slurm", workers=2, memory="600MB", timeout=90, slurm=given,
                       environment={"GDAL_HTTP_MAX_RETRY": "7 times"})  # fmt: skip
    with connect(settings) as client:
        services.wait_until(lambda: len(client.nthreads()) == 2, what="the second worker")
        assert client.scheduler.address.startswith("tls://")
        assert set(client.run(os.getenv, "GDAL_HTTP_MAX_RETRY").values()) == {"7 times"}
        assert set(client.run(os.getenv, "MARK").values()) == {"here"}
        ids = client.run(os.getenv, "SLURM_JOB_ID")
        assert set(ids.values()) == set(jobs(submitting))
        # A job that reaches its time limit is followed by another one.
        services.slurm_tells(["scancel", next(iter(ids.values()))], submitting)
        services.wait_until(
            lambda: len(client.nthreads()) == 2 and set(client.nthreads()) != set(ids), 90, "another job"
        )
        assert client.submit(sum, (1, 2)).result() == 3
    services.wait_until(lambda: not jobs(submitting), what="the end of the jobs")


@pytest.mark.usefixtures("submitting")
def test_what_slurm_refuses_is_told() -> None:
    settings = Cluster(kind="slurm", workers=1, slurm=Slurm(partition="nowhere", interface="lo"))
    with (
        pytest.raises(ClusterError, match=r"SLURM refuses the job: .*[Ii]nvalid partition"),
        connect(settings),
    ):
        pytest.fail("connected")
