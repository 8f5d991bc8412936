"""The image map: which local command stands for an image whose specification gives no command."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from freshet_emulator.errors import EmulatorError
from freshet_emulator.spcs.specification import ContainerSpecification


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageMap:
    """Image globs and their commands; the first glob that fits decides."""

    entries: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def command(self, container: ContainerSpecification) -> list[str] | None:
        """The argv of a container: its own `command` or its image's, then its `args`. None: no such image."""
        if container.command:
            return [*container.command, *container.args]
        for pattern, argv in self.entries:
            if fnmatchcase(container.image, pattern):
                return [*argv, *container.args]
        return None


def load_images(path: Path | None) -> ImageMap:
    """The map in a YAML or JSON file, `glob: [argv…]`. Raises EmulatorError.

    `{python}` stands for this interpreter, `{here}` for the directory of the file.
    """
    if path is None:
        return ImageMap()
    try:
        document = YAML(typ="safe").load(io.StringIO(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise EmulatorError(f"The image map {path} can't be read: {error}") from error
    if not isinstance(document, dict):
        raise EmulatorError(f"The image map {path} must map image globs to lists of words.")
    return ImageMap(entries=tuple((str(glob), words(path, glob, argv)) for glob, argv in document.items()))


def words(path: Path, glob: Any, argv: Any) -> tuple[str, ...]:
    """One entry's argv."""
    if not isinstance(argv, Sequence) or isinstance(argv, str) or not argv:
        raise EmulatorError(f"The image map {path} gives '{glob}' no list of words.")
    here = str(path.resolve().parent)
    return tuple(str(word).replace("{python}", sys.executable).replace("{here}", here) for word in argv)
