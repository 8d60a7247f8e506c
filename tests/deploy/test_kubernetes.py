"""The Kubernetes files: built by kustomize, valid against the API's schemas, careful with privileges and Dify's lists.

Separate from test_collector: no collector runs here, and no cluster.
"""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
DEPLOY = KUBERNETES.parent
VERSIONS = ("1.29", "1.31")

Object = dict[str, Any]


def built(kustomize: list[str], directory: Path) -> list[Object]:
    done = subprocess.run([*kustomize, str(directory)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [o for o in yaml.safe_load_all(done.stdout) if o]


def validate(objects: list[Object]) -> None:
    checker = pytest.importorskip("kubernetes_validate", reason="the PyPI package kubernetes-validate is not installed")
    for version in VERSIONS:
        for item in objects:
            checker.validate(item, version, strict=True)


def pod_specs(objects: list[Object]) -> list[Object]:
    return [o["spec"]["template"]["spec"] for o in objects if o["kind"] in ("Deployment", "StatefulSet", "DaemonSet")]


DIRECTORIES = [KUBERNETES / "collector" / "one-node", KUBERNETES / "collector" / "scaled", DEPLOY / "nginx"]


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda d: d.name)
def test_objects_fit_the_api(kustomize: list[str], directory: Path) -> None:
    validate(built(kustomize, directory))


@pytest.mark.parametrize("directory", DIRECTORIES[:2], ids=lambda d: d.name)
def test_collectors_have_least_privileges_and_limits(kustomize: list[str], directory: Path) -> None:
    specs = pod_specs(built(kustomize, directory))
    assert specs
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert not any(spec.get(k) for k in ("hostNetwork", "hostPID", "hostIPC"))
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert re.fullmatch(r"[12]Gi|512Mi", container["resources"]["limits"]["memory"])
            assert "@" in container["image"] or re.search(r":\d", container["image"]), "pinned"
        # A token only where the pods of the cluster are read.
        reads_pods = any("kubernetes" in a for c in spec["containers"] for a in c["args"])
        assert spec["automountServiceAccountToken"] is reads_pods


@pytest.mark.parametrize("directory", DIRECTORIES[:2], ids=lambda d: d.name)
def test_collector_arguments_name_mounted_files(kustomize: list[str], directory: Path) -> None:
    objects = built(kustomize, directory)
    maps = {o["metadata"]["name"]: set(o["data"]) for o in objects if o["kind"] == "ConfigMap"}
    for spec in pod_specs(objects):
        mounted = {v["name"]: v["configMap"]["name"] for v in spec["volumes"]}
        container = spec["containers"][0]
        files = {f"{m['mountPath']}/{f}" for m in container["volumeMounts"] for f in maps[mounted[m["name"]]]}
        assert {a.removeprefix("--config=") for a in container["args"]} <= files


@pytest.mark.parametrize("directory", DIRECTORIES[:2], ids=lambda d: d.name)
def test_services_and_policies_select_the_pods(kustomize: list[str], directory: Path) -> None:
    objects = built(kustomize, directory)
    labels = [o["spec"]["template"]["metadata"]["labels"] for o in objects if o["kind"] == "Deployment"]
    for item in objects:
        selector = {
            "Service": lambda o: o["spec"]["selector"],
            "NetworkPolicy": lambda o: o["spec"]["podSelector"]["matchLabels"],
            "PodDisruptionBudget": lambda o: o["spec"]["selector"]["matchLabels"],
        }.get(item["kind"])
        if selector:
            assert any(selector(item).items() <= pod.items() for pod in labels), item["metadata"]["name"]
    role = next(o for o in objects if o["kind"] == "Role")
    assert all(set(rule["verbs"]) == {"get", "list", "watch"} for rule in role["rules"])
    assert not [o for o in objects if o["kind"].startswith("Cluster")]


def test_every_exporter_file_is_in_the_config_map() -> None:
    listed = yaml.safe_load((DEPLOY / "collector" / "kustomization.yaml").read_text())["configMapGenerator"][1]["files"]
    assert sorted(listed) == sorted(f"exporters/{p.name}" for p in (DEPLOY / "collector" / "exporters").glob("*.yaml"))


def dify_deployments() -> str:
    """Deployments as a chart might make them: one with lists of its own, one without any."""
    return """
apiVersion: apps/v1
kind: Deployment
metadata: {name: rel-dify-api, labels: {component: api}}
spec:
  selector: {matchLabels: {component: api}}
  template:
    metadata: {labels: {component: api}}
    spec:
      containers:
        - name: api
          image: langgenius/dify-api:1.16.1
          env: [{name: MODE, value: api}, {name: SECRET_KEY, value: x}]
          volumeMounts: [{name: storage, mountPath: /app/api/storage}]
      volumes: [{name: storage, emptyDir: {}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: rel-dify-worker, labels: {component: worker}}
spec:
  selector: {matchLabels: {component: worker}}
  template:
    metadata: {labels: {component: worker}}
    spec:
      containers: [{name: worker, image: "langgenius/dify-api:1.16.1"}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: rel-dify-web, labels: {component: web}}
spec:
  selector: {matchLabels: {component: web}}
  template:
    metadata: {labels: {component: web}}
    spec:
      containers: [{name: web, image: "langgenius/dify-web:1.16.1"}]
"""


def test_the_component_adds_to_difys_deployments(kustomize: list[str], tmp_path: Path) -> None:
    (tmp_path / "dify.yaml").write_text(dify_deployments())
    component = os.path.relpath(KUBERNETES / "kustomize", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(f"resources: [dify.yaml]\ncomponents: ['{component}']\n")
    objects = built(kustomize, tmp_path)
    validate(objects)
    specs = {o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment"}
    for name in ("api", "worker"):
        spec = specs[f"rel-dify-{name}"]
        (container,) = spec["containers"]
        env = {e["name"]: e.get("value") for e in container["env"]}
        assert container["image"] == "langgenius/dify-api:1.16.1"
        assert env["PYTHONPATH"] == "/opt/dify-otel/python/dify_otel/inject"
        assert env["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith(":4317") and env["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc"
        (init,) = spec["initContainers"]
        assert init["securityContext"]["runAsNonRoot"] is True
        assert init["resources"]["limits"]["memory"]
        volumes = {v["name"] for v in spec["volumes"]}
        assert {m["name"] for c in (container, init) for m in c["volumeMounts"]} <= volumes
    api = specs["rel-dify-api"]
    assert {e["name"] for e in api["containers"][0]["env"]} >= {"MODE", "SECRET_KEY"}
    assert "/app/api/storage" in {m["mountPath"] for m in api["containers"][0]["volumeMounts"]}
    assert "initContainers" not in specs["rel-dify-web"]
    script = next(o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "dify-otel-install")
    assert script["data"]["install-agent.sh"] == (DEPLOY / "compose" / "install-agent.sh").read_text()


# --- Helm values ----------------------------------------------------------------------------------------------------


def helm_lists(values: Any, path: str = "") -> list[tuple[str, list[Object]]]:
    """Every list of environment variables in a values file, with where it stands."""
    found = []
    if isinstance(values, dict):
        for key, value in values.items():
            found += helm_lists(value, f"{path}.{key}".lstrip("."))
    elif isinstance(values, list) and values and all(isinstance(v, dict) and "name" in v for v in values):
        found.append((path, values))
    return found


@pytest.mark.parametrize("file", sorted((KUBERNETES / "helm").glob("*.yaml")), ids=lambda p: p.stem)
def test_helm_values_are_what_kubernetes_takes(file: Path) -> None:
    values = yaml.safe_load(file.read_text())
    env: list[list[Object]] = []
    volumes: list[list[Object]] = []
    mounts: list[list[Object]] = []
    for path, items in helm_lists(values):
        kind = path.rsplit(".", 1)[-1].lower()
        (mounts if "mount" in kind else volumes if "volume" in kind else env).append(items)
    assert env
    for entries in env:
        names = [e["name"] for e in entries]
        assert len(names) == len(set(names))
        assert "OTEL_SERVICE_NAME" not in names or "LOGFIRE_CONSOLE" in names, "the role's name comes from MODE"
        validate([pod(env=entries, volumes=[], mounts=[])])
    validate([pod(env=[], volumes=[v for group in volumes for v in group][:0], mounts=m) for m in mounts])
    for group in volumes:
        validate([pod(env=[], volumes=group, mounts=[])])
        assert all(v["configMap"]["optional"] for v in group), "without our ConfigMap Dify's pods must start"


def pod(env: list[Object], volumes: list[Object], mounts: list[Object]) -> Object:
    container = {"name": "c", "image": "x", "env": env, "volumeMounts": mounts}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [container], "volumes": volumes},
    }


def test_helm_values_never_replace_lists_that_carry_difys_own() -> None:
    values = yaml.safe_load((KUBERNETES / "helm" / "douban-charts-dify.yaml").read_text())
    assert set(values) == {"volumes", "volumeMounts", "global"}
    assert set(values["global"]) == {"extraEnvs"}


def test_the_nginx_config_map_is_what_the_chart_mounts(kustomize: list[str]) -> None:
    (config_map,) = built(kustomize, DEPLOY / "nginx")
    values = yaml.safe_load((KUBERNETES / "helm" / "borispolonsky-dify-helm.yaml").read_text())
    (volume,) = values["proxy"]["extraVolumes"]
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]
    assert {i["key"] for i in volume["configMap"]["items"]} == set(config_map["data"])
    assert volume["configMap"]["defaultMode"] == 0o555
    assert values["proxy"]["extraEnv"][0]["value"].split(":")[0] == "/opt/dify-otel/nginx/bin"


# --- the zip and the operator's layout, with a real interpreter -----------------------------------------------------

SITECUSTOMIZE = "import dify_otel, sys\nsys.dify_otel_from = dify_otel.__file__\n"


def wheel(path: Path, filler: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("dify_otel/__init__.py", "")
        out.writestr("dify_otel/inject/sitecustomize.py", SITECUSTOMIZE)
        out.writestr("dify_otel_instrumentors/__init__.py", "")
        if filler:
            out.writestr("dify_otel/filler.bin", os.urandom(filler))
    return path


def test_the_zip_in_a_config_map_starts_the_agent(tmp_path: Path) -> None:
    script = KUBERNETES / "zip-configmap.sh"
    done = subprocess.run(
        ["bash", script, wheel(tmp_path / "dify_otel-0.1.0-py3-none-any.whl"), "prod"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    config_map = yaml.safe_load(done.stdout)
    validate([config_map])
    assert config_map["metadata"] == {"name": "dify-otel-agent", "namespace": "prod"}
    (tmp_path / "dify-otel.zip").write_bytes(base64.b64decode(config_map["binaryData"]["dify-otel.zip"]))
    python = [sys.executable, "-c", "import sys; print(sys.dify_otel_from)"]
    env = {"PYTHONPATH": str(tmp_path / "dify-otel.zip")}
    ran = subprocess.run(python, env=env, check=False, capture_output=True, text=True, timeout=30)
    assert ran.stdout.strip() == str(tmp_path / "dify-otel.zip" / "dify_otel" / "__init__.py"), ran.stderr


def test_a_zip_too_large_for_a_config_map_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", KUBERNETES / "zip-configmap.sh", wheel(tmp_path / "dify_otel-0.1.0-py3-none-any.whl", 900_000)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "more than a ConfigMap holds" in done.stderr
    assert done.stdout == ""


def test_the_operators_layout_shadows_nothing(tmp_path: Path) -> None:
    """With the PYTHONPATH the operator makes, the interpreter's own OpenTelemetry packages stay in front of ours."""
    pytest.importorskip(
        "opentelemetry.instrumentation.auto_instrumentation", reason="no opentelemetry-instrumentation here"
    )
    root = tmp_path / "otel-auto-instrumentation-python"
    with zipfile.ZipFile(io.BytesIO(wheel(tmp_path / "w.zip").read_bytes())) as archive:
        archive.extractall(root)
    subprocess.run(["sh", KUBERNETES / "operator" / "layout.sh", root], check=True, timeout=30)
    hook = root / "opentelemetry" / "instrumentation" / "auto_instrumentation"
    code = (
        "import sys, opentelemetry.instrumentation.auto_instrumentation as a, opentelemetry.trace as t;"
        "import opentelemetry.instrumentation.instrumentor as i;"
        "print(sys.dify_otel_from, a.__file__, t.__file__, i.__file__, sep='\\n')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{hook}:{root}"},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.returncode == 0, ran.stderr
    ours, *theirs = ran.stdout.split()
    assert ours == str(root / "dify_otel" / "__init__.py")
    assert not [path for path in theirs if path.startswith(str(tmp_path))]
    assert not list((root / "opentelemetry").rglob("__init__.py"))


def test_the_instrumentation_resource_names_our_image() -> None:
    resource = yaml.safe_load((KUBERNETES / "operator" / "instrumentation.yaml").read_text())
    assert resource["kind"] == "Instrumentation"
    image = resource["spec"]["python"]["image"]
    assert "dify-otel" in image and "open-telemetry/opentelemetry-operator" not in image
    env = {e["name"]: e["value"] for e in resource["spec"]["python"]["env"]}
    assert env["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc"
    assert resource["spec"]["exporter"]["endpoint"].endswith(":4317")
