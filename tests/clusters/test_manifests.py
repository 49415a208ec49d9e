"""What stands in cluster/: checked by the schemas and programs that would read it, and typos are seen."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import dask
import distributed
import jsonschema
import pytest
import yaml

from lstzoom.clusters import Adaptive, Cluster, Kubernetes, kubernetes_manifest
from lstzoom.errors import ConfigError
from lstzoom.sources.job import Job, parse_job, read_job

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
BIN = Path(sys.executable).parent
KUBERNETES = "1.34"

kubernetes_validate = pytest.importorskip("kubernetes_validate")
pytest.importorskip("dask_kubernetes")
# It reads its two megabytes of definitions for every resource anew.
kubernetes_validate.utils.schema_contents = lru_cache(kubernetes_validate.utils.schema_contents)


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def strict(schema: Any) -> Any:  # noqa: ANN401
    """Forbid keys that a schema does not name, as a server does that is asked to be strict."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    free = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and "type" in schema and not free:
        made["additionalProperties"] = False
    return made


def custom_schemas() -> dict[str, Any]:
    """Resolved definitions of the operator's kinds, as its Helm chart installs them."""
    folder = files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds"
    found = {}
    for path in folder.iterdir():
        definition = yaml.safe_load(path.read_text())["spec"]
        (served,) = [one for one in definition["versions"] if one["served"]]
        schema = strict(served["schema"]["openAPIV3Schema"])
        schema["properties"] |= {"apiVersion": {"const": f"{definition['group']}/{served['name']}"},
                                 "kind": {"const": definition["names"]["kind"]},
                                 "metadata": {"type": "object"}}  # fmt: skip
        schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
        found[definition["names"]["kind"]] = jsonschema.Draft202012Validator(schema)
    return found


CUSTOM = custom_schemas()


def check(document: dict[str, Any]) -> None:
    """Check a resource of Kubernetes or of the operator, strictly."""
    kind = document["kind"]
    if kind in CUSTOM:
        CUSTOM[kind].validate(document)
        # The metadata of the operator's kinds are those of any other.
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": document["metadata"]}
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


WRONG = (jsonschema.ValidationError, kubernetes_validate.ValidationError)
MANIFESTS = sorted(path for path in (CLUSTER / "kubernetes").glob("*.yaml") if "values" not in path.name)
RESOURCES = [(path.name, one) for path in MANIFESTS for one in documents(path)]


@pytest.mark.parametrize(
    "resource", [one for _, one in RESOURCES], ids=[f"{name}-{one['kind']}" for name, one in RESOURCES]
)
def test_resources_of_kubernetes_are_valid(resource: dict[str, Any]) -> None:
    check(resource)


def resource(kind: str) -> dict[str, Any]:
    (found,) = [one for _, one in RESOURCES if one["kind"] == kind and one["metadata"]["name"] == "lstzoom"]
    return copy.deepcopy(found)


