"""That nobody gains rights: no program that changes its uid, gid or capabilities, no sudo, no sshd."""

import os
import shutil
import stat
import sys
from contextlib import suppress

found = [
    name for name in ("sudo", "doas", "sshd") if shutil.which(name, path=os.defpath + ":/usr/sbin:/sbin")
]
root = os.stat("/").st_dev
for folder, folders, files in os.walk("/"):
    # What is mounted is the platform's.
    folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == root]
    for name in files:
        path = os.path.join(folder, name)
        with suppress(OSError):
            mode = os.lstat(path).st_mode
            gains = mode & (stat.S_ISUID | stat.S_ISGID) or "security.capability" in os.listxattr(path)
            if stat.S_ISREG(mode) and gains:
                found.append(path)
if found:
    sys.exit("gives rights: " + ", ".join(sorted(found)[:5]))
print("nothing gives any")
