"""Virtual time and actors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from freshet.domain.errors import UnreachableError
from freshet.testing.simulation.world import Doorway, ExhaustedError, Killed, Process, Server, World


@pytest.fixture
def world() -> World:
    return World(1)


def process(world: World, *mains: Callable[[], None], name: str = "p") -> Process:
    made = world.process(name, "service")
    for number, main in enumerate(mains):
        made.spawn(str(number), main)
    return made


def test_time_passes_only_while_everybody_waits(world: World) -> None:
    seen = []

    def wait(seconds: float) -> Callable[[], None]:
        def main() -> None:
            world.pause(seconds)
            seen.append((seconds, round(world.now)))

        return main

    process(world, wait(30), wait(10), wait(20))
    world.run(100)
    assert seen == [(10, 10), (20, 20), (30, 30)]
    assert world.now == 100


def test_who_waits_for_something_is_woken_by_it_and_not_before(world: World) -> None:
    box: list[int] = []
    heard = []

    def listen() -> None:
        heard.append((world.await_ready("box", 50, lambda: bool(box)), round(world.now)))
        heard.append((world.await_ready("more", 50, lambda: len(box) > 1), round(world.now)))

    def speak() -> None:
        world.pause(5)
        box.append(1)
        world.stirred = True

    process(world, listen, speak)
    world.run(100)
    assert heard == [(True, 5), (False, 55)]


def test_what_one_takes_is_not_there_for_another(world: World) -> None:
    box: list[int] = []
    taken = []

    def take() -> None:
        if world.await_ready("box", 20, lambda: bool(box)):
            taken.append(box.pop())

    def put() -> None:
        box.append(1)
        world.stirred = True

    process(world, take, take)
    world.at(3, put)
    world.run(100)
    assert taken == [1]


def test_a_killed_process_does_nothing_more_not_even_in_its_finally_clauses(world: World) -> None:
    done = []

    def main() -> None:
        door = Doorway(world, one, None)
        try:
            world.pause(10)
            done.append("work")
        finally:
            door.enter("goodbye")
            done.append("goodbye")

    one = process(world, main)
    world.at(5, lambda: world.kill(one))
    world.run(100)
    assert done == []
    assert world.failures == []
    assert not one.alive


def test_a_process_that_kills_itself_takes_its_children_and_threads_along(world: World) -> None:
    done = []

    def other() -> None:
        world.pause(10)
        done.append("other")

    def main() -> None:
        child = world.process("c", "child", parent=one)
        child.spawn("main", other)
        world.pause(1)
        world.kill(one)
        raise Killed

    one = process(world, main, other)
    world.run(100)
    assert done == []
    assert world.processes == []


def test_a_stopped_process_goes_on_later_with_the_same(world: World) -> None:
    seen = []

    def main() -> None:
        world.pause(1)
        seen.append(round(world.now))

    one = process(world, main)
    world.at(0.5, lambda: one.stop(30))
    world.run(100)
    assert seen == [30]


def test_a_server_that_falls_while_a_question_is_on_its_way_is_not_reached(world: World) -> None:
    world.set_latency((10.0,))
    server, told = Server("Postgres"), []

    def main() -> None:
        door = Doorway(world, one, server)
        for verb in ("first", "second"):
            try:
                door.enter(verb)
                told.append(verb)
            except UnreachableError:
                told.append(f"no {verb}")

    one = process(world, main)

    def blink() -> None:
        server.fall()
        server.down = False

    world.at(15, blink)
    world.run(100)
    assert told == ["no first", "second"]


def test_an_error_that_leaves_an_actor_is_kept(world: World) -> None:
    def main() -> None:
        raise ValueError("kept")

    process(world, main)
    world.run(10)
    assert [(name, str(error)) for name, error in world.failures] == [("p/0", "kept")]


def test_a_world_that_never_rests_is_ended() -> None:
    world = World(1, steps=100)

    def main() -> None:
        while True:
            world.await_ready("nothing", 1, lambda: False)

    process(world, main)
    world.run(10_000)
    assert [type(error) for _, error in world.failures] == [ExhaustedError]
