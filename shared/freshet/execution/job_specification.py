"""What is submitted for one try of a job service.

Purpose: the task's image, specification or template, its expressions rendered, and the try's context within.
Guarantees: every container of an inline specification gets the context as variables; a template gets it as values of
USING; a payload that has no room in an environment is given by its address; a value that no container could be given
fails the item with a sentence. Never: a secret's value, which SPCS takes by the name of a secret object; a plain file
of a stage is not read, so nothing of the context can reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from freshet.domain.model import CONTEXT_VARIABLES, JobServiceSpec
from freshet.execution.payload import Preparation, Prepared, Reference
from freshet.execution.values import ValueRefusedError, encode
from freshet.snowflake import Specification, json_for_yaml, template_value
from freshet.snowflake.text import object_name

#: Bytes of a payload that fit into the environment of a container.
PAYLOAD_LIMIT = 32 * 1024
#: Bytes of a payload that a container fetches, at most.
FETCHED_LIMIT = 16 * 1024 * 1024
#: The line of a job's comment that names the table of its result. It travels with the job, because whoever watches it
#: has no payload from which the name could be rendered once more.
RESULT_MARK = "result: "

Render = Callable[[str], str]
#: Makes a payload (JSON) ready to be fetched; its address. Raises ValueRefusedError where nothing can be fetched.
Deliver = Callable[[bytes], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What a submit says of one try."""

    specification: Specification
    comment: str


def submission(preparation: Preparation, spec: JobServiceSpec, prepared: Prepared, *, deliver: Deliver) -> Submission:
    """Raises ExpressionError and ValueRefusedError, and what `deliver` raises."""
    if prepared.refused is not None:
        raise ValueRefusedError(prepared.refused)
    task = preparation.task.path

    def render(text: str) -> str:
        return passable(preparation.rendered(text, prepared.payload), task)

    context = _context(preparation, prepared, _if_read(spec, deliver))
    return Submission(
        specification=_specification(spec, render, context), comment=_comment(preparation, spec, prepared, render)
    )


def attempt_key(preparation: Preparation, prepared: Prepared) -> str:
    """The attempt's natural key, the first line of its job's comment."""
    return f"{preparation.run_id}/{preparation.task.path}/{prepared.index}/{prepared.attempt}"


def attempt_of(comment: str | None) -> tuple[UUID, str, str, int] | None:
    """Run, task, index path and attempt that a job's comment names; None for one that is not of our making."""
    parts = (comment or "").split("\n", maxsplit=1)[0].split("/")
    if len(parts) != len(("run", "task", "item", "attempt")) or not parts[3].isdecimal():
        return None
    try:
        return UUID(parts[0]), parts[1], parts[2], int(parts[3])
    except ValueError:
        return None


def result_table(comment: str | None) -> str | None:
    """The table that a job's comment names for its result."""
    lines = (comment or "").splitlines()[1:2]
    return lines[0].removeprefix(RESULT_MARK) if lines and lines[0].startswith(RESULT_MARK) else None


def passable(text: str, task: str) -> str:
    """The text itself, if a container can be given it. Raises ValueRefusedError."""
    if "\0" in text:
        raise ValueRefusedError(f"A text of task {task} holds a NUL character, which no container can be given.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueRefusedError(f"A text of task {task} holds half a surrogate pair, which is no Unicode.")
    return text


def _specification(spec: JobServiceSpec, render: Render, context: Mapping[str, str]) -> Specification:
    if spec.spec_file is not None:
        return Specification(file=spec.spec_file)
    if spec.spec_template is not None or spec.spec_template_file is not None:
        using = {name: template_value(render(text)) for name, text in spec.using.items()}
        # As JSON strings, so that they are text in the filled template, and never numbers or objects.
        using |= {name: json_for_yaml(context.get(name, "")) for name in CONTEXT_VARIABLES}
        return Specification(text=spec.spec_template, file=spec.spec_template_file, using=using)
    given = dict(spec.spec) if spec.spec is not None else _of_image(spec)
    document = given if "spec" in given else {"spec": given}
    containers = [_container(container, render, context) for container in document["spec"]["containers"]]
    return Specification(text=json_for_yaml({**document, "spec": {**document["spec"], "containers": containers}}))


def _of_image(spec: JobServiceSpec) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "main", "image": spec.image}
    parts: dict[str, Mapping[str, Any] | Sequence[Any]] = {
        "command": spec.command,
        "args": spec.args,
        "env": spec.env,
        "secrets": spec.secrets,
        "resources": spec.resources,
        "volumeMounts": spec.volume_mounts,
    }
    container |= {name: part for name, part in parts.items() if part}
    return {"containers": [container], **({"volumes": spec.volumes} if spec.volumes else {})}


