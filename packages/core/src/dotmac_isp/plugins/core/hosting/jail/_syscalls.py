"""The kernel's names of the system calls that a jailed process may make, and of those that it is told it may not."""

from __future__ import annotations

from typing import Final

__all__ = ["PLAIN", "REFUSED"]

#: Calls that every Python program may make, whatever their arguments.
PLAIN: Final = """
access alarm arch_prctl brk cachestat capget chdir chmod chown clock_getres clock_gettime clock_nanosleep close
close_range copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
eventfd eventfd2 exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat
fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue
futex_wait futex_waitv futex_wake futimesat get_mempolicy get_robust_list get_thread_area getcpu getcwd getdents getdents64
getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr getxattrat
ioprio_get lchown lgetxattr link linkat listxattr
listxattrat llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create mincore mkdir
mkdirat mlock mlock2 mlockall mmap mprotect mremap mseal msync munlock munlockall munmap nanosleep newfstatat open openat
openat2 pause pidfd_open pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll pread64 preadv preadv2 pselect6 pwrite64
pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr
removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn
rt_sigsuspend rt_sigtimedwait sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_yield select sendfile set_robust_list
set_tid_address setitimer setpgid setpriority setrlimit setsid setxattr setxattrat shutdown sigaltstack signalfd
signalfd4 splice stat statfs statx symlink symlinkat sync_file_range sysinfo tee tgkill time timer_create timer_delete
timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times truncate umask uname
unlink unlinkat uretprobe utime utimensat utimes vmsplice wait4 waitid write writev
"""

#: Named, so that whoever tries is told "not permitted", not "no such call".
REFUSED: Final = """
accept accept4 acct add_key adjtimex bind bpf capset chroot clock_adjtime clock_settime delete_module execve execveat
fanotify_init fanotify_mark finit_module fsconfig fsmount fsopen fspick init_module inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
io_pgetevents io_setup io_submit io_uring_enter io_uring_register io_uring_setup ioperm iopl ioprio_set kcmp
kexec_file_load kexec_load keyctl landlock_add_rule landlock_create_ruleset landlock_restrict_self listen lookup_dcookie
mbind memfd_secret migrate_pages mknod mknodat modify_ldt mount mount_setattr move_mount move_pages mq_getsetattr
mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd name_to_handle_at nfsservctl
open_by_handle_at open_tree open_tree_attr perf_event_open personality pidfd_getfd pivot_root process_madvise
process_mrelease process_vm_readv process_vm_writev ptrace quotactl quotactl_fd reboot request_key sched_setattr
sched_setparam sched_setscheduler seccomp semctl semget semop semtimedop set_mempolicy set_mempolicy_home_node
setdomainname setfsgid setfsuid setgid setgroups sethostname setns setregid setresgid setresuid setreuid setuid
settimeofday shmat shmctl shmdt shmget statmount listmount swapoff swapon sync syncfs syslog umount2 unshare uselib
userfaultfd vhangup
"""
