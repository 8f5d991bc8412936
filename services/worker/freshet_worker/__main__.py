"""`python -m freshet_worker`."""

import sys

from freshet_worker.main import main

sys.exit(main())
