"""The file of named connections, and what is wrong with one that is refused."""

from pathlib import Path

import pytest

from freshet.domain.errors import DefinitionError
from freshet.execution.connections import configured_account, read_connections
from freshet.runtime.settings import WorkerSettings

GOOD = """
[reporting]
account = "a"
user = "u"
password = "hush"
database = "D"
schema = "S"
private_key_path = "/key.p8"

[crm]
url = "postgresql://u:hush@crm/x"
"""


def test_a_table_with_a_url_is_a_postgres_server_and_any_other_a_snowflake_account(tmp_path: Path) -> None:
    file = tmp_path / "connections.toml"
    file.write_text(GOOD)
    found = read_connections(str(file))
    assert found.postgres == {"crm": "postgresql://u:hush@crm/x"}
    account = found.snowflake["reporting"]
    assert (account.account, account.database, account.schema, account.password) == ("a", "D", "S", "hush")
    assert account.private_key_file == "/key.p8"
    assert "hush" not in repr(found)


def test_no_file_is_no_connection() -> None:
    assert read_connections(None).snowflake == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "can't be read: No such file or directory."),
        ("[a", "can't be read: "),
        ("a = 1", "[a] is not a table"),
        ("[snowflake]\naccount = 'x'", "[snowflake] takes a name that every installation has"),
        ("[a]\naccount = 'x'\nschema = 'S'", "[a]: database is refused: Field required."),
        ("[a]\naccount = 'x'\ndatabase = 'D'\nschema = 'S'\ncolour = 1", "[a]: colour is refused: Extra inputs"),
        ("[a]\nurl = 'mysql://u:hush@x'", "[a]: url is refused: Value error, it must begin with postgresql://"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence_that_shows_no_secret(
    tmp_path: Path, text: str | None, sentence: str
) -> None:
    file = tmp_path / "connections.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        read_connections(str(file))
    assert caught.value.message.startswith("FRESHET_CONNECTIONS")
    assert str(file) in caught.value.message
    assert sentence in caught.value.message
    assert "hush" not in caught.value.message


@pytest.mark.parametrize("name", ["account", "database", "schema"])
def test_an_account_without_its_place_is_refused_by_the_name_of_the_setting(name: str) -> None:
    given = {"snowflake_account": "a", "snowflake_database": "D", "snowflake_schema": "S", f"snowflake_{name}": None}
    settings = WorkerSettings(database_url="postgresql://x", redis_url="redis://x", **given)
    with pytest.raises(DefinitionError, match=f"FRESHET_SNOWFLAKE_{name.upper()} is not set"):
        configured_account(settings)
