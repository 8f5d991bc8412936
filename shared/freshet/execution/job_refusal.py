"""Why Snowflake refused a submit, in one sentence.

Purpose: "does not exist or not authorized" becomes the thing that is missing and the grant that may be. Guarantee: the
first line of Snowflake's own words is kept where nothing better is known. Never: a retry; what is refused is refused.
"""

from __future__ import annotations

import re

from freshet.domain.model import JobServiceSpec
from freshet.snowflake import SnowflakeRefusedError
from freshet.snowflake.errors import MISSING, NO_PRIVILEGE

#: What has to be granted to use a kind of object, by the word that Snowflake calls it.
GRANTS = {
    "compute pool": "USAGE",
    "secret": "READ",
    "stage": "READ",
    "image repository": "READ",
    "integration": "USAGE",
    "warehouse": "USAGE",
    "schema": "USAGE and CREATE SERVICE",
    "database": "USAGE",
}
_MISSING = re.compile(r"(?P<kind>[A-Z][A-Za-z ]*?) '(?P<name>.+?)' does not exist or not authorized", re.DOTALL)
_PREFIX = re.compile(
    # Connector 4 says None for a query that has no id.
    r"^\s*\d{6} \(\w{5}\):\s*(?:(?:[0-9a-f-]{36}|None):\s*)?|(?:SQL compilation error|SQL access control error):\s*"
)


def refusal(error: SnowflakeRefusedError, spec: JobServiceSpec) -> str:
    """The sentence of an item whose submit was refused."""
    text = told(error)
    found = _MISSING.search(text)
    if error.errno == MISSING and found is not None:
        kind, name = found["kind"].lower(), found["name"]
        if kind == "compute pool":
            name = spec.compute_pool
        grant = GRANTS.get(kind, "what it takes")
        return f"Snowflake refused the job: {kind} {name} does not exist, or our role lacks {grant} on it."
    if error.errno == NO_PRIVILEGE:
        return f"Snowflake refused the job for want of a privilege of our role: {text}"
    return f"Snowflake refused the job: {text}"


def told(error: SnowflakeRefusedError) -> str:
    """Snowflake's words on one line, without numbers and prefixes."""
    return " ".join(_PREFIX.sub("", error.message).split())