def renamed(*path: str | int, to: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:  # noqa: ANN401
        for part in path[:-1]:
            document = document[part]
        document[to] = document.pop(path[-1])

    return change


def changed(*path: str | int, to: object) -> Callable[[Any], None]:
    def change(document: Any) -> None:  # noqa: ANN401
        for part in path[:-1]:
            document = document[part]
        document[path[-1]] = to

    return change


POD = ("spec", "jobTemplate", "spec", "template", "spec")


@pytest.mark.parametrize(
    ("kind", "plant"),
    [
        ("DaskCluster", renamed("spec", "worker", "replicas", to="replica")),
        ("DaskCluster", changed("spec", "worker", "replicas", to="two")),
        ("DaskCluster", renamed("spec", "scheduler", to="schedular")),
        ("DaskCluster", renamed("spec", "worker", "spec", "containers", 0, "resources", to="resource")),
        ("DaskCluster", renamed("spec", "scheduler", "spec", "containers", 0, "args", to="arguments")),
        ("DaskCluster", renamed("spec", "scheduler", "service", "ports", to="port")),
        ("DaskCluster", changed("apiVersion", to="kubernetes.dask.org/v2")),
        ("DaskCluster", renamed("metadata", "namespace", to="namspace")),
        ("DaskAutoscaler", renamed("spec", "maximum", to="max")),
        ("DaskAutoscaler", changed("spec", "minimum", to="one")),
        ("CronJob", renamed("spec", "concurrencyPolicy", to="concurencyPolicy")),
        ("CronJob", changed("spec", "startingDeadlineSeconds", to="an hour")),
        ("CronJob", renamed(*POD, "serviceAccountName", to="serviceAcountName")),
        ("CronJob", changed(*POD, "securityContext", "runAsNonRoot", to="yes")),
        ("CronJob", changed(*POD, "containers", 0, "args", to="lstzoom run")),
        ("NetworkPolicy", renamed("spec", "podSelector", to="podselector")),
    ],
)
def test_typos_are_seen(kind: str, plant: Callable[[Any], None]) -> None:
    document = resource(kind)
    check(document)
    plant(document)
    with pytest.raises(WRONG):
        check(document)


def test_typos_in_rights_are_seen() -> None:
    for kind, plant in [
        ("Role", renamed("rules", 0, "verbs", to="verb")),
        ("RoleBinding", renamed("roleRef", "name", to="nam")),
        ("ServiceAccount", changed("automountServiceAccountToken", to="no")),
    ]:
        document = copy.deepcopy(next(one for _, one in RESOURCES if one["kind"] == kind))
        plant(document)
        with pytest.raises(WRONG):
            check(document)


def test_schedules_cannot_overlap_and_nobody_is_root() -> None:
    # The schemas of Kubernetes do not list the values of these.
    spec = resource("CronJob")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["restartPolicy"] == "Never"
    assert pod["serviceAccountName"] in names("ServiceAccount")
    (binding,) = [one for _, one in RESOURCES if one["kind"] == "RoleBinding"]
    assert binding["roleRef"]["name"] in names("Role")
    assert {one["name"] for one in binding["subjects"]} <= names("ServiceAccount")
    (config,) = [one["configMap"]["name"] for one in pod["volumes"]]
    assert config in names("ConfigMap")


def names(kind: str) -> set[str]:
    return {one["metadata"]["name"] for _, one in RESOURCES if one["kind"] == kind}


@pytest.mark.parametrize(
    "given",
    [
        Kubernetes(image="a/b:c"),
        Kubernetes(image="a/b:c", service_account="worker", secret="keys", idle_timeout=0),
        Kubernetes(manifest="cluster.yaml"),
    ],
)
@pytest.mark.parametrize("size", [{"workers": 3}, {"adaptive": Adaptive(minimum=2, maximum=9)}])
def test_what_a_job_asks_the_operator_for_is_valid(
    tmp_path: Path, given: Kubernetes, size: dict[str, Any]
) -> None:
    if given.manifest is not None:
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump(resource("DaskCluster")))
        given = given.model_copy(update={"manifest": str(path)})
    settings = Cluster(
        kind="kubernetes", threads=2, memory="3GB", environment={"A": "1"}, kubernetes=given, **size
    )
    made = kubernetes_manifest(settings)
    # What is sent has no empty entries.
    check(without_none(made))
    if given.manifest is None:
        worker = made["spec"]["worker"]
        assert worker["replicas"] == (3 if "workers" in size else 2)
        assert worker["spec"]["containers"][0]["resources"]["limits"]["memory"] == "3000000000"
        assert {"name": "A", "value": "1"} in worker["spec"]["containers"][0]["env"]
        # The image has dask's command and none of its older ones.
        for part in ("scheduler", "worker"):
            command = made["spec"][part]["spec"]["containers"][0]["args"]
            assert command[:2] == ["dask", part]


def without_none(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: without_none(one) for key, one in value.items() if one is not None}
    return [without_none(one) for one in value] if isinstance(value, list) else value


def jobs() -> Iterator[tuple[str, Job]]:
    for kind in ("gateway", "slurm"):
        yield kind, read_job(CLUSTER / kind / "job.yaml")
    (config,) = [one for _, one in RESOURCES if one["kind"] == "ConfigMap"]
    yield "kubernetes", parse_job(yaml.safe_load(config["data"]["job.yaml"]))


