"""The store on SQLite: one file that the broker and gpuadmin open side by side.

`database` opens it, `migrations` shapes it, `store` puts the nouns together, one module each. Owns SQL;
must not know containers, SSH, or how an answer is shown.
"""
