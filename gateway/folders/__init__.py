"""The workspaces' directories on this machine: the port Folders, and deletion that cannot be led astray.

Owns nothing but the name that others import.
"""

from gateway.folders.workspace import WorkspaceFolders

__all__ = ["WorkspaceFolders"]
