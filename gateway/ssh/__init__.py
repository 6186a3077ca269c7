"""The worker's side of SSH: asyncssh, bent to OpenSSH's ways, over the broker's verbs and a runner.

Only this folder knows asyncssh's connections and channels. It runs without privileges and must not
reach the store, the engine or the broker's code.

What is replaced of asyncssh, and why. It was read in 2.24.1; a test tells when upstream's text changes::

    transport.py    its pause_writing does nothing, so a client that reads nothing filled a worker's memory;
                    packets that wait for a key exchange were not bounded either
                    it judges a guessed first packet by the key exchange alone: Debian's dropbear gave up
                    it sends an empty IGNORE before each packet, and its offer before the client's is known
    channels.py     it grants a client what still waits here, so an upload filled a worker's memory
                    it refuses commands that are not UTF-8 and knows no eow@openssh.com
    signing.py      it keeps the negotiated algorithm on the host key, so two logins at once mixed up theirs
    connection.py   it ends a connection in silence when something unforeseen happens
"""
