"""The shape of a service specification, as far as a job can use it.

Purpose: what SPCS would refuse after the submit is refused at apply, with a pointer to the field. Guarantees: the keys
are SPCS's own, and so are the limits; what passes keeps the form in which it was written. Never: a secret's value,
which SPCS takes by the name of a secret object only. Source: Snowflake's specification reference,
https://docs.snowflake.com/en/developer-guide/snowpark-container-services/specification-reference
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from freshet.definition.fields import Image, Json, Matching, ObjectName, Template, refusal
from freshet.definition.file_part import FilePart

#: Per service, says Snowflake's page of limits; of secrets per container.
MAX_CONTAINERS, MAX_VOLUMES, MAX_ENDPOINTS, MAX_SECRETS = 20, 20, 100, 50
GPU = "nvidia.com/gpu"
SOURCES = ("local", "memory", "block", "stage")
#: What a volume's size means something for.
SIZED = ("memory", "block")


def _number_as_text(value: Any) -> Any:
    return f"{value}" if isinstance(value, int | float) and not isinstance(value, bool) else value


def _digits_as_number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


_LABEL = Matching(
    pattern=r"[a-z](?:[a-z0-9-]*[a-z0-9])?",
    wanted="a DNS label: lower-case letters, digits and -, beginning with a letter and not ending with -",
    longest=63,
)
_VARIABLE = Matching(pattern=r"[^=\s\x00]+", wanted="the name of a variable, without = and spaces", longest=256)
_CPU = Matching(pattern=r"\d+(?:\.\d+)?|\d+m", wanted="a number of CPUs, like 0.5 or 500m", longest=20, code="bad_size")
_MEMORY = Matching(
    pattern=r"\d+(?:\.\d+)?(?:M|Mi|G|Gi)",
    wanted="a size with its unit M, Mi, G or Gi, like 512Mi",
    longest=20,
    code="bad_size",
)
_SIZE = Matching(pattern=r"[1-9]\d*Gi", wanted="a size with the unit Gi, like 10Gi", longest=20, code="bad_size")
_SOURCE = Matching(
    pattern=r"local|memory|block|stage|@[^\s'\x00]+",
    wanted="local, memory, block, stage, or a stage like @db.schema.stage",
    longest=1024,
    code="unknown_value",
)
_PATH = Matching(pattern=r"/[^\x00]*", wanted="an absolute path", longest=4096, code="bad_path")

Label = Annotated[str, _LABEL]
VariableName = Annotated[str, _VARIABLE]
_AS_WRITTEN = WithJsonSchema({"type": ["string", "number"]})
Cpu = Annotated[str, BeforeValidator(_number_as_text), _CPU, _AS_WRITTEN]
Memory = Annotated[str, BeforeValidator(_number_as_text), _MEMORY]
Size = Annotated[str, BeforeValidator(_number_as_text), _SIZE]
MountPath = Annotated[str, _PATH]
Port = Annotated[int, Field(ge=1, le=65535)]
PortRange = Annotated[str, Matching(pattern=r"\d{1,5}-\d{1,5}", wanted="two ports, like 8000-8010", longest=11)]

_UNITS = {"M": 1e6, "Mi": 2.0**20, "G": 1e9, "Gi": 2.0**30}


class AmountsFile(FilePart):
    """How much of a node: CPUs, memory, GPUs."""

    cpu: Cpu | None = None
    memory: Memory | None = None
    gpu: Annotated[int, BeforeValidator(_digits_as_number), Field(ge=1, le=64), _AS_WRITTEN] | None = Field(
        default=None, alias=GPU
    )

    @model_validator(mode="after")
    def _more_than_nothing(self) -> Self:
        for name, text in (("cpu", self.cpu), ("memory", self.memory)):
            if text is not None and not text.strip("0.mMGi"):
                raise refusal("bad_size", f"asks for no {name} at all: {text!r}")
        return self


class ResourcesFile(FilePart):
    """What a container asks for (`requests`) and may take (`limits`)."""

    requests: AmountsFile = AmountsFile()
    limits: AmountsFile = AmountsFile()

    @model_validator(mode="after")
    def _asks_for_no_more_than_it_may_take(self) -> Self:
        asked, most = self.requests, self.limits
        if asked.cpu and most.cpu and _cpus(asked.cpu) > _cpus(most.cpu):
            raise refusal("bad_resources", f"requests more cpu ({asked.cpu}) than its limit ({most.cpu})")
        if asked.memory and most.memory and _bytes(asked.memory) > _bytes(most.memory):
            raise refusal("bad_resources", f"requests more memory ({asked.memory}) than its limit ({most.memory})")
        if asked.gpu and most.gpu and asked.gpu != most.gpu:
            raise refusal("bad_resources", f"must ask for as many {GPU} as its limit is, and asks for {asked.gpu}")
        return self


def _cpus(text: str) -> float:
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _bytes(text: str) -> float:
    number = text.rstrip("MGi")
    return float(number) * _UNITS[text[len(number) :]]


class SecretNameFile(FilePart):
    """A secret object by name, or by the reference of a native app."""

    object_name: ObjectName | None = Field(default=None, alias="objectName")
    object_reference: str | None = Field(default=None, alias="objectReference", min_length=1, max_length=255)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.object_name is None) == (self.object_reference is None):
            raise refusal("one_of", "needs either `objectName` or `objectReference`, and not both")
        return self


def _named(value: Any) -> Any:
    return {"objectName": value} if isinstance(value, str) else value


class SecretFile(FilePart):
    """A Snowflake secret that a container gets, as a variable or as files in a directory."""

    snowflake_secret: Annotated[
        SecretNameFile, BeforeValidator(_named, json_schema_input_type=str | SecretNameFile)
    ] = Field(alias="snowflakeSecret")
    variable: VariableName | None = Field(default=None, alias="envVarName")
    key: Literal["username", "password", "secret_string", "access_token"] | None = Field(
        default=None, alias="secretKeyRef"
    )
    directory: MountPath | None = Field(default=None, alias="directoryPath")

    @model_validator(mode="after")
    def _variable_or_directory(self) -> Self:
        if (self.variable is None) == (self.directory is None):
            raise refusal("one_of", "needs either `envVarName` or `directoryPath`, and not both")
        if self.variable is not None and self.key is None:
            raise refusal("missing_key", "needs the key 'secretKeyRef' beside `envVarName`")
        return self


class MountFile(FilePart):
    """Where a container finds a volume."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    mount_path: MountPath = Field(alias="mountPath")


