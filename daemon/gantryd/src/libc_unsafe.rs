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

/// Lets programs be found in a directory, before all others; must be called before threads are started.
pub fn prepend_to_path(dir: &std::path::Path) {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(dir.to_owned()).chain(std::env::split_paths(&old));
    if let Ok(path) = std::env::join_paths(dirs) {
        // SAFETY: no other thread runs yet that could read the environment meanwhile.
        unsafe { std::env::set_var("PATH", path) };
    }
}

/// Gives free memory back to the kernel, and program code that is not in use; called now and then while the daemon is idle.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer and is safe to call from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
    for (start, length) in code(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default()) {
        // SAFETY: the range is a mapping of our own program file that can be read and run but never written, so what is dropped is
        // read from the file again when it is next touched. Mappings of code are not unmapped while we run.
        unsafe {
            libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED);
        }
    }
}

/// Start and length of what is mapped from a file to be run, and never written, in `/proc/self/maps`. The vdso is no file.
fn code(maps: &str) -> Vec<(usize, usize)> {
    let range = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let runs = words.next()? == "r-xp";
        let file = words.nth(3)?.starts_with('/');
        let (start, end) = (
            usize::from_str_radix(start, 16).ok()?,
            usize::from_str_radix(end, 16).ok()?,
        );
        (runs && file).then_some((start, end.checked_sub(start)?))
    };
    maps.lines().filter_map(range).collect()
}

/// Ends the process at once. Destructors of C++ libraries must not run while threads of theirs still do; what counts is
/// synced already.
pub fn leave(code: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_is_run_and_never_written() {
        let maps = "\
55a0f0000000-55a0f0700000 r--p 00000000 fe:00 12 /usr/bin/gantryd
55a0f0700000-55a0f1c00000 r-xp 00700000 fe:00 12 /usr/bin/gantryd
55a0f1c00000-55a0f1d00000 rw-p 01c00000 fe:00 12 /usr/bin/gantryd
55a0f2000000-55a0f2100000 rw-p 00000000 00:00 0  [heap]
7ffe00000000-7ffe00002000 r-xp 00000000 00:00 0  [vdso]
";
        assert_eq!(code(maps), [(0x55a0_f070_0000, 0x0150_0000)]);
    }

    #[test]
    fn code_goes_on_after_it_was_dropped() {
        trim();
        assert!(!code(&std::fs::read_to_string("/proc/self/maps").unwrap()).is_empty());
    }
}
