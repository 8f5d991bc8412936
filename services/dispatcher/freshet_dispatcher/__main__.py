"""`python -m freshet_dispatcher`."""

import sys

from freshet_dispatcher.main import main

sys.exit(main())
