"""gpu-gateway: a person's own GPU container behind plain ``ssh``.

This docstring is the map. It must stay free of imports: this package is also packed, in part, into
the program that runs inside every container.
"""

__version__ = "0.1.0"
