"""Reads the manifests: as they are written, and as kustomize renders them."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

ROOT = Path(__file__).parents[2] / "k8s"
OVERLAYS = ("base", "overlays/local", "overlays/production")
KUBECTL = shutil.which("kubectl")
#: Kinds that make pods, all with the pod under spec.template.
POD_MAKERS = ("Deployment", "StatefulSet", "Job")


@cache
def written(folder: str) -> list[Document]:
    """The complete documents of a folder; kustomizations and patches (which name no pod) are left out."""
    files = sorted((ROOT / folder).glob("*.yaml"))
    documents = [document for file in files for document in yaml.safe_load_all(file.read_text("utf-8"))]
    return [each for each in documents if each["kind"] != "Kustomization" and not _is_patch(each)]


@cache
def rendered(folder: str) -> list[Document]:
    """What `kubectl apply -k` would send."""
    assert KUBECTL is not None
    done = subprocess.run([KUBECTL, "kustomize", str(ROOT / folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pods(documents: list[Document]) -> Iterator[tuple[Document, Document]]:
    """Each document that makes pods, with the pod's spec."""
    for document in documents:
        if document["kind"] in POD_MAKERS:
            yield document, document["spec"]["template"]["spec"]


def containers(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Each container under the name of who makes its pod."""
    for document, pod in pods(documents):
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            yield f"{document['metadata']['name']}/{container['name']}", container


def of_kind(documents: list[Document], kind: str) -> dict[str, Document]:
    """The documents of one kind by name."""
    return {each["metadata"]["name"]: each for each in documents if each["kind"] == kind}


def _is_patch(document: Document) -> bool:
    return document["kind"] == "Deployment" and "template" not in document["spec"]
