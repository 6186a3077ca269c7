"""Which system calls a workspace may make: an allow-list of our own, as the engine's JSON profile.

Owns the table. The rule: what an unprivileged program needs, debuggers on one's own processes
included (the kernel's own ptrace check still holds); nothing that needs a capability, and none of
the doors through which kernels were broken from containers: AF_ALG and AF_VSOCK sockets,
userfaultfd, io_uring, bpf, perf events, the kernel's key rings, namespaces and mounts; nor a way
out of the disk quota (ioctls.py).
Only 64-bit calls are allowed: socketcall(2) of 32-bit programs hides its arguments from the filter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from gateway.docker.ioctls import REFUSED, all_but

Rule = dict[str, object]

_FILES = """
access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr
flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lgetxattr link linkat listxattr
llistxattr lremovexattr lseek lsetxattr lstat memfd_create memfd_secret mkdir mkdirat mknod mknodat
name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2
read readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr splice
stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime
utimensat utimes vmsplice write writev io_cancel io_destroy io_getevents io_pgetevents io_setup
io_submit
"""
_MEMORY = """
brk get_mempolicy madvise mbind membarrier mincore mlock mlock2 mlockall mmap move_pages mprotect mremap msync
munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise process_mrelease
remap_file_pages set_mempolicy set_mempolicy_home_node map_shadow_stack mseal cachestat
"""
_PROCESSES = """
arch_prctl capget capset execve execveat exit exit_group fork getcpu getegid geteuid getgid getgroups getpgid
getpgrp getpid getppid getpriority getresgid getresuid getrlimit getrusage getsid gettid getuid ioprio_get
ioprio_set kcmp kill landlock_add_rule landlock_create_ruleset landlock_restrict_self pidfd_getfd pidfd_open
pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace rseq sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
set_robust_list get_robust_list set_tid_address setfsgid setfsuid setgid setgroups setpgid setpriority
setregid setresgid setresuid setreuid setrlimit setsid setuid sysinfo tgkill times tkill uname vfork wait4
waitid
"""
_SIGNALS_AND_TIME = """
alarm adjtimex clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep pause
restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_tgsigqueueinfo setitimer sigaltstack signalfd signalfd4 time timer_create timer_delete
timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime
"""
_WAITING_AND_IPC = """
epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 futex futex_requeue
futex_wait futex_waitv futex_wake mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink
msgctl msgget msgrcv msgsnd poll ppoll pselect6 select semctl semget semop semtimedop shmat shmctl shmdt
shmget
"""
_NETWORK = """
accept accept4 bind connect getpeername getrandom getsockname getsockopt listen recvfrom recvmmsg recvmsg
sendmmsg sendmsg sendto setsockopt shutdown
"""

# include/linux/socket.h: local, IPv4, IPv6 and netlink (glibc's getaddrinfo and `ip addr` ask through it).
_FAMILIES = (1, 2, 10, 16)
_EAFNOSUPPORT = 97
_ENOSYS = 38

# Every CLONE_NEW* flag of clone(2): cgroup, uts, ipc, user, pid, net, mount. The time namespace's bit means
# something else to clone (part of the exit signal), and is one of unshare's alone.
_NAMESPACES = 0x7E020000
_TIME_NAMESPACE = 0x80

# personality(2): query, Linux, 32-bit addresses as setarch sets them, and ADDR_NO_RANDOMIZE, which gdb sets.
_PERSONALITIES = (0xFFFFFFFF, 0x0, 0x8, 0x20000, 0x20008, 0x40000)


def profile() -> str:
    """The profile as the text that the engine takes in `seccomp=...` of a container's SecurityOpt.

    Refused calls fail with EPERM; newer than the profile fail with ENOSYS where the runtime sees to it.
    """
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
            ],
            "syscalls": _rules(),
        },
        separators=(",", ":"),
    )


def _rules() -> list[Rule]:
    """Every rule: the plain table, then the calls that are judged by an argument."""
    plain = " ".join((_FILES, _MEMORY, _PROCESSES, _SIGNALS_AND_TIME, _WAITING_AND_IPC, _NETWORK))
    return [
        {"names": plain.split(), "action": "SCMP_ACT_ALLOW"},
        *(_when("socket", 0, family) for family in _FAMILIES),
        # Programs that probe for a family must read "not supported", as on a kernel built without it.
        _refuse(["socket"], _EAFNOSUPPORT, [_argument(0, max(_FAMILIES), "SCMP_CMP_GT")]),
        _when("socketpair", 0, 1),
        _allow(["clone"], [_argument(0, _NAMESPACES, "SCMP_CMP_MASKED_EQ", 0)]),
        _allow(["unshare"], [_argument(0, _NAMESPACES | _TIME_NAMESPACE, "SCMP_CMP_MASKED_EQ", 0)]),
        # clone3 keeps its flags in memory, out of the filter's sight; told ENOSYS, the C library uses clone.
        _refuse(["clone3"], _ENOSYS, []),
        *(
            _allow(["ioctl"], [_argument(1, mask, "SCMP_CMP_MASKED_EQ", value)])
            for mask, value in all_but(REFUSED)
        ),
        *(_when("personality", 0, persona) for persona in _PERSONALITIES),
    ]


def _when(name: str, index: int, value: int) -> Rule:
    return _allow([name], [_argument(index, value, "SCMP_CMP_EQ")])


def _allow(names: list[str], arguments: Iterable[Rule]) -> Rule:
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": list(arguments)}


def _refuse(names: list[str], errno: int, arguments: Iterable[Rule]) -> Rule:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": list(arguments)}


def _argument(index: int, value: int, op: str, masked: int | None = None) -> Rule:
    """One condition; for MASKED_EQ `value` is the mask and `masked` what must remain (libseccomp's order)."""
    return {"index": index, "value": value, "valueTwo": masked or 0, "op": op}
