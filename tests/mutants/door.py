"""Bugs of the front door, the scheduler and the wire."""

from __future__ import annotations

from .mutant import Mutant

SQL = "shared/freshet/storage/sql"
API = "services/api/freshet_api"


def api(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/api/test_{file}.py::test_{name}" for name in names)


def tick(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/scheduling/test_tick.py::test_{name}" for name in names)


def bug(name: str, file: str, old: str, new: str, tests: tuple[str, ...]) -> Mutant:
    return Mutant(name=f"door: {name}", file=file, old=old, new=new, tests=tests)


MUTANTS = (
    bug(
        "a held run is asked to start",
        f"{SQL}/requests.sql",
        "from inserted where not held order by id",
        "from inserted order by id",
        tick("a_tick_during_a_run_waits_under_queue"),
    ),
    bug(
        "a run without its request",
        f"{SQL}/requests.sql",
        "from inserted where not held order by id",
        "from inserted where held order by id",
        api("runs", "a_run_is_pending_with_a_request_and_its_dispatcher_is_woken"),
    ),
    bug(
        "a second cancel is written too",
        f"{SQL}/requests.sql",
        "where q.partition = r.partition and q.run_id = r.id and q.kind = 'cancel'",
        "where q.partition = r.partition and q.run_id = r.id and q.kind = 'never'",
        api("runs", "cancelling_twice_writes_one_request_and_an_ended_run_cannot_be_cancelled"),
    ),
    bug(
        "held runs start beside the one that goes on",
        f"{SQL}/requests.sql",
        "where o.workflow = h.workflow and o.state in ('pending', 'running') and not o.held",
        "where o.workflow = h.workflow and o.state in ('running') and not o.held",
        tick("a_held_run_is_started_when_the_run_before_ended_unseen"),
    ),
    bug(
        "a key answers a run of other params",
        "shared/freshet/storage/requests.py",
        'if earlier["params"] != dict(run.params):',
        "if not earlier:",
        api("runs", "the_same_idempotency_key_answers_the_same_run"),
    ),
    bug(
        "a rerun founds a group of its own",
        f"{API}/starting.py",
        'group_id=old["group_id"],',
        "group_id=None,",
        api("runs", "a_rerun_is_a_new_run_on_the_pinned_version_in_the_same_group"),
    ),
    bug(
        "a rerun reads the newest document",
        f"{API}/starting.py",
        'compiled(door.definitions.get(old["workflow"], old["version"]))',
        'compiled(door.definitions.get(old["workflow"]))',
        api("runs", "a_run_of_a_deleted_workflow_can_run_again"),
    ),
    bug(
        "a rerun runs the newest version",
        f"{API}/starting.py",
        'version=old["version"],',
        'version=door.definitions.get(old["workflow"])["version"],',
        api("runs", "a_rerun_is_a_new_run_on_the_pinned_version_in_the_same_group"),
    ),
    bug(
        "a rerun forgets what comes after",
        f"{API}/starting.py",
        "again = chosen | graph.descendants(workflow.tasks, chosen) | finals",
        "again = chosen | finals",
        api("runs", "a_rerun_repeats_what_was_asked_for_and_all_that_did_not_succeed"),
    ),
    bug(
        "recorded while a fact is on its way",
        f"{SQL}/reads.sql",
        "as recorded\nfrom engine.run as r\nleft join",
        "or true as recorded\nfrom engine.run as r\nleft join",
        api("runs", "a_run_is_recorded_when_its_end_is_logged_and_nothing_is_on_its_way"),
    ),
    bug(
        "the anchor moves with each apply",
        "shared/freshet/storage/definitions.py",
        'anchor = row["anchor"] if row else now',
        "anchor = now",
        api("workflows", "an_interval_keeps_its_anchor_and_its_next_tick_over_applies"),
    ),
    bug(
        "resuming makes up for the pause",
        "shared/freshet/storage/definitions.py",
        '{"name": name, "paused": False, "next_fire_at": tick}',
        '{"name": name, "paused": False, "next_fire_at": None}',
        api("workflows", "pausing_stops_the_clock_and_resuming_starts_it_from_now"),
    ),
    bug(
        "versions are compared as text",
        f"{API}/applying.py",
        "return max(versions, key=_order, default=None)",
        "return max(versions, default=None)",
        api("workflows", "a_process_without_a_version_gets_the_newest_that_a_worker_declared"),
    ),
    bug(
        "an event starts its runs again",
        "shared/freshet/storage/external_events.py",
        "fresh = [event for event in unique if event.key in new]",
        "fresh = unique",
        api("events_in", "an_event_sent_three_times_starts_one_run"),
    ),
    bug(
        "a condition that is not true is taken for true",
        f"{API}/starting.py",
        '.evaluate({"event": event.body}) is True',
        '.evaluate({"event": event.body}) is not None',
        api("events_in", "conditions_choose_and_params_are_mapped"),
    ),
    bug(
        "any token will do",
        f"{API}/strict_route.py",
        "if token and (keeper.knows(token) or await run_in_threadpool(keeper.finds, token)):",
        "if token:",
        api("problems", "without_a_token_nothing_is_answered"),
    ),
    bug(
        "a body is read to its end before it is refused",
        f"{API}/strict_route.py",
        "            if len(chunks) > limit:",
        "            if len(chunks) > 1000 * limit:",
        api("problems", "a_body_beyond_the_limit_is_refused"),
    ),
    bug(
        "whole numbers are rounded",
        "shared/freshet/events/storable.py",
        "if _LONG.search(body):",
        "if not body:",
        api("problems", "numbers_that_no_column_holds_are_refused"),
    ),
    bug(
        "an unfolded end is shown as queued",
        f"{SQL}/items.sql",
        "when a.item is null then 'running'",
        "when a.item is null then 'queued'",
        api("items", "states_of_items_are_derived_from_bundle_and_window"),
    ),
    bug(
        "ended items of a bundle count as active",
        f"{SQL}/items.sql",
        "unnest(b.items[b.done + 1 :])",
        "unnest(b.items[b.done + 2 :])",
        api("items", "states_of_items_are_derived_from_bundle_and_window"),
    ),
    bug(
        "a page of items begins with the last one's end",
        f"{SQL}/items.sql",
        "then %(after_index)s::bigint + 1\n            else 0",
        "then %(after_index)s::bigint\n            else 0",
        api("items", "every_item_of_every_scope_is_listed_once"),
    ),
    bug(
        "a copied task's result is looked for in its own items",
        f"{SQL}/reads.sql",
        "where i.id = coalesce(t.copied_from, t.id) << 24",
        "where i.id = t.id << 24",
        api("items", "a_copied_tasks_result_is_that_of_the_first_run"),
    ),
    bug(
        "rows of one second are left out between pages",
        "shared/freshet/storage/tables.py",
        "return TablePlace(at=at, skip=same + earlier)",
        "return TablePlace(at=at, skip=same)",
        api("fleet", "every_row_of_a_table_is_shown_once_newest_first"),
    ),
    bug(
        "a client that comes back is told everything again",
        f"{API}/server_sent_events.py",
        'start = self.last or _before(run["created_at"])',
        'start = _before(run["created_at"])',
        api("live_feed", "last_event_id_goes_on_where_a_client_was_cut_off"),
    ),
    bug(
        "the stream ends before the run is recorded",
        f"{API}/server_sent_events.py",
        'if run["recorded"] or not is_final(RunState(run["state"])):',
        "if run:",
        api("live_feed", "the_stream_waits_until_the_run_is_recorded"),
    ),
    bug(
        "the next tick is not written down",
        "shared/freshet/scheduling/tick.py",
        '        due.advance(row["workflow"], following)\n',
        "",
        tick("a_due_tick_makes_a_run_with_its_defaults_and_the_next_tick"),
    ),
    bug(
        "a tick's run has no origin",
        "shared/freshet/scheduling/tick.py",
        'origin=schedule_origin(row["workflow"], tick),',
        "origin=None,",
        tick("the_same_tick_again_makes_no_second_run_though_the_row_forgot"),
    ),
    bug(
        "a tick runs beside another run",
        "shared/freshet/scheduling/tick.py",
        'busy=due.active_runs(row["workflow"]) > 0',
        "busy=False",
        tick("a_tick_during_a_run_is_skipped_and_its_fact_is_told"),
    ),
    bug(
        "ticks made up for are passed over",
        "shared/freshet/scheduling/tick.py",
        "(schedule.catch_up is CatchUp.ALL and len(runs) > 1)",
        "len(runs) > 1000",
        tick("ticks_made_up_for_run_one_after_the_other_unless_they_may_overlap"),
    ),
    bug(
        "one broken schedule stops all",
        "shared/freshet/scheduling/tick.py",
        "        except (UnreachableError, StatementError):\n"
        "            raise  # that is the server's trouble, not this row's: it is tried again\n"
        "        except Exception as error:",
        "        except UnreachableError as error:",
        tick("a_schedule_that_cannot_tick_is_set_aside_and_the_others_go_on"),
    ),
    bug(
        "a time that comes twice fires twice",
        "shared/freshet/scheduling/clockwork.py",
        "moment = moment.astimezone(UTC)\n        for tick in CronSim(expression, moment.astimezone(zone)):",
        "moment = moment.astimezone(UTC)\n"
        "        for tick in CronSim(expression, moment.astimezone(zone).replace(tzinfo=None)):\n"
        "            tick = tick.replace(tzinfo=zone)",
        ("tests/scheduling/test_clockwork.py",),
    ),
    bug(
        "an id that is not its own",
        "shared/freshet/events/envelope.py",
        'parts = (fact["run_id"], fact["task"], path, index, attempt, fact.get("claim"), state)',
        'parts = (fact["run_id"], fact["task"], path, index, fact.get("claim"), state)',
        ("tests/events/test_envelope.py",),
    ),
)
