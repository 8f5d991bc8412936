"""Registering and loading processes."""

from pathlib import Path

import pytest

from freshet.domain.errors import DefinitionError
from freshet.execution.registry import Registry, load, process


def test_the_same_name_and_version_is_refused_a_second_time() -> None:
    registry = Registry()
    process("p", version="1.0.0", registry=registry)(lambda payload, context: 1)
    process("p", version="1.0.1", registry=registry)(lambda payload, context: 1)

    def other(payload: object, context: object) -> None: ...

    with pytest.raises(DefinitionError, match=r"p@1\.0\.0 stands twice: in .*<lambda> and in .*other"):
        process("p", version="1.0.0", registry=registry)(other)
    assert set(registry.all()) == {"p@1.0.0", "p@1.0.1"}


def test_the_decorated_function_is_still_the_function() -> None:
    def call(payload: object, context: object) -> str:
        return "called"

    assert process("p", registry=Registry())(call) is call


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": "a b"}, "can't be a process's name"),
        ({"name": ""}, "can't be a process's name"),
        ({"name": "a@1"}, "can't be a process's name"),
        ({"name": "a", "version": ""}, "can't be the version"),
        ({"name": "a", "isolation": "thread"}, "isolation='thread' of process a is unknown"),
        ({"name": "a", "commit": "never"}, "commit='never' of process a is unknown"),
        ({"name": "a", "commit": "bundle", "isolation": "process"}, "can't have both"),
    ],
)
def test_wrong_words_are_refused_with_a_sentence(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(DefinitionError, match=sentence):
        process(registry=Registry(), **given)


def test_an_async_function_is_refused() -> None:
    async def call(payload: object, context: object) -> None: ...

    with pytest.raises(DefinitionError, match="async function"):
        process("p", registry=Registry())(call)


def test_a_module_that_cannot_be_imported_is_named_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module_of_processes.py").write_text("import os\n\n1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DefinitionError) as refused:
        load(["broken_module_of_processes"])
    assert "The module broken_module_of_processes of processes can't be imported: ZeroDivisionError" in str(
        refused.value
    )
    assert refused.value.line == 3
    with pytest.raises(DefinitionError, match="no_such_module_at_all of processes can't be imported: ModuleNotFound"):
        load(["no_such_module_at_all"])
