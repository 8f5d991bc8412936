"""What Postgres refuses for reasons of its own is no item's failure."""

from __future__ import annotations

import pytest
from tests.worker.rows import Rows
from tests.worker.test_process import Serve, Work, effects, states


def refuse_reports(rows: Rows, state: str, *, times: int) -> None:
    """The next reports are refused with this SQLSTATE. A sequence counts, for it is not rolled back."""
    rows.sql("create sequence public.refused")
    rows.sql("grant usage on sequence public.refused to public")
    rows.sql(
        "create function public.refuse() returns trigger language plpgsql as $$ begin"
        f" if nextval('public.refused') <= {times} then raise exception 'not now' using errcode = '{state}'; end if;"
        " return new; end $$"
    )
    rows.sql("create trigger refuse before insert on engine.report for each row execute function public.refuse()")


def refusals(rows: Rows) -> int:
    return int(rows.one("select last_value from public.refused"))


@pytest.mark.parametrize("state", ["42883", "0A000", "25006", "53100"])
def test_a_report_that_is_refused_for_a_while_is_made_later_and_no_item_fails_for_it(
    work: Work, serve: Serve, rows: Rows, state: str
) -> None:
    refuse_reports(rows, state, times=2)
    assert states(serve(work("echo", [1, 2, 3]))) == ["succeeded"] * 3
    assert refusals(rows) == 3


def test_a_hand_back_that_is_refused_for_a_while_is_made_later_and_the_claim_is_not_kept(
    work: Work, serve: Serve, rows: Rows
) -> None:
    refuse_reports(rows, "42883", times=2)
    bundle = work("nobody-has-it", [1])
    assert states(serve(bundle)) == ["handed_back"]
    assert not rows.exists(bundle)


@pytest.mark.parametrize("state", ["53100", "57P03", "58030"])
def test_an_item_that_the_server_could_not_commit_is_lost_not_failed(
    work: Work, serve: Serve, rows: Rows, state: str
) -> None:
    refuse_reports(rows, state, times=1)
    assert states(serve(work("insert", ["a"]))) == ["lost"]
    assert effects(rows) == []


def test_an_item_whose_own_writes_are_refused_at_the_commit_has_failed(work: Work, serve: Serve, rows: Rows) -> None:
    rows.sql("alter table effect add constraint once unique (value) deferrable initially deferred")
    rows.sql("insert into effect values ('a')")
    assert states(serve(work("insert", ["a"]))) == ["failed"]
    assert effects(rows) == ["a"]
