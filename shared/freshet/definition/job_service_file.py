"""The shape of a job service in a workflow file.

Purpose: the ways in which SPCS can be told what a job runs: an image with what it needs, a whole specification, a
template, or either in a file of a stage. Guarantee: exactly one of them, and no key that the chosen one would ignore.
Never: a credential.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from freshet.definition.fields import (
    Identifier,
    Image,
    Json,
    Matching,
    StagedFile,
    Template,
    Timeout,
    json_text,
    refusal,
)
from freshet.definition.file_part import FilePart
from freshet.definition.refusals import as_refusals
from freshet.definition.specification_file import (
    MAX_SECRETS,
    MAX_VOLUMES,
    MountFile,
    ResourcesFile,
    SecretFile,
    SpecificationFile,
    VolumeFile,
    refuse_variables_twice,
    refuse_wrong_mounts,
)
from freshet.definition.specification_text import check_template, filled, read_specification, template_problems
from freshet.domain.model import CONTEXT_VARIABLES
from freshet.expressions import has_template
from freshet.snowflake import template_value
from freshet.snowflake.text import object_name

FORMS = ("image", "spec", "spec_file", "spec_template", "spec_template_file")
#: Keys that say more about the image's container; a specification says that itself.
OF_IMAGES = ("args", "command", "env", "secrets", "resources", "volumes", "volume_mounts")
TEMPLATES = ("spec_template", "spec_template_file")
MAX_INTEGRATIONS, MAX_REPLICAS = 10, 1000
_VARIABLE = Matching(
    pattern=r"[A-Za-z_][A-Za-z0-9_]*", wanted="a template variable of letters, digits and _", longest=128
)


def _value(value: Any) -> Any:
    """JSON as the text that stands for it in a template."""
    return json_text(value) if isinstance(value, list | dict) else value


def _table(text: str) -> str:
    """A name, or what a run makes one of."""
    if not has_template(text):
        try:
            object_name(text)
        except ValueError as error:
            raise refusal("bad_name", f"is refused: {error}") from error
    return text


ResultTable = Annotated[Template, AfterValidator(_table)]
TemplateText = Annotated[str, AfterValidator(check_template)]
UsingValue = Annotated[Template, BeforeValidator(_value), WithJsonSchema({"description": "A value, or `${{ … }}`."})]
InlineSpecification = Annotated[
    SpecificationFile, BeforeValidator(read_specification, json_schema_input_type=str | SpecificationFile)
]


class JobServiceFile(FilePart):
    """A container run in a compute pool, or whatever a specification says."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [form]} for form in FORMS]})

    compute_pool: Identifier
    image: Image | None = None
    args: list[Template] = []
    command: list[Template] = []
    env: dict[str, Template] = {}
    secrets: Annotated[list[SecretFile], Field(max_length=MAX_SECRETS)] = []
    resources: ResourcesFile = ResourcesFile()
    volumes: Annotated[list[VolumeFile], Field(max_length=MAX_VOLUMES)] = []
    volume_mounts: list[MountFile] = Field(default=[], alias="volumeMounts")
    spec: InlineSpecification | None = None
    spec_file: StagedFile | None = None
    spec_template: TemplateText | None = None
    spec_template_file: StagedFile | None = None
    using: dict[Annotated[str, _VARIABLE], UsingValue] = {}
    replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] | None = None
    query_warehouse: Identifier | None = None
    external_access_integrations: Annotated[list[Identifier], Field(max_length=MAX_INTEGRATIONS)] = []
    comment: Annotated[Template, Field(max_length=256)] | None = None
    result_table: ResultTable | None = None
    start_timeout: Timeout = 900.0

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        forms = [form for form in FORMS if getattr(self, form) is not None]
        if len(forms) != 1:
            given = f", not {' and '.join(f'`{form}`' for form in forms)}" if forms else ""
            raise refusal("one_of", f"needs one of {', '.join(f'`{form}`' for form in FORMS)}{given}")
        self._refuse_strays(forms[0])
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        refuse_variables_twice(self.env, self.secrets)
        refuse_wrong_mounts(self.volumes, self.volume_mounts, "the container")
        if self.spec_template is not None:
            self._check_template(self.spec_template)
        return self

    @field_validator("using")
    @classmethod
    def _not_the_context(cls, using: dict[str, str]) -> dict[str, str]:
        for name in CONTEXT_VARIABLES:
            if name in using:
                raise refusal("reserved_name", f"must not set {name!r}, which a run sets itself")
        return using

    def _check_template(self, text: str) -> None:
        for name, sentence in template_problems(text, self.using):
            where = f"sets {name!r} in `using`, which" if name else "has a `spec_template` that"
            raise refusal("unknown_variable", f"{where} {sentence}")
        if any(has_template(value) for value in self.using.values()):
            return  # only a run knows what the specification will be
        values = {name: template_value(value) for name, value in self.using.items()}
        specification = filled(text, values | dict.fromkeys(CONTEXT_VARIABLES, '""'))
        if specification is None:
            return
        try:
            SpecificationFile.model_validate(read_specification(specification))
        except ValidationError as error:
            reason = as_refusals(error, SpecificationFile)[0]
            raise refusal(reason.code, f"has a `spec_template` that is refused: {reason.message}") from error

    def _refuse_strays(self, form: str) -> None:
        for name in OF_IMAGES:
            if form != "image" and name in self.model_fields_set:
                alias = type(self).model_fields[name].alias or name
                raise refusal("wrong_key", f"takes no `{alias}` beside `{form}`; say it in the specification")
        if form not in TEMPLATES and self.using:
            raise refusal("wrong_key", f"takes no `using` beside `{form}`; only a template has variables")

    def parts(self, name: str) -> list[Json]:
        """A list of parts in SPCS's own words, with nothing added."""
        return [part.model_dump(mode="json", by_alias=True, exclude_unset=True) for part in getattr(self, name)]
