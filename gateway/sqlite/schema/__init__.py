"""The shape of the database, as the list of steps that led to it.

Owns the order of the steps, which is that of the files, each called after its first step. Steps are only ever
appended: one that was released has run somewhere. Instants are text in UTC (`rows.stamp`), amounts are whole
bytes, seconds or counts.
"""

from __future__ import annotations

from gateway.sqlite.schema import m001, m013, m026
from gateway.sqlite.schema.steps import known, migrations

__all__ = ["known", "m001", "m013", "m026", "migrations"]
