//! The system calls that need `unsafe`, each as small as it can be.

use nix::errno::Errno;
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// What [`fork`] returned, and where.
pub enum Forked {
    Child,
    Parent { child: i32 },
}

/// Forks. The shim has one thread for life, so the child may allocate, lock and call whatever it likes.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: this process has a single thread (nothing in it starts another), so no lock is held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        child => Ok(Forked::Parent { child }),
    }
}

/// Forks a child of this process's own parent (`CLONE_PARENT`). For helpers, which have one thread.
pub fn fork_sibling() -> io::Result<Forked> {
    let flags = libc::CLONE_PARENT as libc::c_long;
    let none = 0 as libc::c_long;
    // SAFETY: without CLONE_VM and without a stack this is fork(2) with another parent; this process has a single thread, so no lock
    // is held by a thread that the child lacks.
    match unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        child => Ok(Forked::Parent { child: child as i32 }),
    }
}

/// Loads a filter of system calls (`struct sock_filter`s, 8 bytes each) into this process.
pub fn load_system_call_filter(program: &[u8], flags: u32) -> io::Result<()> {
    #[repr(C)]
    struct Program {
        count: u16,
        instructions: *const u8,
    }
    let count = u16::try_from(program.len() / 8).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let filter = Program {
        count,
        instructions: program.as_ptr(),
    };
    // SAFETY: the kernel reads `count` instructions of 8 bytes from the slice, which outlives the call and is as long.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const filter,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Ends this process without running destructors or exit handlers of the process it was forked from.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from 3 on that is not in `keep`.
pub fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter(|fd| **fd > 2).map(|fd| *fd as u32).collect();
    keep.sort_unstable();
    let mut from = 3;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if fd > from {
            let last = if fd == u32::MAX { u32::MAX } else { fd - 1 };
            close_range(from, last);
        }
        from = fd.saturating_add(1);
    }
}

fn close_range(first: u32, last: u32) {
    // SAFETY: only called in a forked child that will touch none of these descriptors again.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        return;
    }
    // A sandbox may refuse the call: close one by one, as far as descriptors go.
    let end = nix::unistd::sysconf(nix::unistd::SysconfVar::OPEN_MAX)
        .ok()
        .flatten()
        .unwrap_or(65_536) as u32;
    for fd in first..=last.min(end) {
        // SAFETY: as above.
        unsafe { libc::close(fd as i32) };
    }
}

/// Puts every signal back to its default action and unblocks all: what a program expects to be born with.
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL needs no handler memory; refusals (SIGKILL, SIGSTOP, libc's own) are of no matter.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Ignores what might end a shim by accident. A broken pipe is an error of one write, never the end of the shim.
pub fn ignore_signals() {
    for signal in [
        libc::SIGPIPE,
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGTTOU,
        libc::SIGTTIN,
    ] {
        // SAFETY: SIG_IGN needs no handler memory.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// A broken pipe is an error of one write.
pub fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN needs no handler memory.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Replaces this process. Returns only the reason why not.
pub fn execve(path: &CString, args: &[CString], env: &[CString]) -> Errno {
    match nix::unistd::execve(path, args, env) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// Replaces this process by the program behind a descriptor.
pub fn execveat(fd: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> Errno {
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    match nix::unistd::execveat(fd, c"", args, env, flags) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// Makes `fd` the descriptor number `number` of this process, inherited over exec.
pub fn dup_to(fd: RawFd, number: RawFd) -> io::Result<()> {
    // SAFETY: dup2 changes only this process's descriptor table; the callers are children about to exec or `start` forking the server.
    match unsafe { libc::dup2(fd, number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A second descriptor for the same file, closed on exec.
pub fn dup(fd: impl AsFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}

/// Takes ownership of a descriptor number that this process owns and nothing else in it knows.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers pass numbers that were made for them (by SCM_RIGHTS or by the parent of `start`) and forget them.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Gives a descriptor to the event loop, which then owns it.
pub fn watch(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is one open descriptor for as long as it lives, and always the same one.
    unsafe { tokio::io::unix::AsyncFd::register(fd) }.map_err(Into::into)
}

/// The same for events of one kind.
pub fn watch_for(fd: OwnedFd, interest: tokio::io::Interest) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: as above.
    unsafe { tokio::io::unix::AsyncFd::register_with_interest(fd, interest) }.map_err(Into::into)
}

/// Bytes that can be read at once.
pub fn readable_bytes(fd: impl AsFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to the pointer, which outlives the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result == 0 { count.max(0) as usize } else { 0 }
}

/// Sets a terminal's size.
pub fn set_window_size(fd: impl AsFd, height: u16, width: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize from the pointer, which outlives the call.
    match unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Tells glibc's allocator to give memory back early: a shim idles for days.
pub fn tune_allocator() {
    // SAFETY: mallopt only sets parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TOP_PAD, 4 * 1024);
    }
}

/// Gives free memory back to the kernel now.
pub fn trim_memory() {
    // SAFETY: malloc_trim has no preconditions.
    unsafe { libc::malloc_trim(0) };
}

pub const MOUNT_ATTR_RDONLY: u64 = 1;
pub const MOUNT_ATTR_NOSUID: u64 = 2;
pub const MOUNT_ATTR_NODEV: u64 = 4;
pub const MOUNT_ATTR_NOEXEC: u64 = 8;

/// Makes mount(2)'s new attributes apply to a detached mount: read-only.
pub fn make_mount_readonly(mount: BorrowedFd<'_>) -> io::Result<()> {
    set_mount(mount, MOUNT_ATTR_RDONLY, 0, false)
}

/// Sets attributes and, unless it is 0, the propagation of a detached mount, and of those below it.
pub fn set_mount(mount: BorrowedFd<'_>, attributes: u64, propagation: u64, below: bool) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        attr_set: u64,
        attr_clr: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let attr = MountAttr {
        attr_set: attributes,
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    // SAFETY: mount_setattr reads `size` bytes of the struct, which outlives the call; the empty path is a C string.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | if below { libc::AT_RECURSIVE } else { 0 },
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Loads a program that decides about devices, each instruction as the kernel's 64 bits.
pub fn load_device_program(code: &[u64]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        code: u64,
        license: u64,
    }
    const PROG_LOAD: i32 = 5;
    const CGROUP_DEVICE: u32 = 15;
    let license = c"Apache-2.0";
    raise_locked_memory();
    let load = Load {
        kind: CGROUP_DEVICE,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
    };
    // SAFETY: bpf reads `size` bytes of the struct and what it points to; all of it outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) };
    if fd < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(own(fd as RawFd))
    }
}

/// Kernels before 5.11 count programs as this process's locked memory, of which it has little; newer ones do not look. What may not be
/// raised stays.
fn raise_locked_memory() {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the calls read or write one struct, which outlives them.
    unsafe {
        if libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) != 0
            && libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) == 0
        {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit);
        }
    }
}

/// Makes a cgroup v2 ask the program, beside those that it or its parents ask already.
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd) -> io::Result<()> {
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    const PROG_ATTACH: i32 = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let (target, program) = (cgroup.as_fd().as_raw_fd() as u32, program.as_fd().as_raw_fd() as u32);
    let attach = Attach {
        target,
        program,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: bpf reads `size` bytes of the struct, which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Lowers this process's claim on the processor and the disk as far as it goes.
pub fn be_nice() {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    const IDLE_CLASS: i32 = 3 << 13;
    // SAFETY: both calls only change scheduling of this process.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IDLE_CLASS);
    }
}