def _container(container: Mapping[str, Any], render: Render, context: Mapping[str, str]) -> dict[str, Any]:
    env = {name: render(text) for name, text in container.get("env", {}).items()}
    lists = {name: [render(text) for text in container[name]] for name in ("command", "args") if container.get(name)}
    return {**container, **lists, "env": {**env, **context}}


def _context(preparation: Preparation, prepared: Prepared, deliver: Deliver) -> dict[str, str]:
    payload = _payload(preparation, prepared.payload)
    return {
        **_told(preparation, payload, deliver),
        "FRESHET_RUN_ID": str(preparation.run_id),
        "FRESHET_WORKFLOW": preparation.document["run"]["workflow"],
        "FRESHET_TASK": preparation.task.path,
        "FRESHET_ITEM": prepared.index,
        "FRESHET_ATTEMPT": str(prepared.attempt),
    }


def _told(preparation: Preparation, payload: bytes, deliver: Deliver) -> dict[str, str]:
    if len(payload) <= PAYLOAD_LIMIT:
        return {"FRESHET_PAYLOAD": payload.decode()}
    try:
        return {"FRESHET_PAYLOAD_URL": deliver(payload)}
    except ValueRefusedError as error:
        raise _refused(preparation, error) from error


def _if_read(spec: JobServiceSpec, deliver: Deliver) -> Deliver:
    """A template that reads FRESHET_PAYLOAD alone would find nothing there."""
    if spec.spec_template is None or "FRESHET_PAYLOAD_URL" in spec.spec_template:
        return deliver

    def refuse(payload: bytes) -> str:
        raise ValueRefusedError(
            f"it has {len(payload):,} bytes as JSON, {PAYLOAD_LIMIT:,} fit into a container's environment, and"
            " `spec_template` does not read FRESHET_PAYLOAD_URL, the address of more"
        )

    return refuse


def _payload(preparation: Preparation, payload: Any) -> bytes:
    if isinstance(payload, Reference):
        payload = preparation.values(payload)
    elif isinstance(payload, dict):
        payload = {
            name: preparation.values(each) if isinstance(each, Reference) else each for name, each in payload.items()
        }
    try:
        return encode(payload, limit=FETCHED_LIMIT)
    except ValueRefusedError as error:
        raise _refused(preparation, error) from error


def _refused(preparation: Preparation, error: ValueRefusedError) -> ValueRefusedError:
    return ValueRefusedError(
        f"The payload of task {preparation.task.path} can't be handed to its container: {error.message}."
        " Pass a key, and let the container read the rest."
    )


def _comment(preparation: Preparation, spec: JobServiceSpec, prepared: Prepared, render: Render) -> str:
    lines = [attempt_key(preparation, prepared)]
    if spec.result_table is not None:
        table = render(spec.result_table).strip()
        try:
            lines.append(RESULT_MARK + object_name(table))
        except ValueError as error:
            raise ValueRefusedError(f"`result_table` of task {preparation.task.path} is refused: {error}.") from error
    if spec.comment is not None:
        lines.append(render(spec.comment))
    return "\n".join(lines)
