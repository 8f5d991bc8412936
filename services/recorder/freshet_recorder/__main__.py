"""`python -m freshet_recorder`."""

import sys

from freshet_recorder.main import main

if __name__ == "__main__":
    sys.exit(main())