def test_jobs_are_valid_and_run_where_they_say() -> None:
    for kind, job in jobs():
        assert job.cluster.kind == kind
        assert job.cluster.adaptive is not None


def test_a_typo_in_a_job_is_seen(tmp_path: Path) -> None:
    text = (CLUSTER / "slurm/job.yaml").read_text()
    (tmp_path / "job.yaml").write_text(text.replace("walltime", "waltime"))
    with pytest.raises(ConfigError, match="did you mean 'walltime'"):
        read_job(tmp_path / "job.yaml")


def test_one_image_serves_everywhere() -> None:
    images = re.findall(r"REGISTRY/lstzoom(?::(\S+?))?[\"',\s]", all_text())
    assert {tag for tag in images if tag and tag != "VERSION"} == {"0.1.0"}


def all_text() -> str:
    paths = [path for path in CLUSTER.rglob("*") if path.is_file() and path.suffix in {".yaml", ".yml"}]
    return "\n".join(path.read_text() for path in paths)


def test_options_of_the_gateway_are_those_of_its_server() -> None:
    """Runs the configuration, and asks the server's own options for a cluster with what the job chooses."""
    backend = pytest.importorskip("dask_gateway_server.backends.kubernetes.backend")
    from traitlets.config import Config

    given = yaml.safe_load((CLUSTER / "gateway/values.yaml").read_text())["gateway"]
    config = Config()
    for code in given["extraConfig"].values():
        exec(compile(code, "extraConfig", "exec"), {"c": config})  # noqa: S102  (what the chart does)
    options = config.Backend.cluster_options
    job = read_job(CLUSTER / "gateway/job.yaml")
    assert job.cluster.gateway is not None
    chosen = job.cluster.gateway.options
    request = options.parse_options(chosen)
    overrides = options.get_configuration(request, user=None)
    known = backend.KubeClusterConfig.class_traits()
    assert set(overrides) <= set(known)
    made = backend.KubeClusterConfig(config=config, **overrides)
    assert made.worker_memory == 4 * 2**30
    assert made.image == chosen["image"]
    with pytest.raises(ValueError, match="Unknown fields"):
        options.parse_options({"worker_mem": 4})


@pytest.mark.parametrize(
    ("path", "folder"),
    [("dask.yaml", "distributed"), ("slurm/jobqueue.yaml", "jobqueue")],
)
def test_settings_of_dask_are_ones_that_dask_has(path: str, folder: str) -> None:
    given = yaml.safe_load((CLUSTER / path).read_text())
    assert list(given) == [folder]
    if folder == "jobqueue":
        pytest.importorskip("dask_jobqueue")
        known = yaml.safe_load((files("dask_jobqueue") / "jobqueue.yaml").read_text())
    else:
        known = yaml.safe_load((Path(distributed.__file__).parent / "distributed.yaml").read_text())
        schema = yaml.safe_load((Path(distributed.__file__).parent / "distributed-schema.yaml").read_text())
        jsonschema.validate(given, schema)
    assert not unknown(given, known)
    assert unknown({folder: {"schedular": 1}}, known) == ["schedular"]
    assert dask.config.canonical_name("worker_saturation", {"worker-saturation": 1}) == "worker-saturation"


def unknown(given: dict[str, Any], known: dict[str, Any]) -> list[str]:
    """Keys that the defaults do not have."""
    found = [key for key in given if key not in known]
    for key in set(given) - set(found):
        if isinstance(given[key], dict) and isinstance(known[key], dict):
            found += unknown(given[key], known[key])
    return found


def tool(name: str) -> str:
    path = shutil.which(name, path=str(BIN)) or shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} here")
    return path


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=120, **options
    )


DOCKERFILE = (CLUSTER / "Dockerfile").read_text()


