"""gpuadmin: the operator's tool.

Owns command lines and how answers are laid out. Must not know SSH: it asks the same use cases that the
gateway does, over the same database.
"""
