"""Bugs for the proofs: interleavings and half-guards that an example-based test easily misses.

A bug of SQL stands here twice, in the SQL (for the model) and in its twin (for the simulator).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SQL = "shared/freshet/storage/functions"
TWINS = "shared/freshet/testing/twins"
ENGINE = "shared/freshet/engine"
WORK = "shared/freshet/execution"
DOMAIN = "shared/freshet/domain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """`old` stands exactly once in `file` and becomes `new`."""

    file: str  # from the root of the repository
    old: str
    new: str

    def fits(self, root: Path) -> bool:
        return (root / self.file).read_text(encoding="utf-8").count(self.old) == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Bug:
    """Edits that make one bug."""

    name: str
    edits: tuple[Edit, ...]

    def fits(self, root: Path) -> bool:
        return all(edit.fits(root) for edit in self.edits)


def lines(*each: str) -> str:
    return "".join(f"{line}\n" for line in each)


def bug(name: str, *edits: tuple[str, str, str]) -> Bug:
    return Bug(name=name, edits=tuple(Edit(file=file, old=old, new=new) for file, old, new in edits))


BUGS = (
    bug(
        "a claim without compare-and-set",
        (
            f"{SQL}/engine_claim.sql",
            "where id = bundle_id and claim is null and submitted_at is null and due_at is null",
            "where id = bundle_id and submitted_at is null and due_at is null",
        ),
        (
            f"{TWINS}/fence.py",
            lines(
                "    if bundle.claim is not None:",
                "        return bundle if (bundle.claim, bundle.worker) == (token, worker) else None",
            ),
            "",
        ),
    ),
    bug(
        "a finish that looks at the bundle and not at the token",
        (
            f"{SQL}/engine_finish.sql",
            "where id = bundle_id and claim = token and cardinality(items) - done = n",
            "where id = bundle_id and cardinality(items) - done = n",
        ),
        (
            f"{TWINS}/fence.py",
            "if bundle is None or bundle.claim != token or not 0 < len(body) <= bundle.left:",
            "if bundle is None or not 0 < len(body) <= bundle.left:",
        ),
    ),
    bug(
        "a sweep that begins from 0 again, not from what was reported",
        (
            f"{SQL}/engine_end_bundles.sql",
            lines(
                "'Worker %s was lost.', g.worker))) order by k)",
            )
            + "        from generate_series(g.done + 1,",
            lines(
                "'Worker %s was lost.', g.worker))) order by k)",
            )
            + "        from generate_series(1,",
        ),
        (
            f"{TWINS}/ending.py",
            "left = range(bundle.done, len(bundle.items))",
            "left = range(0, len(bundle.items))",
        ),
    ),
    bug(
        "fan-in counts what was reported, not what came back",
        (
            f"{SQL}/engine_take.sql",
            "from moved group by task_run_id",
            "from outcome where s = 'succeeded' group by task_run_id",
        ),
    ),
    bug(
        "a failed try keeps its number",
        (
            f"{DOMAIN}/item_step.py",
            lines(
                "            attempt=item.attempt + 1,",
            )
            + "            failures=failures,",
            lines(
                "            attempt=item.attempt,",
            )
            + "            failures=failures,",
        ),
    ),
    bug(
        "an ended job is tried again under the same number",
        (
            f"{DOMAIN}/item_step.py",
            lines(
                "        attempt=item.attempt + 1,",
            )
            + "        failures=item.failures,",
            lines(
                "        attempt=item.attempt,",
            )
            + "        failures=item.failures,",
        ),
    ),
    bug(
        "one witness is taken for death",
        (
            f"{ENGINE}/witness.py",
            "            return now - silence.heard >= self.patience.lease\n",
            "            return True\n",
        ),
    ),
    bug(
        "a flush is taken for the death of all workers' heartbeats and sessions alike",
        (
            f"{ENGINE}/ring.py",
            "dead = set(self._judge.dead(suspects, witnessed))",
            "dead = set(suspects)",
        ),
    ),
    bug(
        "facts outlive a batch that is rolled back",
        (
            f"{TWINS}/tables.py",
            lines(
                "        for table in self._all.values():",
            )
            + "            table.clear()",
            lines(
                "        saved = [(table, rows) for table, rows in saved if table is not self.outbox]",
                "        for table in self._all.values():",
                "            if table is self.outbox:",
                "                continue",
            )
            + "            table.clear()",
        ),
    ),
    bug(
        "a lost answer to a claim is asked again under another token",
        (
            f"{WORK}/supervisor.py",
            "        bundle, claim = self._popped\n",
            "        bundle, claim = self._popped[0], self.new_claim()\n",
        ),
    ),
    bug(
        "an outcome is dropped before it is committed",
        (
            f"{WORK}/ledger.py",
            lines(
                "        self._store.finish(self._bundle, self._claim, [orjson.Fragment(body) for body in outcomes])",
                "        self._drop(len(outcomes))",
            ),
            lines(
                "        bodies = [orjson.Fragment(body) for body in outcomes]",
                "        self._drop(len(outcomes))",
                "        self._store.finish(self._bundle, self._claim, bodies)",
            ),
        ),
    ),
    bug(
        "a lost message is not looked for",
        (
            f"{ENGINE}/refill.py",
            "                found += self._store.unpublish(sorted(lost)) if lost else 0\n",
            "                found += len(lost)\n",
        ),
    ),
    bug(
        "asking twice under one origin makes two runs",
        (
            "shared/freshet/storage/requests.py",
            lines(
                '        "origin": run.origin,',
            )
            + '        "params": dict(run.params),',
            lines(
                '        "origin": None,',
            )
            + '        "params": dict(run.params),',
        ),
        (
            f"{TWINS}/new_runs.py",
            "        origin=run.origin,\n",
            "        origin=None,\n",
        ),
    ),
    bug(
        "the reaper takes a job for nobody's while its report waits",
        (
            f"{WORK}/reaper.py",
            "return [job for job in jobs if job.name in runs and job.name not in owned]",
            "return [job for job in jobs if job.name in runs]",
        ),
    ),
    bug(
        "a job is named by its claim, not by its attempt",
        (
            f"{WORK}/job_service.py",
            lines(
                "preparation.run_id, preparation.task.path, prepared.index, prepared.attempt",
            )
            + "        )",
            lines(
                "preparation.run_id, preparation.task.path, prepared.index, int(claimed.claim) % 9973",
            )
            + "        )",
        ),
    ),
    bug(
        "losses are charged as failures",
        (
            f"{DOMAIN}/item_step.py",
            lines(
                "        case Verdict.LOST:",
                "            return _after_loss(item, outcome)",
            ),
            lines(
                "        case Verdict.LOST:",
                "            return _after_failure(item, outcome, policy, draw)",
            ),
        ),
    ),
    bug(
        "a cancel leaves queued work alone",
        (
            f"{ENGINE}/run_fold.py",
            lines(
                "        self.decision.stops += self._batch.cancel_bundles(self.run.id, spared=sorted(self._finals))",
            ),
            "",
        ),
    ),
    bug(
        "what is not due yet can be claimed",
        (
            f"{SQL}/engine_claim.sql",
            "where id = bundle_id and claim is null and submitted_at is null and due_at is null",
            "where id = bundle_id and claim is null and submitted_at is null",
        ),
    ),
    bug(
        "facts are deleted in one transaction and recorded in the next",
        (
            f"{TWINS}/recording.py",
            lines(
                "        self._log.write(projected)",
                "        for row in rows:",
                "            del self._tables.outbox[row.id]",
            ),
            lines(
                "        for row in rows:",
                "            del self._tables.outbox[row.id]",
                '        self._passage.enter("record.second")',
                "        self._log.write(projected)",
            ),
        ),
    ),
    bug(
        "the graph is settled in one pass",
        (
            f"{DOMAIN}/settle.py",
            "work.append(child)",
            "pass",
        ),
    ),
    bug(
        "a sweep that reads the bundles and their reports in one statement, then deletes",
        (
            f"{SQL}/engine_end_bundles.sql",
            lines(
                "    with gone as (",
                (
                    "        delete from engine.bundle b where b.worker = any (p_workers) and "
                    "b.claim is not null returning b.*"
                ),
            )
            + "    )",
            lines(
                "    with gone as (",
                "        select b.* from engine.bundle b where b.worker = any (p_workers) and b.claim is not null",
                "            and not exists (select from engine.report r where r.bundle_id = b.id)",
                "    ),",
                "    deleted as (",
                "        delete from engine.bundle b using gone where b.id = gone.id",
            )
            + "    )",
        ),
    ),
    bug(
        "runs are locked and loaded in one statement",
        (
            f"{SQL}/engine_take.sql",
            lines(
                "    select coalesce(array_agg(id), '{}') into v_runs",
                (
                    "    from (select id from engine.run where id = any (v_runs) order by id"
                    " for update skip locked) locked;"
                ),
            ),
            lines(
                "    select coalesce(array_agg(id), '{}'),",
                "        coalesce(set_config('freshet.seen', jsonb_agg(seen)::text, true), '')",
                "    into v_runs",
                "    from (",
                "        select r.id, (select to_jsonb(s) - 'partition' from engine.run s where s.id = r.id) as seen",
                "        from engine.run r where r.id = any (v_runs) order by r.id for update",
                "    ) locked;",
            ),
        ),
        (
            f"{SQL}/engine_take.sql",
            lines(
                "        'runs', (",
                "            select coalesce(jsonb_agg(to_jsonb(r) - 'partition' order by r.id), '[]')",
                "            from engine.run r where r.id = any (v_runs)",
                "        ),",
            ),
            "        'runs', coalesce(nullif(current_setting('freshet.seen'), ''), '[]')::jsonb,\n",
        ),
    ),
    bug(
        "a cancel overrides reports that were committed",
        (
            f"{SQL}/engine_end_bundles.sql",
            lines(
                "    with gone as (",
                "        delete from engine.bundle b",
            )
            + "        where b.run_id = p_run",
            lines(
                "    with overridden as (",
                "        update engine.report r set body = (",
                '            select jsonb_agg(o || \'{"s": "cancelled"}\') from jsonb_array_elements(r.body) o)',
                "        where r.run_id = p_run",
                "    ),",
                "    gone as (",
                "        delete from engine.bundle b",
            )
            + "        where b.run_id = p_run",
        ),
    ),
    bug(
        "a rerun runs again what had succeeded",
        (
            f"{ENGINE}/run_fold.py",
            "if self.run.rerun_of is not None and self.run.rerun_tasks is not None:",
            "if False:",
        ),
    ),
    bug(
        "a rerun of what failed chooses what succeeded as well",
        (
            "services/api/freshet_api/starting.py",
            "failed = {task.name for task in workflow.tasks if states.get(task.name) is not TaskState.SUCCEEDED}",
            "failed = {task.name for task in workflow.tasks}",
        ),
    ),
    bug(
        "skipped counts as good",
        (
            f"{DOMAIN}/settle.py",
            "    return parent.state is TaskState.SUCCEEDED\n",
            "    return parent.state in {TaskState.SUCCEEDED, TaskState.SKIPPED}\n",
        ),
    ),
    bug(
        "a map is expanded twice",
        (
            f"{ENGINE}/run_fold.py",
            "        width = self._expansion.expand(loaded, scope)\n",
            lines(
                "        self._expansion.expand(loaded, scope)",
                "        width = self._expansion.expand(loaded, scope)",
            ),
        ),
    ),
    bug(
        "a held run is released beside another",
        (
            f"{SQL}/engine_put.sql",
            lines(
                "        and not exists (",
                "            select from engine.run",
                "            where workflow = v_workflow and not held and state in ('pending', 'running'))",
            ),
            "",
        ),
    ),
    bug(
        "two runs that end at once do not see each other",
        (
            f"{SQL}/engine_put.sql",
            "        perform from engine.workflow where name = v_workflow for no key update;\n",
            "",
        ),
    ),
    bug(
        "a held run is released twice",
        (
            f"{SQL}/engine_put.sql",
            "        update engine.run r set held = false\n",
            "        update engine.run r set held = r.held\n",
        ),
    ),
    bug(
        "what failed is tried again after the cancel",
        (
            f"{ENGINE}/outcomes.py",
            "if last and not isinstance(step, End):",
            "if False:",
        ),
    ),
    bug(
        "a scope ends twice",
        (
            f"{ENGINE}/run_fold.py",
            "if scope.element is None else scope.was_final",
            "if scope.element is None else False",
        ),
    ),
    bug(
        "a part of a scope is taken for all of it",
        (
            f"{ENGINE}/loaded.py",
            "return len(self.tasks) == self.width",
            "return bool(self.tasks)",
        ),
    ),
    bug(
        "what is skipped does not bring its children into sight",
        (
            f"{ENGINE}/reach.py",
            "if loaded.fell and name not in scope.followed]",
            "if loaded.fell and name in scope.followed]",
        ),
    ),
    bug(
        "a cancel ends what is within a finally task",
        (
            f"{ENGINE}/run_fold.py",
            'path.partition(".")[0] not in self._finals',
            "path not in self._finals",
        ),
    ),
    bug(
        "a failure that is told twice is decided twice",
        (
            f"{SQL}/engine_take.sql",
            "select distinct on (o.i, o.a) o.* from outcome o where o.s <> 'succeeded' order by o.i, o.a, o.report",
            "select o.* from outcome o where o.s <> 'succeeded'",
        ),
    ),
    bug(
        "a held run that is cancelled stays held",
        (
            f"{SQL}/engine_put.sql",
            "held = r.held and not coalesce(c.cancel, false),",
            "held = r.held,",
        ),
    ),
    bug(
        "a death charges the first of those that shared a transaction",
        (
            f"{WORK}/bundle_run.py",
            lines(
                "        self._logs.end()",
                "        if self._held:",
                "            self._renew_apart()",
                "            return",
                "        self._fail(",
            ).rstrip("\n"),
            lines("        self._logs.end()", "        self._fail(").rstrip("\n"),
        ),
    ),
    bug(
        "what shares a transaction is told before it is committed",
        (
            f"{WORK}/shared_turns.py",
            "return self._hold(held) if self._session.begun else self._send([held], committed=False)",
            "return self._send([held], committed=False)",
        ),
    ),
    bug(
        "what a failed item wrote stays in the transaction that it shared",
        (
            f"{WORK}/shared_turns.py",
            'self._session.leave(keep=outcome.status == "succeeded")',
            "self._session.leave(keep=True)",
        ),
    ),
)
