from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshet.domain.errors import DefinitionError, GraphError
from freshet.domain.graph import MAX_DEPTH, ancestors, descendants, order, problems, validate
from freshet.domain.model import JobServiceSpec, Kind, RetryPolicy, RunIf, Task, Workflow
from freshet.domain.references import names_read

from .build import mapped, nested, task, workflow

LIST = "tasks.assign.result"
assign = task("assign")


def job(name: str, *after: str, **fields: object) -> Task:
    spec = JobServiceSpec(image="/db/schema/repo/train:1", compute_pool="POOL", **fields)  # type: ignore[arg-type]
    return task(name, *after, kind=Kind.JOB_SERVICE, job_service=spec)


def nest(depth: int) -> Task:
    tasks: tuple[Task, ...] = (task("leaf"),)
    for level in range(depth, 0, -1):
        tasks = (nested(f"m{level}", tasks=tasks, path=".".join(f"m{each}" for each in range(1, level + 1))),)
    return tasks[0]


BROKEN: dict[str, tuple[Workflow, str, str, str]] = {
    "no tasks": (workflow(), "empty_workflow", "/tasks", "at least one task"),
    "cycle": (
        workflow(task("a", "c"), task("b", "a"), task("c", "b")),
        "cycle",
        "/tasks/a/after/0",
        "These tasks wait for one another: a → b → c → a.",
    ),
    "cycle beside sound tasks": (
        workflow(task("x"), task("a", "x", "b"), task("b", "x", "a")),
        "cycle",
        "/tasks/a/after/1",
        "a → b → a",
    ),
    "cycle in a scope": (
        workflow(nested("m", tasks=(task("a", "b"), task("b", "a")))),
        "cycle",
        "/tasks/m/tasks/a/after/0",
        "a → b → a",
    ),
    "unknown parent": (workflow(task("a"), task("b", "a", "z")), "unknown_parent", "/tasks/b/after/1", "after z"),
    "parent of an outer scope": (
        workflow(assign, nested("m", "assign", tasks=(task("a", "assign", path="m.a"),))),
        "unknown_parent",
        "/tasks/m/tasks/a/after/0",
        "m.a runs after assign, which is not in its scope",
    ),
    "own parent": (workflow(task("a", "a")), "self_parent", "/tasks/a/after/0", "a cannot run after itself"),
    "doubled parent": (
        workflow(task("a"), task("b"), task("c", "a", "b", "a")),
        "duplicate_parent",
        "/tasks/c/after/2",
        "names its parent a twice",
    ),
    "doubled task": (workflow(task("a"), task("a")), "duplicate_task", "/tasks/a", "called a"),
    "doubled task in a scope": (
        workflow(nested("m", tasks=(task("a"), task("a")))),
        "duplicate_task",
        "/tasks/m/tasks/a",
        "called a",
    ),
    "finally task of a task's name": (
        workflow(task("a"), finals=(task("a"),)),
        "duplicate_task",
        "/finally/a",
        "called a",
    ),
    "dotted name": (workflow(task("a.b")), "bad_name", "/tasks/a.b", "'a.b' cannot name a task"),
    "name that begins with a digit": (workflow(task("1a")), "bad_name", "/tasks/1a", "begin with a letter"),
    "empty name": (workflow(task("")), "bad_name", "/tasks/", "'' cannot name"),
    "name that a pointer has to escape": (workflow(task("a/b~c")), "bad_name", "/tasks/a~1b~0c", "'a/b~c'"),
    "name with a line's end": (workflow(task("a\n")), "bad_name", "/tasks/a\n", "cannot name"),
    "finally task with a parent": (
        workflow(task("a"), finals=(task("b", "a"),)),
        "final_with_parents",
        "/finally/b/after",
        "takes no `after`",
    ),
    "scope without tasks": (workflow(nested("m", tasks=())), "empty_scope", "/tasks/m/tasks", "at least one task"),
    "nested map without a list": (
        workflow(task("m", kind=Kind.MAP, tasks=(task("a"),))),
        "map_without_list",
        "/tasks/m/for_each",
        "needs `for_each`",
    ),
    "result of an unknown task": (
        workflow(nested("m", tasks=(task("a"),), result="b")),
        "unknown_result",
        "/tasks/m/result",
        "no task b",
    ),
    "result of a task that fans out": (
        workflow(nested("m", tasks=(mapped("a"),), result="a")),
        "fanned_out_result",
        "/tasks/m/result",
        "a fans out",
    ),
    "result of a plain task": (
        workflow(task("a", result="b")),
        "result_without_tasks",
        "/tasks/a/result",
        "no tasks of its own",
    ),
    "too deep": (
        workflow(nest(MAX_DEPTH + 1)),
        "nested_too_deep",
        "/tasks/m1/tasks/m2/tasks/m3/tasks/m4/tasks",
        "m1.m2.m3.m4 is number 4",
    ),
    "far too deep": (workflow(nest(500)), "nested_too_deep", "/tasks/m1/tasks/m2/tasks/m3/tasks/m4/tasks", "3 are"),
    "list of an unknown task": (
        workflow(mapped("a", for_each="tasks.z.result")),
        "unknown_reference",
        "/tasks/a/for_each",
        "reads tasks.z, but no scope around it",
    ),
    "list of a task beside": (
        workflow(assign, mapped("a", for_each=LIST)),
        "not_upstream",
        "/tasks/a/for_each",
        "reads tasks.assign, which does not come before a: name it in `after`",
    ),
    "list of a task after": (
        workflow(mapped("a", for_each="tasks.b.result"), task("b", "a")),
        "not_upstream",
        "/tasks/a/for_each",
        "tasks.b",
    ),
    "list of itself": (
        workflow(mapped("a", for_each="tasks.a.result")),
        "not_upstream",
        "/tasks/a/for_each",
        "before a has ended",
    ),
    "list of a task that the map around does not wait for": (
        workflow(assign, nested("m", tasks=(mapped("a", for_each=LIST, path="m.a"),))),
        "not_upstream",
        "/tasks/m/tasks/a/for_each",
        "Task m.a reads tasks.assign, which does not come before m",
    ),
    "list of a nearer task of the same name": (
        workflow(assign, nested("m", "assign", tasks=(assign, mapped("a", for_each=LIST)))),
        "not_upstream",
        "/tasks/m/tasks/a/for_each",
        "does not come before a",
    ),
    "input of a task beside": (
        workflow(assign, task("a", input="[tasks['assign'].result]")),
        "not_upstream",
        "/tasks/a/input",
        "tasks.assign",
    ),
    "argument of a task beside": (
        workflow(assign, job("a", args=("--x", "--y=${{ tasks.assign.result }}"))),
        "not_upstream",
        "/tasks/a/job_service/args/1",
        "tasks.assign",
    ),
    "variable of an unknown task": (
        workflow(job("a", env={"A/B": "${{ tasks.z.result }}"})),
        "unknown_reference",
        "/tasks/a/job_service/env/A~1B",
        "tasks.z",
    ),
    "finally task that reads another": (
        workflow(task("a"), finals=(task("b"), task("c", input="tasks.b.result"))),
        "not_upstream",
        "/finally/c/input",
        "tasks.b",
    ),
    "rule that needs a parent": (
        workflow(task("a", run_if=RunIf.ANY_FAILED)),
        "run_if_without_parents",
        "/tasks/a/run_if",
        "`run_if: any_failed` would never let it run",
    ),
    "retries below none": (
        workflow(task("a", retries=RetryPolicy(limit=-1))),
        "out_of_bounds",
        "/tasks/a/retries/limit",
        "`retries.limit` of task a has to be 0 or more",
    ),
    "jitter above one": (
        workflow(task("a", retries=RetryPolicy(jitter=1.5))),
        "out_of_bounds",
        "/tasks/a/retries/jitter",
        "between 0 and 1",
    ),
    "delay that is no number": (
        workflow(task("a", retries=RetryPolicy(delay=float("nan")))),
        "out_of_bounds",
        "/tasks/a/retries/delay",
        "0 seconds or longer",
    ),
    "no time": (workflow(task("a", timeout=0)), "out_of_bounds", "/tasks/a/timeout", "longer than 0 seconds"),
    "no time to start": (
        workflow(job("a", start_timeout=0.0)),
        "out_of_bounds",
        "/tasks/a/job_service/start_timeout",
        "longer than 0 seconds",
    ),
}


