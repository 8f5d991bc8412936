"""What can go wrong with Snowflake, split by the only question that matters: does trying again help?

FreshetError
├── UnreachableError
│   └── SnowflakeUnreachableError   network, login timeout, internal errors of the platform: try again
└── SnowflakeError
    └── SnowflakeRefusedError       the statement or its objects are wrong: trying again changes nothing
        ├── SnowflakeLoginRefusedError
        └── JobNameTakenError
"""

from __future__ import annotations

from freshet.domain.errors import FreshetError, UnreachableError


class SnowflakeUnreachableError(UnreachableError):
    """Snowflake can't be reached, or could not answer just now."""

    def __init__(self, message: str | None = None, *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class SnowflakeError(FreshetError):
    """Snowflake answered with an error."""


class SnowflakeRefusedError(SnowflakeError):
    """Snowflake refused the statement."""

    def __init__(self, message: str | None = None, *, errno: int | None = None, sqlstate: str | None = None) -> None:
        """`errno` is Snowflake's number (1003 syntax, 2002 taken, 2003 missing or not authorized, …)."""
        super().__init__(message)
        self.errno = errno
        self.sqlstate = sqlstate


class SnowflakeLoginRefusedError(SnowflakeRefusedError):
    """Snowflake refused the login: FRESHET_SNOWFLAKE_USER, its credentials or the role are wrong."""


class JobNameTakenError(SnowflakeRefusedError):
    """A job service of this name exists and is not ours."""


TAKEN = 2002
MISSING = 2003
# 2043 is said of an object that can't be operated on because it is gone.
GONE = frozenset({MISSING, 2043})
NO_TABLE_FUNCTION = 2143
NO_PRIVILEGE = 3001
# The session or its master token has ended; the statement was not run.
SESSION_ENDED = frozenset({390111, 390112, 390114, 390115})
# Internal error, cancelled by the server, lock wait, statement timeout, node trouble: not the statement's fault.
PLATFORM = frozenset({603, 604, 625, 630, 300002, 370001})
# By name: importing the classes would import the connector.
REFUSING_CLASSES = frozenset({"ProgrammingError", "IntegrityError", "DataError", "NotSupportedError"})


def classify(error: Exception) -> FreshetError:
    """A connector's error as one of ours.

    By class name, since connector 4 also raises HTTP errors outside DB-API's family, and those are retryable;
    390xxx are logins, except for ended sessions, which are for the caller to open anew.
    """
    errno = getattr(error, "errno", None)
    sqlstate = getattr(error, "sqlstate", None)
    if errno in SESSION_ENDED or errno in PLATFORM:
        return SnowflakeUnreachableError(str(error), errno=errno)
    if isinstance(errno, int) and 390_000 <= errno < 391_000:
        return SnowflakeLoginRefusedError(str(error), errno=errno, sqlstate=sqlstate)
    if type(error).__name__ in REFUSING_CLASSES:
        return SnowflakeRefusedError(str(error), errno=errno, sqlstate=sqlstate)
    return SnowflakeUnreachableError(str(error), errno=errno)
