"""compose.yaml and the Dockerfile keep what they promise: hardened, closed, and in step with the settings."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from freshet.runtime import settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
OURS = {path.name for path in (ROOT / "services").iterdir() if path.is_dir()}


def test_every_service_is_there_with_its_servers_and_the_migration() -> None:
    assert set(SERVICES) == OURS | {"postgres", "redis", "migrate"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "restart" in service
    assert "privileged" not in service
    # Ours get their user from the Dockerfile.
    assert service.get("user", "") in ({"postgres", "redis"} if "build" not in service else {""})


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_can_be_scaled(name: str) -> None:
    assert "container_name" not in SERVICES[name]
    assert name == "api" or "ports" not in SERVICES[name]


def test_only_the_api_is_published_and_only_to_this_machine() -> None:
    assert SERVICES["api"]["ports"] == ["127.0.0.1:${FRESHET_PUBLISHED_PORT:-8080}:8080"]


@pytest.mark.parametrize("name", sorted(OURS | {"migrate"}))
def test_every_image_is_built_from_the_one_recipe(name: str) -> None:
    assert SERVICES[name]["build"]["args"]["SERVICE"] == name
    assert SERVICES[name]["image"] == f"freshet-{name}:${{FRESHET_VERSION:-dev}}"
    assert re.search(rf"\b{name}\b", DOCKERFILE)


@pytest.mark.parametrize("name", sorted(OURS - {"emulator"}))
def test_services_start_after_the_migration_and_healthy_servers(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "postgres": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
    }


def test_redis_keeps_what_it_was_given() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--appendfsync everysec" in command
    assert "--maxmemory-policy noeviction" in command


def test_environment_names_are_settings_that_exist() -> None:
    known = {f"{settings.PREFIX}{field.upper()}" for group in settings.CLASSES for field in group.model_fields}
    named = {name for service in SERVICES.values() for name in service.get("environment", {})}
    assert {name for name in named if name.startswith(settings.PREFIX)} <= known


def test_a_worker_is_given_more_time_than_it_drains() -> None:
    seconds = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert seconds > settings.WorkerSettings.model_fields["drain_grace"].default


def test_the_images_are_unprivileged_and_report_their_health() -> None:
    final = DOCKERFILE.rpartition("AS service")[2]
    assert "\nUSER 10001:10001\n" in final
    assert "\nHEALTHCHECK " in final
    assert "COPY --from=build /venv /venv" in final
    assert not re.search(r"apt-get|gcc|build-essential", final)


def test_every_service_has_an_extra_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["optional-dependencies"].keys() >= OURS


def test_images_are_built_with_pinned_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {
        re.split(r"[\[<>=~ ]", requirement)[0].replace(".", "-")
        for group in [project["dependencies"], *(extras[name] for name in extras if name != "local")]
        for requirement in group
    }
    pins = re.findall(r"^([a-z0-9-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), flags=re.MULTILINE)
    assert wanted - {"freshet"} <= set(pins)
    assert "-c constraints.txt" in DOCKERFILE