@pytest.mark.parametrize(("broken", "code", "pointer", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_graph_is_refused_with_code_pointer_and_sentence(
    broken: Workflow, code: str, pointer: str, words: str
) -> None:
    with pytest.raises(GraphError) as refused:
        validate(broken)
    assert (refused.value.code, refused.value.pointer) == (code, pointer)
    assert words in refused.value.message
    assert isinstance(refused.value, DefinitionError)


@pytest.mark.parametrize(("broken", "code", "pointer", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_one_fault_is_told_once(broken: Workflow, code: str, pointer: str, words: str) -> None:
    assert [(problem.code, problem.pointer) for problem in problems(broken)] == [(code, pointer)]


def test_all_faults_are_told_at_once() -> None:
    found = problems(workflow(task("a", "z"), task("b", "b"), nested("m", tasks=(task("1"),))))
    assert [problem.code for problem in found] == ["unknown_parent", "self_parent", "bad_name"]


SOUND = {
    "pipeline": workflow(assign, mapped("classify", "assign", for_each=LIST), task("merge", "classify")),
    "list of a far ancestor": workflow(assign, task("b", "assign"), mapped("c", "b", for_each=LIST)),
    "list of the run": workflow(nested("m", tasks=(mapped("a", for_each="params.list"),))),
    "list from around the map": workflow(
        assign, nested("m", "assign", tasks=(task("x"), mapped("a", "x", for_each=LIST)))
    ),
    "list from around two maps": workflow(
        assign, nested("m", "assign", tasks=(nested("n", tasks=(mapped("a", for_each=LIST),)),))
    ),
    "quoted name": workflow(task("my-task"), mapped("a", "my-task", for_each='tasks["my-task"].result')),
    "name in a text": workflow(mapped("a", for_each="['tasks.z.result', \"tasks.y\"]")),
    "member of another value": workflow(mapped("a", for_each="params.tasks.z")),
    "script text in an argument": workflow(job("a", args=("tasks.z.result",))),
    "finally task reads the run": workflow(
        assign, task("b"), finals=(task("c", input="[tasks.assign.result, tasks.b.result]"),)
    ),
    "nested map that takes a result": workflow(nested("m", tasks=(mapped("a"), task("b", "a")), result="b")),
    "nested map in the finally section": workflow(
        assign, finals=(nested("m", for_each=LIST, tasks=(task("a", input=LIST),)),)
    ),
    "deepest nesting": workflow(nest(MAX_DEPTH)),
    "same name in two scopes": workflow(task("a"), nested("m", "a", tasks=(task("a"), task("m")))),
    "diamond": workflow(task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c", run_if=RunIf.ANY_FAILED)),
    "rule that always holds": workflow(task("a", run_if=RunIf.ALL_DONE)),
}


@pytest.mark.parametrize("sound", SOUND.values(), ids=SOUND.keys())
def test_sound_graph_is_accepted(sound: Workflow) -> None:
    validate(sound)


def test_chain_of_ten_thousand_is_judged_without_recursion() -> None:
    chain = [task("t0"), *(task(f"t{index}", f"t{index - 1}") for index in range(1, 10_000))]
    validate(workflow(*reversed(chain)))
    assert order(reversed(chain)) == tuple(chain)
    assert len(descendants(chain, ["t0"])) == len(ancestors(chain, ["t9999"])) == 9_999
    ring = [task("t0", "t9999"), *chain[1:]]
    with pytest.raises(GraphError, match=r"t0 → t1 → .* → t9999 → t0"):
        order(ring)


def test_order_puts_parents_first() -> None:
    tasks = (task("d", "b", "c"), task("c", "a"), task("b", "a"), task("a"))
    names = [each.name for each in order(tasks)]
    assert names[0] == "a"
    assert names[-1] == "d"


def test_relatives_are_all_of_them_and_not_oneself() -> None:
    tasks = (task("a"), task("b", "a"), task("c", "b"), task("x"), task("d", "c", "x"))
    assert descendants(tasks, ["b"]) == {"c", "d"}
    assert descendants(tasks, ["b", "c"]) == {"c", "d"}
    assert descendants(tasks, ["d"]) == frozenset()
    assert ancestors(tasks, ["d"]) == {"a", "b", "c", "x"}
    assert ancestors(tasks, ["a", "x"]) == frozenset()


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("tasks.a.result", ("a",)),
        ("tasks . a . result", ("a",)),
        ("tasks[\"a-b\"].result + tasks[ 'c' ].result", ("a-b", "c")),
        ("tasks.a.result.map(x, x + tasks.b.result) + tasks.a.result", ("a", "b")),
        ("params.tasks.a", ()),
        ("subtasks.a", ()),
        ('\'tasks.a\' + "it\\"s tasks.b"', ()),
        ("size(tasks.a.result)", ("a",)),
        ("item", ()),
    ],
)
def test_names_that_an_expression_reads(expression: str, names: tuple[str, ...]) -> None:
    assert names_read(expression) == names


@st.composite
def dags(draw: st.DrawFn) -> tuple[Task, ...]:
    count = draw(st.integers(1, 10))
    tasks = [
        task(f"t{index}", *(f"t{parent}" for parent in range(index) if draw(st.booleans()))) for index in range(count)
    ]
    return tuple(draw(st.permutations(tasks)))


@given(dags())
def test_any_acyclic_graph_is_accepted_and_ordered(tasks: tuple[Task, ...]) -> None:
    validate(workflow(*tasks))
    names = [each.name for each in order(tasks)]
    assert sorted(names) == sorted(each.name for each in tasks)
    assert all(names.index(parent) < names.index(each.name) for each in tasks for parent in each.after)


@given(dags(), st.data())
def test_relatives_are_each_others_mirror(tasks: tuple[Task, ...], data: st.DataObject) -> None:
    one, other = (data.draw(st.sampled_from(tasks)).name for _ in range(2))
    assert (one in ancestors(tasks, [other])) == (other in descendants(tasks, [one]))


@settings(deadline=None)
@given(dags().filter(lambda tasks: any(each.after for each in tasks)), st.data())
def test_named_cycle_is_one(tasks: tuple[Task, ...], data: st.DataObject) -> None:
    child = data.draw(st.sampled_from([each for each in tasks if each.after]))
    start = data.draw(st.sampled_from(sorted(ancestors(tasks, [child.name]))))
    after = {each.name: each.after for each in tasks} | {
        start: (*next(each.after for each in tasks if each.name == start), child.name)
    }
    tasks = tuple(task(name, *parents) for name, parents in after.items())
    with pytest.raises(GraphError) as refused:
        validate(workflow(*tasks))
    ring = refused.value.message.removeprefix("These tasks wait for one another: ").removesuffix(".").split(" → ")
    assert ring[0] == ring[-1]
    assert len(set(ring)) == len(ring) - 1 > 0
    assert all(before in after[name] for before, name in pairwise(ring))
    _, at, name, field, index = refused.value.pointer.split("/")
    assert (at, name, field) == ("tasks", ring[0], "after")
    assert after[name][int(index)] == ring[-2]
