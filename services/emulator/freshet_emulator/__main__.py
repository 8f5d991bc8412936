"""`python -m freshet_emulator`."""

import sys

from freshet_emulator.main import main

if __name__ == "__main__":
    sys.exit(main())
