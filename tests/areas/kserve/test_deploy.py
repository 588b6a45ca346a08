"""deploy/: manifests by Kubernetes' schemas and KServe's own models, the Containerfile by hadolint."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import kserve
import kubernetes
import kubernetes_validate
import numpy as np
import pytest
import yaml

import phlox as px

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
KUBERNETES = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.stem != "kustomization")
VERSIONS = ("1.32", "1.34")
MODELS = {"ServingRuntime": kserve.V1alpha1ServingRuntime, "InferenceService": kserve.V1beta1InferenceService}


def read(path):
    [found] = yaml.safe_load_all(path.read_text("utf-8"))
    return found


def container(manifest):
    """The one container of a Deployment or of a runtime, and the security of its pod."""
    spec = manifest["spec"]
    spec = spec["template"]["spec"] if manifest["kind"] == "Deployment" else spec
    [found] = spec["containers"]
    return found, spec.get("securityContext", {})


@pytest.fixture(scope="module")
def deployment():
    return read(DEPLOY / "kubernetes" / "deployment.yaml")


@pytest.fixture(scope="module")
def runtime():
    return read(DEPLOY / "kserve" / "runtime.yaml")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_manifests_are_of_kubernetes_schemas(path, version):
    kubernetes_validate.validate(read(path), version, strict=True)


def test_the_schemas_refuse_what_is_misspelt(deployment):
    deployment = json.loads(json.dumps(deployment))
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_the_list_has_all_manifests():
    assert sorted(read(DEPLOY / "kubernetes" / "kustomization.yaml")["resources"]) == [path.name for path in KUBERNETES]


def built(kind, told, where):
    """What is told as an object of KServe's or Kubernetes' models, which checks what must be there.

    Raises:
        KeyError: a field that a model does not have.
    """
    if kind is None or not isinstance(told, dict):
        return told
    names = {theirs: ours for ours, theirs in kind.attribute_map.items()}
    fields = {}
    for name, value in told.items():
        if name not in names:
            raise KeyError(f"{where}.{name}")
        inner = kind.openapi_types[names[name]]
        listed = re.fullmatch(r"list\[(.+)\]", inner)
        model = class_of(listed.group(1) if listed else inner)
        several = [built(model, one, f"{where}.{name}") for one in (value if listed else [value])]
        fields[names[name]] = several if listed else several[0]
    return kind(**fields)


def told_by(made):
    """What an object of these models says, without the fields that are not set."""
    if isinstance(made, list):
        return [told_by(one) for one in made]
    if not hasattr(made, "attribute_map"):
        return made
    fields = {theirs: getattr(made, ours) for ours, theirs in made.attribute_map.items()}
    return {name: told_by(value) for name, value in fields.items() if value not in (None, "")}


def class_of(name):
    return getattr(kserve, name, None) or getattr(kubernetes.client, name, None)


@pytest.mark.parametrize("name", ["runtime", "service"])
def test_kserve_s_own_models_read_its_manifests(name):
    told = read(DEPLOY / "kserve" / f"{name}.yaml")
    made = built(MODELS[told["kind"]], told, told["kind"])
    assert told_by(made) == told


@pytest.mark.parametrize("place", ["supportedModelFormats", "containers"])
def test_what_kserve_s_models_do_not_know_is_found(runtime, place):
    runtime = json.loads(json.dumps(runtime))
    runtime["spec"][place][0]["autoselect"] = True
    with pytest.raises(KeyError, match=rf"ServingRuntime\.spec\.{place}\.autoselect"):
        built(MODELS["ServingRuntime"], runtime, "ServingRuntime")


def test_what_kserve_s_models_need_is_missed():
    service = read(DEPLOY / "kserve" / "service.yaml")
    del (
        service["spec"]["predictor"]["model"]["modelFormat"]["name"],
        service["spec"]["predictor"]["model"]["modelFormat"],
    )
    with pytest.raises(ValueError, match="model_format"):
        built(MODELS["InferenceService"], service, "InferenceService")


def test_the_container_file_passes_hadolint():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--strict-labels", DEPLOY / "Containerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_hadolint_finds_what_is_wrong(tmp_path):
    wrong = (DEPLOY / "Containerfile").read_text("utf-8").replace("--no-install-recommends ", "")
    (tmp_path / "Containerfile").write_text(wrong, "utf-8")
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, tmp_path / "Containerfile"], capture_output=True, text=True)
    assert "DL3015" in done.stdout


def test_a_server_writes_no_file(tmp_path):
    """As in a container whose file system cannot be written to; what Python opens is watched, from its first line."""
    (tmp_path / "net").mkdir()
    model = px.Chain(px.Dense(4, 3, key=0))
    px.export(model, tmp_path / "net" / "1", inputs={"x": px.Spec("batch", 4)})
    command = [sys.executable, "-c", WATCHED, "serve", str(tmp_path), "--port", "0", "--grpc-port", "0"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        told = next(json.loads(line) for line in process.stderr if '"serving"' in line)
        with px.serving.Client(told["url"]) as client:
            x = np.ones((2, 4), np.float32)
            np.testing.assert_allclose(client.predict("net", {"x": x})["output"], model(x), atol=1e-5)
        process.terminate()
        [last] = [line for line in process.stderr if line.startswith("written: ")]
    assert (last.strip(), process.returncode) == ("written: []", 0)


WATCHED = """
import os, sys
written, writing = [], os.O_WRONLY | os.O_RDWR | os.O_CREAT
def watch(event, given):
    if event == "open" and isinstance(given[0], (str, bytes)) and (given[2] or 0) & writing:
        written.append(given[0])
    if event in ("os.mkdir", "os.rename", "os.remove"):
        written.append(given[0])
sys.addaudithook(watch)
from phlox.cli import main
status = main(sys.argv[1:])
print("written:", [path for path in written if not str(path).startswith(("/dev/", "/proc/"))], file=sys.stderr)
sys.exit(status)
"""
