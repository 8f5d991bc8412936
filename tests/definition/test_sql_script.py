from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.definition.sql_script import refusal, statements


@pytest.mark.parametrize(
    "script",
    [
        "BEGIN; select 1; COMMIT",
        "begin work",
        "start  transaction",
        "select 1;\n  /* done */ commit",
        "rollback to savepoint a",
        "savepoint a",
        "release a",
        "abort",
        "end",
        "prepare transaction 'x'",
        "set local transaction isolation level serializable",
        "set session characteristics as transaction read only",
        "VACUUM (full) t",
        "create index concurrently i on t (a)",
        "create unique index concurrently i on t (a)",
        "drop index concurrently i",
        "reindex table concurrently t",
        "reindex database d",
        "alter table t detach partition p concurrently",
        "create database d",
        "drop tablespace x",
        "alter system set work_mem = 1",
        "discard all",
        "set role postgres",
        "reset role",
        "set session authorization x",
        "copy t from stdin",
        "select 'it''s'; commit",
        "select E'\\'; x'; commit",
        "select $a$ ; $b$ ; $a$; commit",
        "select 1 -- ;\n; commit",
        "select 1 /* a /* b */ ; */; commit",
        'select "a;b"; commit',
        "create function f() returns int begin atomic select 1; end; commit",
        "",
        " -- nothing\n ; ;",
    ],
)
def test_what_would_end_the_transaction_or_can_not_run_in_one_is_refused(script: str) -> None:
    assert refusal(script) is not None


@pytest.mark.parametrize(
    "script",
    [
        "select 'commit'",
        "select 1 as commit",
        "select 1; -- commit\n",
        "select 1 /* ; commit */",
        'insert into "begin" values (1)',
        "do $$ begin perform 1; end $$",
        "do $body$ begin raise notice 'x'; end; $body$; select 1",
        "create function f() returns int language plpgsql as $$ begin return 1; end $$",
        "create function f() returns int begin atomic select case when true then 1 end; select 2; end; select 3",
        "select E'it\\'s; commit'",
        "select 'a\\'; select 'commit'",
        "create index i on t (a)",
        "update t set role = 1",
        "truncate t; insert into t select * from json_to_recordset(:payload) as x(a int)",
        "with x as (select 1) select * from x",
        "call p()",
        "select $1; select $2",
        "select 'unfinished; commit",
    ],
)
def test_words_in_strings_comments_and_bodies_are_not_statements(script: str) -> None:
    assert refusal(script) is None


def test_the_refusal_names_statement_line_and_reason() -> None:
    assert refusal("select 1;\n\n  commit and chain") == (
        "the statement COMMIT on line 3 of the script is not allowed: "
        "it would end or change the transaction, which Freshet owns and commits with the report"
    )


def test_a_script_is_split_into_statements() -> None:
    assert statements("select 1;\n insert into t\nvalues ('a;b');;") == [(1, "SELECT"), (2, "INSERT INTO T VALUES ?")]


@given(st.text(alphabet=st.sampled_from("ab;'\"$-/*\\ \nE()"), max_size=40))
def test_any_text_can_be_split(script: str) -> None:
    lines = script.count("\n") + 1
    assert all(1 <= line <= lines for line, _ in statements(script))


@given(st.text(alphabet=st.sampled_from('ab;$- \n("/*\\'), max_size=20))
def test_nothing_quoted_is_taken_for_a_statement(text: str) -> None:
    assert refusal(f"select '{text}; commit'") is None
    assert refusal(f"select $q${text}; commit $q$") is None
