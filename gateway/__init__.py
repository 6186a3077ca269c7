"""gpu-gateway: a person's own GPU container behind plain ``ssh``.

This docstring is the map; it must stay free of imports, because this package is packed, in part, into
the program that runs inside every container.

Follow one login::

    main.py            the broker process: listens, starts the workers, keeps house (overseer.py)
    workers.py         hands the accepted socket to the least loaded worker process
    worker.py          a worker's life: everything built, privileges given up (privileges.py), then SSH
    ssh/login.py       who is this? - answered from a snapshot, then proven to the broker (verbs.py)
    admission.py       the broker checks the evidence itself (connections.py, evidence.py) and gives a ticket
    ssh/entry.py       the first channel (ssh/connection.py) asks to enter with that ticket
    broker.py          has the container made or kept (entering.py decides), one room a workspace
    docker/backend.py  makes it: network, firewall, template, GPUs
    runner/link.py     the runner inside dials in, and is given one socket for this connection
    ssh/session.py     starts the program through runner/client.py and carries its bytes (ssh/pump.py)
    runner/inside/     the runner itself: programs, terminals, connections, inside the container

Floors: who may import whom. A test holds them (setup.cfg has the contracts)::

    4  admin/*, main, worker, overseer                programs
       sampler exporter                              what is measured, and told over HTTP
       inventory alarms                              the GPUs, looked at again and again, and heard
       historian watching gauges                      what was done with them, kept, and who uses them
       wiring                                         which adapter stands behind which port
    3  sqlite docker folders nvml boot runner ssh     adapters, none imports another
       procfs cgroups                                 of the kernel's words on a process, and on containers
       evidence hostkeys workers metrics              of asyncssh's keys, processes and Prometheus
       totp passwords                                 of pyotp and argon2
    2  broker rooms reception admission connections   use cases over ports
       wishes custody granting hygiene limiting rationing settling reconcile entering desk timekeeper
       replacing examining answering inquiries        `gpu`, and whose questions are being answered
       restarting fetching                            what shows other GPUs than are held; images from afar
       parting idling                                 what saves its work before it is stopped, and what
                                                      is taken back when nobody uses it
    1  ports store verbs messages wire journal pipes  the seams, and the workers' protocol
       privileges holders idlers questions proofs
    0  errors names units keys users devices quotas leases usage images mounts networks workspaces sessions
                                                      keyoptions sources certificates credentials clock
                                                      onetime throttle tables notices health occupants losses
                                                      mirrors config disks history reporting pictures
                                                      asking telling restarts channels rollout
                                                      activity signs idleness reminders references transfers
                                                      scheduling/: who is granted which GPU, and when
                                                      the nouns: values and decisions

Two protocols: verbs.py with proofs.py (worker and broker) and runner/protocol.py (worker, broker and
runner). The database is sqlite/, and gpuadmin is the other program that opens it.
"""

__version__ = "0.1.0"