class ProbeFile(FilePart):
    """How SPCS asks a container whether it is well."""

    port: Port
    path: Annotated[str, Field(min_length=1)]
    period_seconds: Annotated[int, Field(ge=1)] | None = Field(default=None, alias="periodSeconds")
    failure_threshold: Annotated[int, Field(ge=1)] | None = Field(default=None, alias="failureThreshold")


class ContainerFile(FilePart):
    """One container."""

    name: Label
    image: Image
    command: list[Template] = []
    args: list[Template] = []
    env: dict[VariableName, Template] = {}
    resources: ResourcesFile = ResourcesFile()
    readiness_probe: ProbeFile | None = Field(default=None, alias="readinessProbe")
    liveness_probe: ProbeFile | None = Field(default=None, alias="livenessProbe")
    volume_mounts: list[MountFile] = Field(default=[], alias="volumeMounts")
    secrets: Annotated[list[SecretFile], Field(max_length=MAX_SECRETS)] = []
    mount_session_token: bool | None = Field(default=None, alias="mountSessionToken")
    session_token: Json | None = Field(default=None, alias="sessionTokenConfig")

    @model_validator(mode="after")
    def _variables_once(self) -> Self:
        refuse_variables_twice(self.env, self.secrets)
        return self


def refuse_variables_twice(env: Iterable[str], secrets: Sequence[SecretFile]) -> None:
    """Refuse a variable that two secrets, or a secret and `env`, set."""
    given = Counter([*env, *(secret.variable for secret in secrets if secret.variable is not None)])
    for name, times in given.items():
        if times > 1:
            raise refusal("duplicate_variable", f"sets the variable {name!r} twice")


