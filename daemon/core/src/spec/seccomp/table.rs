//! The default profile as a table: which system calls a container may make.
//!
//! Facts, from the profile that Docker Engine 28 documents (docs.docker.com/engine/security/seccomp): everything an
//! ordinary program needs; what needs a capability comes with it; io_uring is not let through.

use super::{Rule, When, arg};
use oci_spec::runtime::{LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator as Op};

/// For everybody.
const ALWAYS: &str = "
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime
clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64
close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat
faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat
fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs
fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat
getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer
getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit
get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr
getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents
io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listxattr listxattrat
llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create
memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify
mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget
msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2
pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64
preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename
renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam
sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32
setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid
setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn
socketcall socketpair splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs sysinfo
tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64
ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid
waitpid write writev";

/// Since 4.8 seccomp looks again after a tracer changed the call (seccomp(2)).
const TRACING: &str = "process_vm_readv process_vm_writev ptrace";

/// With a capability.
const WITH: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie mount mount_setattr \
         move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns statmount syslog \
         umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    (
        "CAP_SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// On an architecture.
const ON: [(&[&str], &str); 6] = [
    (&["ppc64le"], "sync_file_range2 swapcontext"),
    (
        &["arm", "arm64"],
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    (&["amd64", "x32"], "arch_prctl"),
    (&["amd64", "x32", "x86"], "modify_ldt"),
    (
        &["s390", "s390x"],
        "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    ),
    (&["riscv64"], "riscv_flush_icache riscv_hwprobe"),
];

/// Domains and flags that personality(2) may ask for: Linux, 32-bit, UNAME26, both, and "tell me".
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x20000, 0x20008, 0xffff_ffff];

/// The address family of sockets to hypervisors, which no namespace holds back.
const AF_VSOCK: u64 = 40;

/// `CLONE_NEW*` of mount, cgroup, uts, ipc, user, pid and net: namespaces are made with CAP_SYS_ADMIN only.
const NAMESPACES: u64 = 0x7e02_0000;

/// "No such system call": the C library falls back from clone3, whose flags no filter can see, to clone.
const ENOSYS: u32 = 38;

const SYS_ADMIN: &str = "CAP_SYS_ADMIN";

pub(super) fn rules() -> Vec<Rule> {
    let mut rules = vec![allow(ALWAYS)];
    rules.push(Rule {
        includes: When {
            min_kernel: Some((4, 8)),
            ..When::default()
        },
        ..allow(TRACING)
    });
    for (cap, names) in WITH {
        rules.push(Rule {
            includes: caps(cap),
            ..allow(names)
        });
    }
    for (arches, names) in ON {
        rules.push(Rule {
            includes: on(arches),
            ..allow(names)
        });
    }
    rules.push(allow_if("socket", arg(0, Op::ScmpCmpNe, AF_VSOCK, None)));
    for persona in PERSONALITIES {
        rules.push(allow_if("personality", arg(0, Op::ScmpCmpEq, persona, None)));
    }
    rules.extend(clone_rules());
    rules
}

/// s390 has the flags second.
fn clone_rules() -> [Rule; 3] {
    let s390 = ["s390", "s390x"];
    let without_namespaces = |index| arg(index, Op::ScmpCmpMaskedEq, NAMESPACES, Some(0));
    let elsewhere = When {
        caps: vec![SYS_ADMIN.to_owned()],
        ..on(&s390)
    };
    [
        Rule {
            excludes: elsewhere,
            ..allow_if("clone", without_namespaces(0))
        },
        Rule {
            includes: on(&s390),
            excludes: caps(SYS_ADMIN),
            ..allow_if("clone", without_namespaces(1))
        },
        Rule {
            action: LinuxSeccompAction::ScmpActErrno,
            errno: Some(ENOSYS),
            excludes: caps(SYS_ADMIN),
            ..allow("clone3")
        },
    ]
}

fn allow(names: &str) -> Rule {
    Rule {
        names: names.split_whitespace().map(str::to_owned).collect(),
        action: LinuxSeccompAction::ScmpActAllow,
        errno: None,
        args: Vec::new(),
        includes: When::default(),
        excludes: When::default(),
    }
}

fn allow_if(name: &str, condition: LinuxSeccompArg) -> Rule {
    Rule {
        args: vec![condition],
        ..allow(name)
    }
}

fn caps(name: &str) -> When {
    When {
        caps: vec![name.to_owned()],
        ..When::default()
    }
}

fn on(arches: &[&str]) -> When {
    When {
        arches: arches.iter().map(|arch| (*arch).to_owned()).collect(),
        ..When::default()
    }
}
