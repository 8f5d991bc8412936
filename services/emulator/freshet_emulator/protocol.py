"""The connector's protocol: envelopes of answers. Which request gets which answer is in `app`."""

from __future__ import annotations

from typing import Any

from freshet_emulator.errors import LoginRefusedError, SqlError
from freshet_emulator.queries import Query
from freshet_emulator.results import Result, encode_rows, row_type
from freshet_emulator.sessions import MASTER_SECONDS, SESSION_GONE, TOKEN_EXPIRED, Session
from freshet_emulator.sql.lexer import count_placeholders

Envelope = dict[str, Any]

RUNNING = "333333"
RUNNING_ASYNC = "333334"
SERVER_VERSION = "9.99.0"
# What clients ask their session for. Results come as JSON, times in UTC.
PARAMETERS: dict[str, str | int | bool] = {
    "AUTOCOMMIT": True,
    "CLIENT_RESULT_CHUNK_SIZE": 160,
    "CLIENT_SESSION_KEEP_ALIVE": False,
    "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD": 0,
    "CLIENT_TELEMETRY_ENABLED": False,
    "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "JSON",
    "TIMEZONE": "UTC",
}
MESSAGES = {
    SESSION_GONE: "Session no longer exists. New login required to access the service.",
    TOKEN_EXPIRED: "Session token has expired. Renew it with the master token.",
}


def succeeded(data: Envelope | None = None) -> Envelope:
    """An answer without news, or with `data`."""
    return {"success": True, "code": None, "message": None, "data": data}


def failed(code: int, message: str, data: Envelope | None = None) -> Envelope:
    """A refusal; it travels as HTTP 200, because connectors repeat requests that fail otherwise."""
    return {"success": False, "code": f"{code:06d}", "message": message, "data": data or {}}


def refused_session(code: int) -> Envelope:
    """The answer to a token that is unknown or due for renewal."""
    return failed(code, MESSAGES[code])


def refused_privilege(on: str) -> Envelope:
    """The answer to a statement that the role may not run."""
    message = f"SQL access control error:\nInsufficient privileges to operate on {on}"
    return failed(3001, message, {"errorCode": "003001", "sqlState": "42501", "internalError": False})


def refused_login(error: LoginRefusedError) -> Envelope:
    """The answer to wrong credentials."""
    return failed(error.code, error.message, {"nextAction": "RETRY_LOGIN", "pwdLastSetTime": 0})


def login_answer(session: Session, validity: float) -> Envelope:
    """The answer to a login. Connector 5 needs token, masterToken and sessionId."""
    return succeeded(
        {
            "token": session.token,
            "masterToken": session.master_token,
            "sessionId": session.id,
            "validityInSeconds": max(1, int(validity)),
            "masterValidityInSeconds": MASTER_SECONDS,
            "displayUserName": session.user,
            "serverVersion": SERVER_VERSION,
            "firstLogin": False,
            "remMeToken": None,
            "remMeValidityInSeconds": 0,
            "healthCheckInterval": 45,
            "parameters": parameters(session),
            "sessionInfo": {
                "databaseName": session.database,
                "schemaName": session.schema,
                "warehouseName": session.warehouse,
                "roleName": session.role,
            },
        }
    )


def renewal_answer(session: Session, validity: float) -> Envelope:
    """The answer to a renewal of the session token."""
    return succeeded(
        {
            "sessionToken": session.token,
            "validityInSecondsST": max(1, int(validity)),
            "masterToken": session.master_token,
            "validityInSecondsMT": MASTER_SECONDS,
            "sessionId": session.id,
        }
    )


def parameters(session: Session) -> list[Envelope]:
    """Session parameters as the wire lists them."""
    values = dict(PARAMETERS)
    for name, default in PARAMETERS.items():
        if (found := session.parameters.get(name)) is not None:
            values[name] = of_kind(found, default)
    return [{"name": name, "value": value} for name, value in values.items()]


def of_kind(text: str, default: object) -> str | int:
    """A parameter's text as the kind of value that its default is; connector 4 computes with them."""
    if isinstance(default, bool):
        return text.upper() in ("TRUE", "1", "ON")
    return int(text) if isinstance(default, int) and text.isdecimal() else text


def running_answer(query: Query, *, is_async: bool = False) -> Envelope:
    """The answer while a query runs: where to ask again."""
    data = {
        "getResultUrl": f"/queries/{query.id}/result",
        "queryId": query.id,
        "queryAbortsAfterSecs": 172_800,
        "progressDesc": None,
    }
    answer = succeeded(data)
    answer["code"] = RUNNING_ASYNC if is_async else RUNNING
    answer["message"] = "Query execution in progress."
    return answer


def ended_answer(query: Query) -> Envelope:
    """The answer of a query that has ended."""
    found = query.outcome.result()
    if isinstance(found, SqlError):
        return failed(found.code, found.message, error_data(query, found))
    return succeeded(result_data(query, found))


def error_data(query: Query, error: SqlError) -> Envelope:
    """What a failed statement's answer carries."""
    return {
        "internalError": False,
        "errorCode": f"{error.code:06d}",
        "age": 0,
        "sqlState": error.sqlstate,
        "queryId": query.id,
        "line": -1,
        "pos": -1,
        "type": "COMPILATION",
    }


def result_data(query: Query, result: Result) -> Envelope:
    """What a successful statement's answer carries."""
    session = query.session
    several = {
        "resultIds": ",".join(child for child, _ in result.children),
        "resultTypes": ",".join(str(int(kind)) for _, kind in result.children),
    }
    return (
        (several if result.children else {})
        | dict(result.transfer or {})
        | {
            "parameters": parameters(session),
            "rowtype": [row_type(column) for column in result.columns],
            "rowset": encode_rows(result),
            "total": len(result.rows),
            "returned": len(result.rows),
            "queryId": query.id,
            "queryResultFormat": "json",
            "statementTypeId": int(result.statement_type),
            "finalDatabaseName": session.database,
            "finalSchemaName": session.schema,
            "finalWarehouseName": session.warehouse,
            "finalRoleName": session.role,
            "sqlState": "00000",
            "numberOfBinds": count_placeholders(query.sql),
            "arrayBindSupported": True,
            "version": 1,
        }
    )


def monitoring_answer(query: Query | None) -> Envelope:
    """The answer to a question about a query's status; an unknown query makes an empty list."""
    if query is None:
        return succeeded({"queries": []})
    entry: Envelope = {
        "id": query.id,
        "status": query.status,
        "state": query.status,
        "errorCode": "",
        "errorMessage": None,
    }
    found = query.outcome.result() if query.outcome.done() else None
    if isinstance(found, SqlError):
        entry |= {"errorCode": f"{found.code:06d}", "errorMessage": found.message}
    return succeeded({"queries": [entry]})
