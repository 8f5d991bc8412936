"""Bugs of eager dispatch, and of items that share a transaction."""

from __future__ import annotations

from .mutant import Mutant

SQL = "shared/freshet/storage/functions/engine_eager.sql"
EAGER = "shared/freshet/engine/eager.py"
ONWARD = "shared/freshet/execution/onward.py"
TURNS = "shared/freshet/execution/turns.py"
SESSION = "shared/freshet/storage/session.py"


def eager(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    where = tuple(f"tests/engine/test_eager.py::test_{test}" for test in tests)
    return Mutant(name=f"eager: {name}", file=file, old=old, new=new, tests=where)


def onward(name: str, old: str, new: str) -> Mutant:
    return Mutant(name=f"eager: {name}", file=ONWARD, old=old, new=new, tests=("tests/worker/test_onward.py",))


def shared(name: str, file: str, old: str, new: str, test: str) -> Mutant:
    where = (f"tests/worker/test_shared_commit.py::test_{test}",)
    return Mutant(name=f"shared: {name}", file=file, old=old, new=new, tests=where)


MUTANTS = (
    eager(
        "no fence",
        SQL,
        "where id = p_bundle and claim = p_token and done = 0",
        "where id = p_bundle and done = 0",
        "a_claim_that_another_holds_by_now_is_his",
    ),
    eager(
        "it waits for the lock of a run",
        SQL,
        "for update skip locked;",
        "for update;",
        "what_a_dispatcher_holds_is_reported_and_left_to_it",
    ),
    eager(
        "a failure counts as a success",
        SQL,
        " and p_outcomes #>> '{0,s}' = 'succeeded'",
        "",
        "a_failure_is_reported_and_left_to_the_dispatcher",
    ),
    eager(
        "it claims what it does not serve",
        SQL,
        "where b ->> 1 = any (p_queues)",
        "where true",
        "what_the_worker_does_not_serve_is_published_for_others",
    ),
    eager(
        "a blocked child is taken for one that may start",
        SQL,
        "q.id <> t.id and q.state in ('pending', 'running') as goes_on",
        "q.state = 'failed' as goes_on",
        "a_child_that_waits_for_another_parent_is_not_looked_at",
    ),
    eager(
        "the children are not seen",
        SQL,
        "        select id from child where id not in (select child from waits)\n        union\n",
        "",
        "a_wide_chain_sees_what_the_end_of_a_task_matters_to",
    ),
    eager(
        "a map is opened by a worker",
        EAGER,
        "if not fold.is_plain or decision.again",
        "if decision.again",
        "a_map_that_starts_behind_a_skipped_task_takes_the_decision_back",
    ),
    eager(
        "a queue gets more than it may hold",
        EAGER,
        " or len(decision.fresh) > AT_LEAST",
        "",
        "more_than_a_queue_may_hold_is_the_dispatchers",
    ),
    eager(
        "what it does not claim is not published",
        EAGER,
        "            if messages:\n",
        "            if not messages:\n",
        "what_follows_is_claimed_once_and_the_rest_is_published",
    ),
    eager(
        "nobody is woken for what it leaves",
        EAGER,
        'own = [claimed.document["bundle"]["partition"]] if next_one is None else []',
        "own: list[int] = []",
        "a_failure_is_reported_and_left_to_the_dispatcher",
    ),
    eager(
        "the claim is not noted before the commit",
        EAGER,
        "note(next_one.bundle)",
        "pass",
        "what_follows_is_claimed_once_and_the_rest_is_published",
    ),
    onward("it goes on although something waits", "(watched=self._queues if may else ()) and may", "() or may"),
    onward("the first queue alone is looked at", "watched=self._queues if may", "watched=self._queues[:1] if may"),
    onward("a claim that may be committed is forgotten", "self.asked = bundle, claim", "self.asked = None"),
    onward("its facts are not announced", "self._facts += facts", "del facts"),
    shared(
        "a transaction that an item began is taken for ours",
        SESSION,
        "if not self._is_ours(connection, turn):",
        "if False:",
        "an_item_that_ends_the_transaction_fails_all_that_shared_it_and_no_other",
    ),
    shared(
        "a failure costs all that share in every bundle",
        TURNS,
        "self._careful = CAREFUL_BUNDLES",
        "self._careful = 0",
        "what_a_failed_item_wrote_is_taken_back_and_nobody_elses",
    ),
    shared(
        "what was prepared is taken to be there in the next bundle",
        SESSION,
        "self._prepared = type(self._prepared)()",
        "pass",
        "a_statement_is_prepared_for_those_that_share_and_for_nobody_after_them",
    ),
)
