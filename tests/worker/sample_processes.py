"""Processes for the worker's tests."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time

from freshet import process


@process("echo")
def echo(payload, context):
    return payload


@process("say")
def say(payload, context):
    print("from print", payload)
    context.logger.info("from logger", payload=payload)
    os.write(1, b"from C\n")
    subprocess.run([sys.executable, "-c", "print('from a program')"], check=True)
    return payload


@process("shout")
def shout(payload, context):
    sys.stdout.write("x" * payload)


@process("insert")
def insert(payload, context):
    context.connection.execute("insert into effect (value) values (%s)", [payload])
    return payload


@process("share", commit="bundle")
def share(payload, context):
    """Insert, but do what the payload says if it is a text."""
    connection = context.connection
    if payload is not None:
        connection.execute("insert into public.effect values (%s)", [str(payload)])
    if isinstance(payload, str):
        return exec(payload, {"context": context, "connection": connection, "os": os, "time": time})
    return payload


@process("share-yield", commit="bundle")
def share_yield(payload, context):
    for index in range(payload):
        yield {"shared": index}


@process("share-some", commit="bundle")
def share_some(payload, context):
    """Only odd numbers write."""
    if payload % 2:
        context.connection.execute("insert into public.effect values (%s)", [str(payload)])
    return payload


@process("insert-apart", isolation="process")
def insert_apart(payload, context):
    if payload is not None:
        context.connection.execute("insert into public.effect values (%s)", [payload])


@process("odd")
def odd(payload, context):
    """Odd numbers write, even ones do not."""
    if payload % 2:
        context.connection.execute("insert into effect (value) values (%s)", [payload])
    return payload


@process("do")
def do(payload, context):
    """Whatever the test says."""
    context.connection.execute("insert into effect (value) values (%s)", [payload])
    return exec(payload, {"context": context, "connection": context.connection})


@process("evaluate")
def evaluate(payload, context):
    return eval(payload, {"context": context, "os": os, "sys": sys, "time": time, "ctypes": ctypes, "re": re})


@process("yield")
def yielding(payload, context):
    for index in range(payload):
        yield {"n": index}


@process("bad-yield")
def bad_yield(payload, context):
    yield 1
    yield float("nan")


@process("die-by-turns")
def die_by_turns(payload, context):
    if payload == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    return payload


@process("pid", isolation="process")
def pid(payload, context):
    return os.getpid()


@process("warm-pid")
def warm_pid(payload, context):
    return os.getpid()


@process("hang")
def hang(payload, context):
    """In C code, where no signal handler of Python's can run."""
    context.connection.execute("insert into effect (value) values ('hung')")
    ctypes.PyDLL(None).sleep(1000)


@process("hold")
def hold(payload, context):
    """Waits inside its transaction until the test lets an advisory lock go."""
    context.connection.execute("insert into effect (value) values (%s)", [payload])
    context.connection.execute("select pg_advisory_xact_lock(4711)")
    return payload


@process("sum")
def total(payload, context):
    return {"len": len(payload), "sum": sum(payload), "last": payload[-1], "part": payload[1:3]}


@process("session")
def session(payload, context):
    """What the last item has left in the session."""
    connection = context.connection
    connection.execute("create temp table leftover (a int)")
    connection.execute("set search_path = nowhere")
    connection.execute("select pg_advisory_lock(99)")
    connection.execute("prepare p as select 1")
    return connection.execute("select current_user::text").fetchone()[0]