def test_the_image_is_built_as_it_should_be(tmp_path: Path) -> None:
    lint = tool("hadolint")
    found = run(lint, "--no-color", CLUSTER / "Dockerfile")
    assert found.returncode == 0, found.stdout
    for wrong in (
        DOCKERFILE.replace("FROM python:3.12-slim-bookworm AS build", "FROM python AS build"),
        DOCKERFILE.replace("COPY --from=build", "COPPY --from=build"),
        DOCKERFILE.replace("--no-install-recommends ", ""),
    ):
        (tmp_path / "Dockerfile").write_text(wrong)
        assert run(lint, tmp_path / "Dockerfile").returncode != 0


def test_the_image_is_pinned_small_and_not_root() -> None:
    instructions = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    assert re.findall(r"^FROM (\S+)", instructions, re.MULTILINE) == ["python:3.12-slim-bookworm"] * 2
    (install,) = re.findall(r"pip install .*", instructions)
    assert "--no-cache-dir" in install
    assert "--constraint constraints.txt" in install
    assert "lstzoom warm" in instructions
    user = re.findall(r"^USER (\S+)", instructions, re.MULTILINE)[-1]
    assert int(user.partition(":")[0]) > 0
    assert instructions.rindex("USER ") > instructions.rindex("RUN ")


def test_the_image_is_built_from_what_is_there_and_sent() -> None:
    sent = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line[:1] == "!"
    ]
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in sent, source


def test_scripts_of_slurm_are_sound(tmp_path: Path) -> None:
    script = CLUSTER / "slurm/lstzoom.sbatch"
    assert run("bash", "-n", script).returncode == 0
    check = tool("shellcheck")
    found = run(check, script)
    assert found.returncode == 0, found.stdout
    (tmp_path / "wrong.sh").write_text(script.read_text().replace('"$job"', "$job"))
    assert run(check, tmp_path / "wrong.sh").returncode != 0


UNITS = ("lstzoom.service", "lstzoom.timer")


def verify(folder: Path, change: Callable[[str], str]) -> subprocess.CompletedProcess[str]:
    for name in UNITS:
        # The program and its user are not installed here.
        text = (CLUSTER / "systemd" / name).read_text().replace("/opt/lstzoom/bin/lstzoom", "/bin/true")
        (folder / name).write_text(change(re.sub(r"^User=.*$", "", text, flags=re.MULTILINE)))
    return run(tool("systemd-analyze"), "verify", *(folder / name for name in UNITS))


def test_units_of_systemd_are_valid(tmp_path: Path) -> None:
    found = verify(tmp_path, lambda text: text)
    assert (found.returncode, found.stderr.strip()) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("ExecStart=", "ExecStrat=", "'ExecStrat'"),
        ("MemoryMax=16G", "MemoryMax=16 gigs", "memory limit"),
        ("OnCalendar=*-*-*", "OnCalendar=*-*-**", "calendar"),
        ("Type=oneshot", "Type=onshot", "service type"),
    ],
)
def test_typos_in_units_are_seen(tmp_path: Path, right: str, wrong: str, told: str) -> None:
    found = verify(tmp_path, lambda text: text.replace(right, wrong))
    assert told in found.stderr


def test_the_workflow_is_one_of_github(tmp_path: Path) -> None:
    checker = tool("check-jsonschema")
    schema = ("--builtin-schema", "vendor.github-workflows")
    path = CLUSTER / "github/lstzoom.yml"
    found = run(checker, *schema, path)
    assert found.returncode == 0, found.stdout
    (tmp_path / "wrong.yml").write_text(path.read_text().replace("timeout-minutes", "timeout-minute"))
    assert run(checker, *schema, tmp_path / "wrong.yml").returncode != 0
    workflow = yaml.safe_load(path.read_text())
    assert workflow["concurrency"]["cancel-in-progress"] is False


def test_every_file_is_told_in_the_readme() -> None:
    readme = (CLUSTER / "README.md").read_text()
    for path in CLUSTER.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert f"`{path.relative_to(CLUSTER)}`" in readme, path


def test_no_file_holds_a_secret() -> None:
    for path in [path for path in CLUSTER.rglob("*") if path.is_file()]:
        text = path.read_text()
        assert not re.search(
            r"AKIA[0-9A-Z]{16}|-----BEGIN|(?i:password|secret_access_key)\s*[:=]\s*['\"]?\w", text
        ), path
