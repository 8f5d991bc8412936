"""Bugs of the pure core."""

from __future__ import annotations

from .mutant import Mutant

DOMAIN = "shared/freshet/domain"
SETTLE = (f"{DOMAIN}/settle.py", ("tests/domain/test_settle.py", "tests/domain/test_settle_laws.py"))
STEP = (f"{DOMAIN}/item_step.py", ("tests/domain/test_item_step.py",))
RETRY = (f"{DOMAIN}/retry.py", ("tests/domain/test_retry.py",))
STATES = (f"{DOMAIN}/states.py", ("tests/domain/test_states.py",))
GRAPH = (f"{DOMAIN}/graph.py", ("tests/domain/test_graph.py",))
REFERENCES = (f"{DOMAIN}/references.py", ("tests/domain/test_graph.py",))
SIZING = (f"{DOMAIN}/sizing.py", ("tests/domain/test_sizing.py",))
SCHEDULE = (f"{DOMAIN}/schedule.py", ("tests/domain/test_schedule.py",))
PAYLOAD = (f"{DOMAIN}/payload.py", ("tests/domain/test_payload.py",))

Where = tuple[str, tuple[str, ...]]


def bug(name: str, where: Where, old: str, new: str) -> Mutant:
    file, tests = where
    return Mutant(name=name, file=file, old=old, new=new, tests=tests)


