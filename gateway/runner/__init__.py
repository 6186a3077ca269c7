"""The program inside every container, and the two ends that talk to it.

`protocol` is the one page of messages. `bundle` packs that page and `inside` into the program that a
container runs; `link` is the broker's end, `client` the worker's. What is packed needs the standard
library of Python 3.9 and nothing else. Must not know Docker, SSH or the database.
"""
