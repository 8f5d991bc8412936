"""Every manifest is valid for Kubernetes and hardened; nothing secret is written down."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pytest
from tests.k8s import manifests
from tests.k8s.manifests import Document

from freshet.runtime import settings

SERVICES = {path.name for path in (Path(__file__).parents[2] / "services").iterdir() if path.is_dir()}
FORMS = [pytest.param(manifests.written, id="written"), pytest.param(manifests.rendered, id="rendered")]


@pytest.fixture(params=FORMS)
def read(request: pytest.FixtureRequest) -> Callable[[str], list[Document]]:
    if request.param is manifests.rendered and manifests.KUBECTL is None and not os.environ.get("CI"):
        pytest.skip("kubectl is missing (Debian: kubernetes-client); the files are checked as written")
    assert request.param is manifests.written or manifests.KUBECTL, "CI needs kubectl: see .ci/run"
    reader: Callable[[str], list[Document]] = request.param
    return reader


@pytest.fixture(params=manifests.OVERLAYS)
def documents(request: pytest.FixtureRequest, read: Callable[[str], list[Document]]) -> list[Document]:
    found = read(request.param)
    assert found
    return found


def test_every_document_is_valid_against_the_schemas_of_kubernetes(documents: list[Document]) -> None:
    for document in documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_field_would_be_noticed(documents: list[Document]) -> None:
    broken = {**documents[0], "specc": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_every_pod_is_hardened(documents: list[Document]) -> None:
    for document, pod in manifests.pods(documents):
        name = document["metadata"]["name"]
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        assert not any("hostPath" in volume for volume in pod["volumes"]), name
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume), name


def test_every_container_is_hardened(documents: list[Document]) -> None:
    for name, container in manifests.containers(documents):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name


def test_every_container_says_what_it_needs_and_may_use(documents: list[Document]) -> None:
    for name, container in manifests.containers(documents):
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}, name


def test_every_lasting_container_has_probes_on_a_port_that_it_opens(documents: list[Document]) -> None:
    for document, pod in manifests.pods(documents):
        if document["kind"] == "Job":
            continue
        for container in pod["containers"]:
            ports = {port["name"] for port in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                page = container[probe].get("httpGet")
                assert page is None or page["port"] in ports, container["name"]
                assert page or container[probe]["exec"]["command"], container["name"]


def test_our_services_are_probed_on_their_own_pages(documents: list[Document]) -> None:
    deployments = manifests.of_kind(documents, "Deployment")
    for _, container in manifests.containers(list(deployments.values())):
        assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_every_deployment_has_a_disruption_budget_an_account_and_fitting_labels(
    documents: list[Document],
) -> None:
    budgets = manifests.of_kind(documents, "PodDisruptionBudget")
    accounts = manifests.of_kind(documents, "ServiceAccount")
    for name, deployment in manifests.of_kind(documents, "Deployment").items():
        template = deployment["spec"]["template"]
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector.items() <= template["metadata"]["labels"].items(), name
        assert budgets[name]["spec"]["selector"]["matchLabels"] == selector, name
        assert accounts[template["spec"]["serviceAccountName"]]["automountServiceAccountToken"] is False, name


def test_every_service_address_leads_to_a_pod(documents: list[Document]) -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each, _ in manifests.pods(documents)]
    for name, service in manifests.of_kind(documents, "Service").items():
        selector = service["spec"]["selector"]
        assert any(selector.items() <= each.items() for each in labels), name


def test_environment_names_are_settings_that_exist(documents: list[Document]) -> None:
    known = {f"{settings.PREFIX}{field.upper()}" for group in settings.CLASSES for field in group.model_fields}
    named = {
        entry["name"]
        for _, container in manifests.containers(documents)
        for entry in container.get("env", [])
        if entry["name"].startswith(settings.PREFIX)
    }
    maps = manifests.of_kind(documents, "ConfigMap").values()
    configured = {name for each in maps for name in each["data"] if name.startswith(settings.PREFIX)}
    assert (named | configured) <= known


def test_references_to_the_secret_and_the_configuration_hold(documents: list[Document]) -> None:
    maps = manifests.of_kind(documents, "ConfigMap")
    for name, container in manifests.containers(documents):
        if maps:  # as written, a generator makes it
            assert all(source["configMapRef"]["name"] in maps for source in container.get("envFrom", [])), name
        for entry in container.get("env", []):
            if "valueFrom" in entry:
                assert entry["valueFrom"]["secretKeyRef"]["name"] == "freshet", name


@pytest.mark.parametrize("folder", ["base", "overlays/production"])
def test_no_secret_is_written_down_for_production(folder: str, read: Callable[[str], list[Document]]) -> None:
    documents = read(folder)
    assert not manifests.of_kind(documents, "Secret")
    for name, container in manifests.containers(documents):
        for entry in container.get("env", []):
            secret = re.search("PASSWORD|TOKEN|_URL$", entry["name"])
            assert not secret or "value" not in entry, f"{name}: {entry['name']}"
    for each in manifests.of_kind(documents, "ConfigMap").values():
        assert not [name for name in each["data"] if re.search("PASSWORD|TOKEN|DATABASE_URL|REDIS_URL", name)]


def test_production_starts_every_service_but_the_emulator_and_no_server(
    read: Callable[[str], list[Document]],
) -> None:
    documents = [*read("base"), *read("overlays/production")]
    assert {name.removeprefix("freshet-") for name in manifests.of_kind(documents, "Deployment")} == (
        SERVICES - {"emulator"}
    )
    assert not manifests.of_kind(documents, "StatefulSet")
    assert set(manifests.of_kind(documents, "Job")) == {"freshet-migrate"}


def test_local_brings_its_own_servers_and_the_emulator(read: Callable[[str], list[Document]]) -> None:
    documents = read("overlays/local")
    assert set(manifests.of_kind(documents, "StatefulSet")) == {"freshet-postgres", "freshet-redis"}
    assert "freshet-emulator" in manifests.of_kind(documents, "Deployment")
    for each in manifests.of_kind(documents, "StatefulSet").values():
        assert each["spec"]["volumeClaimTemplates"]


def test_the_local_secret_has_every_key_that_is_asked_for() -> None:
    documents = [*manifests.written("base"), *manifests.written("overlays/local")]
    given = manifests.of_kind(documents, "Secret")["freshet"]["stringData"].keys()
    for name, container in manifests.containers(documents):
        references = [entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if "valueFrom" in entry]
        missing = {each["key"] for each in references if not each.get("optional")} - given
        assert not missing, name


def test_a_worker_is_given_more_time_than_it_drains() -> None:
    worker = manifests.of_kind(manifests.written("base"), "Deployment")["freshet-worker"]
    drain = settings.WorkerSettings.model_fields["drain_grace"].default
    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > drain


def test_no_image_floats(read: Callable[[str], list[Document]]) -> None:
    for folder in ("overlays/local", "overlays/production"):
        for name, container in manifests.containers(read(folder)):
            if read is manifests.written and container["image"].startswith("freshet-"):
                continue  # the overlay adds the tag
            assert re.fullmatch(r".+:(?!latest).+", container["image"]), name
