"""Service specifications (YAML or JSON): what a job's containers are."""

from __future__ import annotations

import io
import re
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from freshet_emulator.errors import invalid_specification

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*(?:\|\s*default\((.*?)\)\s*)?\}\}")


def as_text(value: Any) -> Any:
    """Numbers and truth values of YAML as the text that a process gets."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(as_text)]


class Resources(BaseModel):
    """What a container asks for and may take: `cpu`, `memory`, `nvidia.com/gpu`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: dict[str, Text] = {}
    limits: dict[str, Text] = {}


class SessionToken(BaseModel):
    """Where the token file lies."""

    model_config = ConfigDict(extra="allow", frozen=True)

    path: str | None = None


class ContainerSpecification(BaseModel):
    """One container. Fields that mean nothing to a local process (probes, volumes) are read over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    image: Annotated[str, Field(min_length=1)]
    command: list[Text] = []
    args: list[Text] = []
    env: dict[str, Text] = {}
    resources: Resources = Resources()
    mount_session_token: Annotated[bool, Field(alias="mountSessionToken")] = True
    session_token: Annotated[SessionToken, Field(alias="sessionTokenConfig")] = SessionToken()
    readiness_probe: Annotated[Any, Field(alias="readinessProbe")] = None
    liveness_probe: Annotated[Any, Field(alias="livenessProbe")] = None
    volume_mounts: Annotated[list[Any], Field(alias="volumeMounts")] = []
    secrets: list[dict[str, Any]] = []


class Body(BaseModel):
    """What stands under `spec`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    containers: Annotated[list[ContainerSpecification], Field(min_length=1, max_length=20)]
    endpoints: list[Any] = []
    volumes: list[Any] = []
    log_exporters: Annotated[Any, Field(alias="logExporters")] = None
    platform_monitor: Annotated[Any, Field(alias="platformMonitor")] = None
    resource_management: Annotated[Any, Field(alias="resourceManagement")] = None
    network_policy: Annotated[Any, Field(alias="networkPolicyConfig")] = None

    @field_validator("containers")
    @classmethod
    def told_apart(cls, found: list[ContainerSpecification]) -> list[ContainerSpecification]:
        """Refuse two containers of one name."""
        names = [container.name for container in found]
        if len(set(names)) < len(names):
            raise ValueError("two containers have the same name")
        return found


class Specification(BaseModel):
    """A whole specification."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec: Body
    service_roles: Annotated[list[Any], Field(alias="serviceRoles")] = []
    capabilities: Any = None


def is_template_value(text: str) -> bool:
    """Whether a variable may have this value: letters and digits, or JSON."""
    if text.isalnum():
        return True
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def fill(template: str, values: dict[str, str]) -> str:
    """A specification template with its variables put in. Raises 395018 for one with neither value nor default."""
    for name, value in values.items():
        if not is_template_value(value):
            raise invalid_specification(f"the value of template variable '{name}' is neither alphanumeric nor JSON")

    def replace(match: re.Match[str]) -> str:
        if match[1] in values:
            return values[match[1]]
        if match[2] is None:
            raise invalid_specification(f"the template variable '{match[1]}' has no value")
        return match[2].split(",")[0].strip().strip("'\"")

    return PLACEHOLDER.sub(replace, template)


def parse_specification(text: str) -> Specification:
    """A specification from YAML or JSON text. Raises 395018, naming the field."""
    try:
        document = orjson.loads(text) if text.lstrip().startswith("{") else YAML(typ="safe").load(io.StringIO(text))
        return Specification.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise invalid_specification(f"{field or 'the document'}: {first['msg']}") from error
    except (orjson.JSONDecodeError, YAMLError) as error:
        raise invalid_specification(f"not readable as YAML or JSON ({' '.join(str(error).split())})") from error
