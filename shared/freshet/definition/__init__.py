"""Definitions: workflow files become the core's model.

Purpose: everything that reads, checks, writes and publishes definitions. Guarantee: bad input is refused at
the door with a code, a JSON Pointer, a sentence and, from a file, its line. Never: a run, a table, a queue.
"""

from freshet.definition.builder import workflow
from freshet.definition.canonical import digest, dump, normalise, normalise_document
from freshet.definition.compilation import compile_document, compile_workflow
from freshet.definition.document import Document, load_file, load_text
from freshet.definition.errors import DefinitionErrors, describe, errors_of
from freshet.definition.jobconfig import ImportOptions, import_document, import_jobconfig
from freshet.definition.parameters import coerce_params
from freshet.definition.schema import schema
from freshet.definition.versions import resolve_versions

__all__ = [
    "DefinitionErrors",
    "Document",
    "ImportOptions",
    "coerce_params",
    "compile_document",
    "compile_workflow",
    "describe",
    "digest",
    "dump",
    "errors_of",
    "import_document",
    "import_jobconfig",
    "load_file",
    "load_text",
    "normalise",
    "normalise_document",
    "resolve_versions",
    "schema",
    "workflow",
]
