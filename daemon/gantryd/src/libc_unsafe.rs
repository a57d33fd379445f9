//! What only C functions do: setting glibc's allocator up so that the process stays small, and leaving without clean-up.

/// Sets glibc's allocator up; must be called before threads are started.
pub fn tune() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 2),
        (libc::M_TRIM_THRESHOLD, 128 << 10),
        (libc::M_MMAP_THRESHOLD, 128 << 10),
    ] {
        // SAFETY: mallopt takes two integers, and no other thread runs yet.
        unsafe {
            libc::mallopt(parameter, value);
        }
    }
}

/// Gives free memory back to the kernel; called now and then while the daemon is idle.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer and is safe to call from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Ends the process at once. Destructors of C++ libraries must not run while threads of theirs still do; what counts is
/// synced already.
pub fn leave(code: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(code) }
}
