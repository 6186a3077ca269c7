"""The list that every step of the schema joins.

Owns the list. Whoever needs the steps too imports it from gateway.sqlite.schema, which has read them all.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("gateway")


def known() -> set[str]:
    """The names of all steps: to an empty database every one of them is still to be applied."""
    # Without plugins: the library would look through every package that is installed, and run what it found.
    with Database(memory=True, execute_plugins=False) as empty:
        return {step.name for step in migrations.pending(empty)}
