"""What runs in the container, as its user: one epoll loop, no threads, the standard library of Python 3.9.

`main` wires it; `broker` keeps the link to the gateway; `connection` obeys one SSH connection;
`executions` and `dials` do the work. Must import nothing of the gateway but its values and the protocol.
"""
