"""deploy/: what its files must agree on, with each other and with `phlox serve`; the area kserve has their schemas."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import phlox as px
from kit import oracle
from phlox.cli._main import _parser

oracle("prometheus_client")

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def stages():
    """The instructions of the Containerfile, in a list for each stage."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Containerfile").read_text("utf-8"), flags=re.MULTILINE)
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            found.append([])
        if name and found:
            found[-1].append((name, " ".join(rest.split())))
    return found


def read(name):
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def pod(manifest):
    """The pod of a Deployment, or what a ServingRuntime says of one."""
    return manifest["spec"]["template"]["spec"] if manifest["kind"] == "Deployment" else manifest["spec"]


@pytest.fixture(scope="module")
def image():
    """The last stage: its instructions by name, each once but for RUN."""
    build, last = stages()
    assert build[0][1].endswith(" AS build")
    found = dict(last)
    assert len(found) == len(last)
    return found


def commands(image):
    """What runs in each container, and the container."""
    entry, usual = json.loads(image["ENTRYPOINT"]), json.loads(image["CMD"])
    deployment, runtime = (pod(read(name))["containers"][0] for name in CONTAINERS)
    assert "command" not in deployment
    return {
        "Containerfile": ([*entry, *usual], None),
        "kubernetes": ([*entry, *deployment["args"]], deployment),
        "kserve": ([*runtime["command"], *runtime["args"]], runtime),
    }


CONTAINERS = ("kubernetes/deployment.yaml", "kserve/runtime.yaml")


@pytest.mark.parametrize("place", ["Containerfile", "kubernetes", "kserve"])
def test_what_runs_is_a_command_of_phlox_on_the_ports_that_are_told(image, place):
    from phlox.serving.http._app import OPEN

    (program, *arguments), container = commands(image)[place]
    options = _parser().parse_args(arguments)
    assert (program, arguments[0], options.host) == ("phlox", "serve", "0.0.0.0")
    if container is None:
        assert image["EXPOSE"].split() == sorted([str(options.grpc_port), str(options.port)])
        assert f":{options.port}/" in image["HEALTHCHECK"]
        return
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert set(ports.values()) == {options.port, options.grpc_port} - {None}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[name]["httpGet"]
        assert asked["path"] in OPEN  # answered without a token
        assert ports.get(asked["port"], asked["port"]) == options.port
    mounts = [one["mountPath"] for one in container.get("volumeMounts", [])]
    assert str(options.source) in mounts if mounts else str(options.source) == "/mnt/models"


def test_the_image_has_no_root_no_compiler_and_needs_no_shell(image):
    user = image["USER"].split(":")[0]
    assert int(user) > 0
    for name in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(image[name]), list)
    assert image["HEALTHCHECK"].startswith('CMD ["python", ')
    assert "g++" in json.dumps(stages()[0])
    assert "g++" not in json.dumps(image)
    assert image["COPY"].startswith("--from=build ")
    for name in CONTAINERS:
        spec = pod(read(name))
        [container] = spec["containers"]
        found = {**spec.get("securityContext", {}), **container["securityContext"]}
        assert (found["runAsNonRoot"], found["runAsUser"]) == (True, int(user))
        assert (found["readOnlyRootFilesystem"], found["allowPrivilegeEscalation"]) == (True, False)
        assert found["capabilities"] == {"drop": ["ALL"]}
        assert found["seccompProfile"] == {"type": "RuntimeDefault"}


def test_what_is_copied_into_the_image_is_there_and_all_that_serving_takes_is_locked():
    copied = [path for name, rest in stages()[0] if name == "COPY" for path in rest.split()[:-1]]
    assert [path for path in copied if not (ROOT / path).exists()] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    wanted = [one for extra in ("serve", "text", "export", "onnx") for one in extras[extra]]
    wanted += [one for one in extras["serve-language"] if not one.startswith("phlox[")]
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "serve.txt").read_text("utf-8"), re.MULTILINE))
    assert {re.split(r"[^\w-]", one)[0] for one in wanted} <= locked


def test_manifests_name_the_version_and_each_other():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    for name in CONTAINERS:
        assert [one["image"] for one in pod(read(name))["containers"]] == [f"phlox:{version}"]
    deployment, service = read("kubernetes/deployment.yaml"), read("kubernetes/service.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"],
        read("kubernetes/disruption.yaml")["spec"]["selector"]["matchLabels"],
    ):  # fmt: skip
        assert selector.items() <= labels.items()
    named = [one["name"] for one in pod(deployment)["containers"][0]["ports"]]
    assert [one["targetPort"] for one in service["spec"]["ports"]] == named
    target = read("kubernetes/autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    runtime, asked = read("kserve/runtime.yaml"), read("kserve/service.yaml")["spec"]["predictor"]["model"]
    assert asked["runtime"] == runtime["metadata"]["name"]
    assert asked["modelFormat"]["name"] in [one["name"] for one in runtime["spec"]["supportedModelFormats"]]
    assert asked["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_who_leaves_has_the_time_to_answer_what_was_asked():
    spec = pod(read("kubernetes/deployment.yaml"))
    waits = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= waits + px.serving.Limits().draining + 5