MUTANTS = (
    bug("one pass instead of a fixed point", SETTLE, "work.append(child)", "pass"),
    bug("fan-in fires with one parent missing", SETTLE, "ready=not awaited[name]", "ready=awaited[name] <= 1"),
    bug("fan-in forgets a parent that ended", SETTLE, "awaited[child] -= 1", "awaited[child] -= 0"),
    bug(
        "skipped counts as good",
        SETTLE,
        "    return parent.state is TaskState.SUCCEEDED\n",
        "    return parent.state in {TaskState.SUCCEEDED, TaskState.SKIPPED}\n",
    ),
    bug(
        "continue ignored for the children",
        SETTLE,
        "return parent.task.on_failure is OnFailure.CONTINUE",
        "return False",
    ),
    bug(
        "continue ignored for the run's outcome",
        SETTLE,
        "(final or node.task.on_failure is OnFailure.BLOCK)",
        "True",
    ),
    bug("continue excuses a finally task", SETTLE, "(final or node.task", "(node.task"),
    bug(
        "any_failed overlooks a failure under continue",
        SETTLE,
        "any(parent.state is TaskState.FAILED for parent in parents)",
        "any(parent.state is TaskState.FAILED and not _good(parent) for parent in parents)",
    ),
    bug(
        "any_succeeded takes a good failure for a success",
        SETTLE,
        "any(parent.state is TaskState.SUCCEEDED for parent in parents)",
        "any(_good(parent) for parent in parents)",
    ),
    bug(
        "all_done asks for success",
        SETTLE,
        "            return True\n",
        "            return all(map(_good, parents))\n",
    ),
    bug(
        "finally tasks do not run on cancel",
        SETTLE,
        "    _settle_finals(after, finals, complete=complete)\n",
        "    if not cancelled:\n        _settle_finals(after, finals, complete=complete)\n",
    ),
    bug("cancel ends finally tasks", SETTLE, "deque(name for name in nodes if name not in finals)", "deque(nodes)"),
    bug(
        "finally tasks start before the others have ended",
        SETTLE,
        "ready = complete and all(is_final(node.state)",
        "ready = complete and any(is_final(node.state)",
    ),
    bug("empty map never ends", SETTLE, "if node.ended < node.total:", "if node.ended < max(node.total, 1):"),
    bug("map ends with one item missing", SETTLE, "if node.ended < node.total:", "if node.ended < node.total - 1:"),
    bug(
        "map that failed in part has succeeded", SETTLE, "    if node.failed:\n", "    if node.failed == node.total:\n"
    ),
    bug("cancelled items are overlooked", SETTLE, "    if node.cancelled:\n", "    if False:\n"),
    bug("counted too often goes unseen", SETTLE, "if node.ended > node.total:", "if False:"),
    bug(
        "cancel lets pending tasks start",
        SETTLE,
        "if node.state is TaskState.PENDING and cancelled:",
        "if False:",
    ),
    bug(
        "cancel leaves an unexpanded map for ever",
        SETTLE,
        "if node.state is TaskState.RUNNING and cancelled and node.total is None:",
        "if False:",
    ),
    bug(
        "run ends while a task runs",
        SETTLE,
        "    if not all(is_final(node.state)",
        "    if not any(is_final(node.state)",
    ),
    bug(
        "cancelled run has succeeded",
        SETTLE,
        "RunState.CANCELLED if cancelled else",
        "RunState.CANCELLED if False else",
    ),
    bug("started plain task has no item", SETTLE, "total=1 if node.plain else None", "total=None"),
    bug("attempts off by one", STEP, "if failures <= policy.limit:", "if failures < policy.limit:"),
    bug("one retry too many", STEP, "if failures <= policy.limit:", "if failures <= policy.limit + 1:"),
    bug(
        "retry keeps its attempt number",
        STEP,
        "attempt=item.attempt + 1,\n            failures=failures",
        "attempt=item.attempt,\n            failures=failures",
    ),
    bug("timed-out item ends as failed", STEP, "ItemState.EXPIRED if outcome", "ItemState.FAILED if outcome"),
    bug("losses never end", STEP, "if losses >= LOSS_LIMIT:", "if False:"),
    bug("sixth loss instead of the fifth", STEP, "if losses >= LOSS_LIMIT:", "if losses > LOSS_LIMIT:"),
    bug("lost bundle charges everybody", STEP, "item.losses + outcome.charged", "item.losses + 1"),
    bug("failure does not break the row of losses", STEP, "losses=0,", "losses=item.losses,"),
    bug("ended job is watched again", STEP, "if not outcome.ended:", "if True:"),
    bug(
        "loss uses up a retry",
        STEP,
        "failures=item.failures,\n        losses=losses",
        "failures=item.failures + 1,\n        losses=losses",
    ),
    bug(
        "hand-back breaks the row of losses",
        STEP,
        "return _requeue(item, handbacks=",
        "return _requeue(item, losses=0, handbacks=",
    ),
    bug("hand-backs wait the same each time", STEP, "delay=backoff(item.handbacks + 1)", "delay=backoff(1)"),
    bug(
        "drained worker's item waits",
        STEP,
        "        return _requeue(item)\n",
        "        return _requeue(item, delay=1.0)\n",
    ),
    bug("jitter ignored", RETRY, "min(base * spread, policy.cap)", "min(base, policy.cap)"),
    bug("cap ignored", RETRY, "min(base * spread, policy.cap)", "base * spread"),
    bug("capped delays are not spread", RETRY, "min(_grown(policy, failures), policy.cap)", "_grown(policy, failures)"),
    bug("delay grows one step early", RETRY, "** (failures - 1)", "** failures"),
    bug("hand-back waits for ever longer", RETRY, "min(BACKOFF_CAP, BACKOFF_FIRST", "max(BACKOFF_FIRST, BACKOFF_FIRST"),
    bug("success can be undone", STATES, "    I.SUCCEEDED: {},\n", "    I.SUCCEEDED: {ItemEvent.FAILED: I.FAILED},\n"),
    bug("handed-back item runs on", STATES, "ItemEvent.HANDED_BACK: I.QUEUED", "ItemEvent.HANDED_BACK: I.RUNNING"),
    bug("lost watch loses the item", STATES, "        ItemEvent.WATCH_LOST: I.QUEUED,\n", ""),
    bug(
        "event of another machine is taken", STATES, "if type(event) is machine.events else None", "if event else None"
    ),
    bug("result of a fanned-out task is taken", GRAPH, "    elif inner.mapped:\n", "    elif False:\n"),
    bug(
        "list of a task beside is taken",
        GRAPH,
        "if reader is not None and name not in _reached",
        "if False and name not in _reached",
    ),
    bug("finally task clashes with a task", GRAPH, "if scope.final and scope.outer else set()", "if False else set()"),
    bug("names may go on in a second line", GRAPH, "NAME.fullmatch(", "NAME.match("),
    bug("cycle is told backwards", GRAPH, "ring = names[1:]", "ring = names[:0:-1]"),
    bug("pointer is not escaped", GRAPH, '.replace("/", "~1")', ""),
    bug(
        "name in a text is taken for a reference",
        REFERENCES,
        """    | "(?:\\\\.|[^"\\\\])*" | '(?:\\\\.|[^'\\\\])*'\n""",
        "",
    ),
    bug("bundle goes beyond the map's end", SIZING, "min(limit - in_flight, remaining)", "limit - in_flight"),
    bug("plan goes above the window", SIZING, "min(limit - in_flight, remaining)", "min(limit, remaining)"),
    bug(
        "first worker takes all that is left",
        SIZING,
        "max(1, min(size, max(share, int(LITTLE / max(mean_s, 1e-6)))))",
        "max(1, size)",
    ),
    bug(
        "probes are never made again",
        SIZING,
        "SHARE * max(1, workers) - in_flight",
        "SHARE * max(1, workers) - in_flight - mark",
    ),
    bug("probes go in a bundle", SIZING, "if measured == 0 or mean_s is None:", "if mean_s is None:"),
    bug("refill at every end", SIZING, "if 2 * in_flight >= limit:", "if in_flight >= limit:"),
    bug(
        "interval drifts with late passes",
        SCHEDULE,
        "following = next_after(ticks[-1])",
        "following = now + (next_after(ticks[-1]) - ticks[-1])",
    ),
    bug(
        "missed ticks fire under none",
        SCHEDULE,
        "return next_fire if now - next_fire < tolerance",
        "return next_fire if True",
    ),
    bug("late tick is dropped", SCHEDULE, "else next_after(now - tolerance)", "else next_after(now)"),
    bug("oldest missed tick fires under latest", SCHEDULE, "            tick = late\n", "            break\n"),
    bug(
        "catching up knows no bound",
        SCHEDULE,
        "islice(_ticks(first, now, next_after), TICK_BOUND)",
        "_ticks(first, now, next_after)",
    ),
    bug("backfill leaves its start", SCHEDULE, "next_after(start - timedelta.resolution)", "next_after(start)"),
    bug("single parent comes in an object", PAYLOAD, "if len(task.after) == 1:", "if False:"),
    bug("null element is taken for none", PAYLOAD, "if element is MISSING", "if element in (MISSING, None)"),
    bug("skipped parent is left out", PAYLOAD, "for name in task.after}", "for name in task.after if name in parents}"),
)