class VolumeFile(FilePart):
    """A volume that containers of a job share."""

    name: Label
    source: Annotated[str, _SOURCE]
    size: Size | None = None
    uid: Annotated[int, Field(ge=0)] | None = None
    gid: Annotated[int, Field(ge=0)] | None = None
    block: Json | None = Field(default=None, alias="blockConfig")
    stage: Json | None = Field(default=None, alias="stageConfig")

    @model_validator(mode="after")
    def _what_its_source_needs(self) -> Self:
        if self.source in SIZED and self.size is None:
            raise refusal("missing_key", f"needs the key 'size', because its source is {self.source}")
        if self.source not in SIZED and self.size is not None:
            raise refusal("wrong_key", f"takes no `size`: only {' and '.join(SIZED)} volumes have one")
        if self.source == "stage" and self.stage is None:
            raise refusal("missing_key", "needs the key 'stageConfig', because its source is stage")
        return self


class EndpointFile(FilePart):
    """A port that others reach."""

    name: Label
    port: Port | None = None
    port_range: PortRange | None = Field(default=None, alias="portRange")
    public: bool | None = None
    protocol: Literal["TCP", "UDP", "HTTP", "HTTPS"] | None = None
    cors: Json | None = Field(default=None, alias="corsSettings")

    @model_validator(mode="after")
    def _one_port(self) -> Self:
        if (self.port is None) == (self.port_range is None):
            raise refusal("one_of", "needs either `port` or `portRange`, and not both")
        return self


def refuse_names_twice(what: str, names: Sequence[str]) -> None:
    """Refuse two things of one kind that have the same name."""
    for name, times in Counter(names).items():
        if times > 1:
            raise refusal("duplicate_name", f"has two {what} of the name {name!r}")


def refuse_wrong_mounts(volumes: Sequence[VolumeFile], mounts: Sequence[MountFile], reader: str) -> None:
    """Refuse two volumes of one name, and a mount of a volume that is not there."""
    names = [volume.name for volume in volumes]
    refuse_names_twice("volumes", names)
    for mount in mounts:
        if mount.name not in names:
            known = ", ".join(names) or "none"
            raise refusal("unknown_volume", f"has no volume {mount.name!r}, which {reader} mounts; there are {known}")


class RoleFile(FilePart):
    """A service role and the endpoints that it may use."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    endpoints: list[str] = []


class _BodyParts(FilePart):
    """What stands under `spec` in a specification, apart from the containers."""

    volumes: Annotated[list[VolumeFile], Field(max_length=MAX_VOLUMES)] = []
    endpoints: Annotated[list[EndpointFile], Field(max_length=MAX_ENDPOINTS)] = []
    log_exporters: Json | None = Field(default=None, alias="logExporters")
    platform_monitor: Json | None = Field(default=None, alias="platformMonitor")
    network_policy: Json | None = Field(default=None, alias="networkPolicyConfig")

    def _refuse_names(self, containers: Sequence[ContainerFile]) -> None:
        refuse_names_twice("containers", [container.name for container in containers])
        refuse_names_twice("endpoints", [endpoint.name for endpoint in self.endpoints])
        for container in containers:
            refuse_wrong_mounts(self.volumes, container.volume_mounts, f"container {container.name!r}")


Containers = Annotated[list[ContainerFile], Field(min_length=1, max_length=MAX_CONTAINERS)]


class BodyFile(_BodyParts):
    """What stands under `spec` in a specification."""

    containers: Containers

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        self._refuse_names(self.containers)
        return self


class SpecificationFile(_BodyParts):
    """A whole specification: as SPCS takes it, with `spec` on top, or only what stands under it."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["spec"]}, {"required": ["containers"]}]})

    spec: BodyFile | None = None
    roles: list[RoleFile] = Field(default=[], alias="serviceRoles")
    capabilities: Json | None = None
    containers: Containers | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.spec is None) == (self.containers is None):
            raise refusal("one_of", "needs either `spec` or `containers`, and not both")
        for name in self.model_fields_set & _BodyParts.model_fields.keys() if self.spec is not None else ():
            alias = _BodyParts.model_fields[name].alias or name
            raise refusal("wrong_key", f"has `{alias}` beside `spec`; put it under `spec`")
        self._refuse_names(self.containers or ())
        return self

    def plain(self) -> Json:
        """The specification in SPCS's own words, with nothing added."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
