"""What the statements about compute pools do."""

from __future__ import annotations

from typing import Any

from freshet_emulator.errors import SqlError
from freshet_emulator.interpreter.context import Context
from freshet_emulator.results import Result, columns_of, status
from freshet_emulator.spcs.jobs import Job
from freshet_emulator.spcs.pools import Pool
from freshet_emulator.sql.statements import AlterPool, CreatePool, DropPool, ShowPools

NAMES = (
    "name",
    "state",
    "min_nodes",
    "max_nodes",
    "instance_family",
    "num_services",
    "num_jobs",
    "auto_suspend_secs",
    "auto_resume",
    "active_nodes",
    "idle_nodes",
    "target_nodes",
    "created_on",
    "resumed_on",
    "updated_on",
    "owner",
    "comment",
    "is_exclusive",
    "application",
    "placement_group",
    "backup_instance_families",
)
TYPES = dict.fromkeys(
    (
        "min_nodes",
        "max_nodes",
        "num_services",
        "num_jobs",
        "auto_suspend_secs",
        "active_nodes",
        "idle_nodes",
        "target_nodes",
    ),
    "FIXED",
) | dict.fromkeys(("created_on", "resumed_on", "updated_on"), "TIMESTAMP_LTZ")
DUPLICATE = 2002
MISSING = 2003


def create_pool(context: Context, statement: CreatePool) -> Result:
    """Add a pool."""
    pool = Pool(name=statement.name.last)
    pool.change(statement.options)
    try:
        context.platform.create_pool(pool)
    except SqlError as error:
        if error.code != DUPLICATE or not statement.if_not_exists:
            raise
        return status(f"{pool.name} already exists, statement succeeded.")
    return status(f"Compute pool {pool.name} successfully created.")


def alter_pool(context: Context, statement: AlterPool) -> Result:
    """Suspend, resume or change a pool, or stop all that runs in it."""
    name, platform = statement.name.last, context.platform
    try:
        if statement.action == "STOP ALL":
            platform.pool(name)
            platform.stop_all(name)
        else:
            platform.change_pool(name, lambda pool: apply(pool, statement))
    except SqlError as error:
        if error.code != MISSING or not statement.if_exists:
            raise
    return status("Statement executed successfully.")


def apply(pool: Pool, statement: AlterPool) -> None:
    """One ALTER's change."""
    if statement.action == "SUSPEND":
        pool.suspend()
    elif statement.action == "RESUME":
        pool.resume()
    else:
        pool.change(statement.options)


def drop_pool(context: Context, statement: DropPool) -> Result:
    """Remove a pool."""
    name = statement.name.last
    try:
        context.platform.drop_pool(name)
    except SqlError as error:
        if error.code != MISSING or not statement.if_exists:
            raise
        return status(f"Drop statement executed successfully ({name} already dropped).")
    return status(f"{name} successfully dropped.")


def show_pools(context: Context, statement: ShowPools) -> Result:
    """The pools, or the one that is described."""
    if statement.described is not None:
        pools = [context.platform.pool(statement.described.last)]
    else:
        found = {pool.name: pool for pool in context.platform.pools()}
        pools = [found[name] for name in statement.filter.apply(list(found))]
    jobs, per_node = context.platform.jobs(), context.platform.options.jobs_per_node
    rows = [pool_row(pool, jobs, per_node) for pool in pools]
    return Result(columns=columns_of(NAMES, TYPES), rows=[[row[name] for name in NAMES] for row in rows])


def pool_row(pool: Pool, jobs: list[Job], per_node: int) -> dict[str, Any]:
    """A pool as SHOW COMPUTE POOLS shows it."""
    active = pool.active_nodes(per_node)
    target = 0 if pool.suspended else max(pool.min_nodes, active, pool.ready + len(pool.starting))
    return dict.fromkeys(NAMES) | {
        "name": pool.name,
        "state": pool.state,
        "min_nodes": pool.min_nodes,
        "max_nodes": pool.max_nodes,
        "instance_family": pool.instance_family,
        "num_services": 0,
        "num_jobs": sum(1 for job in jobs if job.pool == pool.name and not job.ended),
        "auto_suspend_secs": pool.auto_suspend_secs,
        "auto_resume": "true" if pool.auto_resume else "false",
        "active_nodes": active,
        "idle_nodes": 0 if pool.suspended else max(0, pool.ready - active),
        "target_nodes": target,
        "created_on": pool.created_on,
        "resumed_on": pool.resumed_on,
        "updated_on": pool.updated_on,
        "owner": "SYSADMIN",
        "comment": pool.comment,
        "is_exclusive": "false",
    }
