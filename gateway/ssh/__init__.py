"""The worker's side of SSH: asyncssh, bent to OpenSSH's ways, over the broker's verbs and a runner.

Only this folder knows asyncssh's connections and channels. It runs without privileges and must not
reach the store, the engine or the broker's code.
"""
