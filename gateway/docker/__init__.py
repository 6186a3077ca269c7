"""Runs workspaces as containers of a Docker engine (the port Backend), and nothing else knows Docker's words.

Read in this order: naming (what our things are called), spec (what a container is), containers and
networks (one engine call each), firewall (what a workspace cannot reach), backend (the port).
Must not know SSH, the database, or what a session is.
"""
