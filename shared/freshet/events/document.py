"""`docs/events.md`, printed from the catalogue: `python -m freshet.events.document > docs/events.md`."""

from __future__ import annotations

import sys

from freshet.events.catalogue import document

if __name__ == "__main__":
    sys.stdout.write(document())
