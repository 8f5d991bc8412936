"""What the statements about stages do. Files travel by the connector itself, which copies them on this machine."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from freshet_emulator.errors import compilation, missing, taken
from freshet_emulator.interpreter.context import Context
from freshet_emulator.results import Result, StatementType, columns_of, status
from freshet_emulator.sql.names import FullName, ObjectName
from freshet_emulator.sql.statements import CreateStage, DropStage, ListStage, RemoveStaged, StagePath, Transfer

LISTED = ("name", "size", "md5", "last_modified")
# Connector 5 puts no file without OVERWRITE unless the address is good for these headers.
SIGNED = "host;x-goog-if-generation-match;x-goog-meta-encryptiondata;x-goog-meta-matdesc;x-goog-meta-sfc-digest"
REMOVED = ("name", "result")
UPLOADED = ("source", "target", "source_size", "target_size", "status", "message")


def full_name(context: Context, name: ObjectName) -> FullName:
    """A stage's full name. Raises SqlError 2003 unless there is such a stage."""
    full = context.session.resolve(name)
    if not context.world.catalog.exists("STAGE", str(full)):
        raise missing("Stage", str(full))
    return full


def create_stage(context: Context, statement: CreateStage) -> Result:
    """CREATE STAGE. Raises SqlError 2002, or 2003 for its schema."""
    full, catalog = context.session.resolve(statement.name), context.world.catalog
    catalog.require("SCHEMA", f"{full.database}.{full.schema}")
    if catalog.exists("STAGE", str(full)):
        if statement.if_not_exists:
            return status(f"{full.name} already exists, statement succeeded.")
        if not statement.or_replace:
            raise taken(str(full))
        context.world.stages.drop(full)
    else:
        catalog.create("STAGE", str(full))
    return status(f"Stage area {full.name} successfully created.")


def drop_stage(context: Context, statement: DropStage) -> Result:
    """DROP STAGE, with its files. Raises SqlError 2003."""
    full = context.session.resolve(statement.name)
    if statement.if_exists and not context.world.catalog.exists("STAGE", str(full)):
        return status(f"Drop statement executed successfully ({full.name} already dropped).")
    full_name(context, statement.name)
    context.world.stages.drop(full)
    context.world.catalog.drop("STAGE", str(full))
    return status(f"{full.name} successfully dropped.")


def list_stage(context: Context, statement: ListStage) -> Result:
    """LIST."""
    stage, place = full_name(context, statement.place.stage), statement.place
    wanted = re.compile(statement.pattern or ".*", re.DOTALL)
    rows = [
        (f"{stage.name.lower()}/{file.path}", file.size, file.digest, f"{file.changed:%a, %d %b %Y %H:%M:%S} GMT")
        for file in context.world.stages.files(stage, place.path)
        if wanted.fullmatch(file.path)
    ]
    return Result(columns=columns_of(LISTED, {"size": "FIXED"}), rows=rows, statement_type=StatementType.OTHER)


def remove_staged(context: Context, statement: RemoveStaged) -> Result:
    """REMOVE."""
    stage = full_name(context, statement.place.stage)
    gone = context.world.stages.remove(stage, statement.place.path)
    rows = [(f"{stage.name.lower()}/{path}", "removed") for path in gone]
    return Result(columns=columns_of(REMOVED, {}), rows=rows, statement_type=StatementType.OTHER)


def staged_text(context: Context, place: StagePath) -> str:
    """The text of a staged file. Raises SqlError 2003."""
    return context.world.stages.read(full_name(context, place.stage), place.path)


def transfer(context: Context, statement: Transfer) -> Result:
    """PUT and GET: where the connector copies from and to."""
    stage, place = full_name(context, statement.place.stage), statement.place
    order = upload(context, statement, stage) if statement.upload else download(context, statement, stage, place)
    return Result(columns=columns_of(UPLOADED, {}), rows=[], statement_type=StatementType.OTHER, transfer=order)


def place_on(kind: str, location: str, address: str | None = None) -> dict[str, Any]:
    """A place of files as the wire names it: a directory of this machine, or a cloud's with an address per file."""
    return {
        "locationType": kind,
        "location": location,
        "path": "",
        "region": "local",
        "storageAccount": None,
        "isClientSideEncrypted": False,
        "creds": {},
        "presignedUrl": address,
        "endPoint": None,
    }


def address(context: Context, stage: FullName, path: str) -> str:
    """Where a file of a stage can be put and got over HTTP."""
    endpoint = context.platform.options.endpoint
    grant = context.world.stages.grant(stage, path)
    return f"{endpoint.protocol}://{endpoint.host}:{endpoint.port}/stages/{grant}?X-Goog-SignedHeaders={SIGNED}"


def upload(context: Context, statement: Transfer, stage: FullName) -> dict[str, Any]:
    """The order to copy files into a stage."""
    target = context.world.stages.directory(stage, statement.place.path)
    target.mkdir(parents=True, exist_ok=True)
    compresses = statement.options.get("AUTO_COMPRESS", "TRUE") == "TRUE"
    info = place_on("LOCAL_FS", f"{target}/")
    if not context.session.copies_files:
        if "*" in statement.file or "?" in statement.file:
            raise compilation("PUT with a wildcard needs connector 4 here; put one file at a time.")
        name = PurePath(statement.file).name + (".gz" if compresses and not statement.file.endswith(".gz") else "")
        path = "/".join(part for part in (statement.place.path.strip("/"), name) if part)
        info = place_on("GCS", "stages/", address(context, stage, path))
    return COMMON | {
        "command": "UPLOAD",
        "src_locations": [statement.file],
        "autoCompress": compresses,
        "overwrite": statement.options.get("OVERWRITE", "FALSE") == "TRUE",
        "sourceCompression": statement.options.get("SOURCE_COMPRESSION", "auto_detect").lower(),
        "encryptionMaterial": None,
        "stageInfo": info,
    }


COMMON: dict[str, Any] = {
    "parallel": 4,
    "threshold": 209_715_200,
    "clientShowEncryptionParameter": False,
    "operation": "Node",
}


def download(context: Context, statement: Transfer, stage: FullName, place: StagePath) -> dict[str, Any]:
    """The order to copy files out of a stage."""
    found = [file.path for file in context.world.stages.files(stage, place.path)]
    info, addresses = place_on("LOCAL_FS", f"{context.world.stages.directory(stage)}/"), []
    if not context.session.copies_files:
        addresses = [address(context, stage, path) for path in found]
        info = place_on("GCS", "stages/", addresses[0] if addresses else None)
    return COMMON | {
        "command": "DOWNLOAD",
        "src_locations": found,
        "localLocation": statement.file,
        "encryptionMaterial": None,
        "presignedUrls": addresses,
        "stageInfo": info,
    }
