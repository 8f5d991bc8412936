"""The tables: everything that talks to Postgres, and the only home of psycopg.

Purpose: a verb for each thing that happens to the tables, each one transaction. Guarantees: nobody outside sees a
row lock, a driver's type or a driver's error. Never: a decision about the life cycle (that is `freshet.domain`).
"""

from freshet.storage.migrate import migrate

__all__ = ["migrate"]
