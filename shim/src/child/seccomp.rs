//! The container's system call filter: compiled once per profile (libseccomp takes 7 ms for Docker's), kept beside the shims' sockets
//! in the directory that gantryd makes for it, and loaded as it is.

use crate::{
    failure::{Failure, Kind, Result, failed},
    sys,
};
use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs,
    io::{Read, Seek},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// More profiles than this are not kept.
const MAX_KEPT: usize = 64;
/// Of what is kept, so that another form of it is compiled anew.
const FORM: &str = "2: calls unknown to libseccomp";
/// Size of a `struct sock_filter` (linux/filter.h).
pub const INSTRUCTION: usize = 8;

/// A filter ready to be loaded.
#[derive(Clone)]
pub struct Filter {
    program: Vec<u8>,
    flags: u32,
}

impl Filter {
    /// Loads it into this process. Needs either `no_new_privs` or CAP_SYS_ADMIN.
    pub fn load(&self) -> Result<()> {
        sys::load_system_call_filter(&self.program, self.flags)
            .map_err(failed(Kind::Runtime, "loading the seccomp filter"))
    }
}

/// The filter of a profile, from `kept` if it was compiled before. `kept` is used if it is there; it is root's alone.
pub fn filter(profile: &LinuxSeccomp, kept: &Path) -> Result<Filter> {
    let flags = flags(profile);
    let name = kept.join(key(profile)?);
    if let Ok(program) = fs::read(&name)
        && !program.is_empty()
        && program.len() % INSTRUCTION == 0
    {
        return Ok(Filter { program, flags });
    }
    let program = compile(profile)?;
    keep(kept, &name, &program);
    Ok(Filter { program, flags })
}

/// What the compiled form depends on.
fn key(profile: &LinuxSeccomp) -> Result<String> {
    let text = serde_json::to_vec(profile).map_err(failed(Kind::Spec, "reading the seccomp profile"))?;
    let mut hash = Sha256::new();
    hash.update(FORM);
    hash.update(&text);
    if let Ok(version) = libseccomp::ScmpVersion::current() {
        hash.update(format!("{version:?}"));
    }
    let kernel = nix::sys::utsname::uname().map_err(failed(Kind::Runtime, "asking for the kernel's release"))?;
    hash.update(std::os::unix::ffi::OsStrExt::as_bytes(kernel.release()));
    let mut name = String::new();
    for byte in hash.finalize() {
        let _ = write!(name, "{byte:02x}");
    }
    Ok(name)
}

/// A filter that cannot be kept is compiled again next time.
fn keep(dir: &Path, name: &Path, program: &[u8]) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    if entries.count() >= MAX_KEPT {
        return;
    }
    let new = name.with_extension(std::process::id().to_string());
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&new);
    let done = file
        .and_then(|mut file| std::io::Write::write_all(&mut file, program))
        .and_then(|()| fs::rename(&new, name));
    if done.is_err() {
        let _ = fs::remove_file(&new);
    }
}

/// `SECCOMP_FILTER_FLAG_*` of linux/seccomp.h. TSYNC means nothing to a process of one thread.
fn flags(profile: &LinuxSeccomp) -> u32 {
    const LOG: u32 = 1 << 1;
    const SPEC_ALLOW: u32 = 1 << 2;
    let all = profile.flags().iter().flatten();
    all.fold(0, |flags, flag| {
        flags
            | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
                // The second speaks of notifications, which are libcontainer's.
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync
                | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
            }
    })
}

fn compile(profile: &LinuxSeccomp) -> Result<Vec<u8>> {
    let wrong = |what: &str| {
        let what = format!("compiling the seccomp profile: {what}");
        move |err: libseccomp::error::SeccompError| Failure::new(Kind::Spec, format!("{what}: {err}"))
    };
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut context = ScmpFilterContext::new(default).map_err(wrong("default action"))?;
    for arch in profile.architectures().iter().flatten() {
        context
            .add_arch(architecture(*arch))
            .map_err(wrong(&format!("{arch:?}")))?;
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret());
        if action == default {
            // Says nothing, and libseccomp would refuse it.
            continue;
        }
        let args: Vec<ScmpArgCompare> = rule.args().iter().flatten().map(comparison).collect();
        let mut indices: Vec<usize> = rule.args().iter().flatten().map(LinuxSeccompArg::index).collect();
        indices.sort_unstable();
        let repeated = indices.windows(2).any(|pair| pair[0] == pair[1]);
        for name in rule.names() {
            // A call that this kernel or libseccomp does not know cannot be made either, or meets the default.
            let Ok(call) = ScmpSyscall::from_name(name) else {
                continue;
            };
            // Several comparisons of one argument are alternatives (runc does so too), of different ones conditions.
            let added = if repeated {
                args.iter().try_for_each(|arg| {
                    let one = std::slice::from_ref(arg);
                    context.add_rule_conditional(action, call, one).map(drop)
                })
            } else {
                context.add_rule_conditional(action, call, &args).map(drop)
            };
            added.map_err(wrong(name))?;
        }
    }
    let mut program = unknown_calls(profile, default);
    program.extend(export(&context)?);
    Ok(program)
}

/// What goes before libseccomp's program: calls that are newer than all that the profile names and libseccomp knows are answered as a
/// kernel that lacks them would (runc does so too). Programs ask for the newest first and take an older one only at that answer.
fn unknown_calls(profile: &LinuxSeccomp, default: ScmpAction) -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_GREATER: u16 = 0x25;
    const JUMP_FROM: u16 = 0x35;
    const RETURN: u16 = 0x06;
    // In `struct seccomp_data`.
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    const ERRNO: u32 = 0x0005_0000;
    let refuses = matches!(
        default,
        ScmpAction::Errno(_) | ScmpAction::KillProcess | ScmpAction::KillThread | ScmpAction::Trap
    );
    if !refuses || default == ScmpAction::Errno(libc::ENOSYS) {
        return Vec::new();
    }
    let mut code: Vec<(u16, u8, u8, u32)> = Vec::new();
    for (arch, token, from) in audited(profile) {
        let Some(last) = last_call(profile, arch) else { continue };
        code.push((LOAD, 0, 0, ARCH));
        code.push((JUMP_IF_EQUAL, 0, 4, token));
        code.push((LOAD, 0, 0, NUMBER));
        code.push(match from {
            // Of the two sorts of calls under one name, this one only.
            Sort::Plain => (JUMP_FROM, 2, 0, X32_BIT),
            Sort::X32 => (JUMP_FROM, 0, 2, X32_BIT),
        });
        code.push((JUMP_IF_GREATER, 0, 1, last));
        code.push((RETURN, 0, 0, ERRNO | libc::ENOSYS as u32));
    }
    let bytes = code.into_iter().flat_map(|(op, yes, no, value)| {
        let [low, high] = op.to_ne_bytes();
        let [a, b, c, d] = value.to_ne_bytes();
        [low, high, yes, no, a, b, c, d]
    });
    bytes.collect()
}

/// Marks the calls of x32, which has x86_64's name (asm/unistd.h).
const X32_BIT: u32 = 0x4000_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Plain,
    X32,
}

/// Each architecture of the profile, as the kernel names it to a filter (linux/audit.h). Others keep what libseccomp says.
fn audited(profile: &LinuxSeccomp) -> Vec<(ScmpArch, u32, Sort)> {
    const X86_64: u32 = 0xc000_003e;
    let named = profile.architectures().iter().flatten().map(|arch| architecture(*arch));
    let mut arches: Vec<ScmpArch> = named.collect();
    // libseccomp's programs speak of it whether it is named or not.
    arches.push(ScmpArch::Native);
    let native = |arch| match arch {
        ScmpArch::Native => ScmpArch::native(),
        arch => arch,
    };
    let mut all = Vec::new();
    for arch in arches.into_iter().map(native) {
        let (token, sort) = match arch {
            ScmpArch::X8664 => (X86_64, Sort::Plain),
            ScmpArch::X32 => (X86_64, Sort::X32),
            ScmpArch::X86 => (0x4000_0003, Sort::Plain),
            ScmpArch::Aarch64 => (0xc000_00b7, Sort::Plain),
            ScmpArch::Arm => (0x4000_0028, Sort::Plain),
            ScmpArch::Riscv64 => (0xc000_00f3, Sort::Plain),
            ScmpArch::Loongarch64 => (0xc000_0102, Sort::Plain),
            ScmpArch::Ppc64Le => (0xc000_0015, Sort::Plain),
            ScmpArch::S390X => (0x8000_0016, Sort::Plain),
            ScmpArch::S390 => (0x16, Sort::Plain),
            _ => continue,
        };
        if !all.iter().any(|(known, _, _)| *known == arch) {
            all.push((arch, token, sort));
        }
    }
    all
}

/// The highest number that the profile names, as far as libseccomp knows it.
fn last_call(profile: &LinuxSeccomp, arch: ScmpArch) -> Option<u32> {
    let names = profile.syscalls().iter().flatten().flat_map(|rule| rule.names());
    let numbers = names.filter_map(|name| {
        let call = ScmpSyscall::from_name_by_arch(name, arch).ok()?;
        // Below zero are those of other architectures.
        u32::try_from(call.as_raw_syscall()).ok()
    });
    // ARM's own few stand apart from the row.
    numbers.filter(|number| (number & !X32_BIT) < 0x1_0000).max()
}

fn export(context: &ScmpFilterContext) -> Result<Vec<u8>> {
    let compiled = |err: std::io::Error| Failure::new(Kind::Runtime, format!("compiling the seccomp profile: {err}"));
    let memory = nix::sys::memfd::memfd_create("seccomp", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
        .map_err(|errno| compiled(errno.into()))?;
    let mut file = fs::File::from(memory);
    context
        .export_bpf(&file)
        .map_err(failed(Kind::Runtime, "compiling the seccomp profile"))?;
    let mut program = Vec::new();
    file.rewind().map_err(compiled)?;
    file.read_to_end(&mut program).map_err(compiled)?;
    Ok(program)
}

fn comparison(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let op = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => ScmpCompareOp::Less,
        LinuxSeccompOperator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq => ScmpCompareOp::Equal,
        LinuxSeccompOperator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
        LinuxSeccompOperator::ScmpCmpGt => ScmpCompareOp::Greater,
        // The spec's `value` is the mask here (see `normalise`, which turned it for libcontainer).
        LinuxSeccompOperator::ScmpCmpMaskedEq => ScmpCompareOp::MaskedEqual(arg.value_two().unwrap_or(0)),
    };
    ScmpArgCompare::new(u32::try_from(arg.index()).unwrap_or(u32::MAX), op, arg.value())
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let errno = errno.and_then(|errno| i32::try_from(errno).ok()).unwrap_or(libc::EPERM);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(u16::try_from(errno).unwrap_or(u16::MAX)),
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
    }
}

fn architecture(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errno of a call in a process of its own under the filter; 0 if it went well.
    fn answer(filter: &Filter, number: i64) -> i32 {
        let crate::sys::Forked::Parent { child } = sys::fork().unwrap() else {
            let _ = nix::sys::prctl::set_no_new_privs();
            if filter.load().is_err() {
                sys::exit_now(255);
            }
            // SAFETY: the calls tried here take these arguments for bad ones, or do not exist.
            let result = unsafe { libc::syscall(number, -1, 0, 0, 0) };
            let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(254);
            sys::exit_now(if result < 0 { errno } else { 0 })
        };
        match nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child), None).unwrap() {
            nix::sys::wait::WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_nobody_knows_yet_is_missing_and_what_is_refused_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let profile = |default: &str| -> LinuxSeccomp {
            let text = serde_json::json!({"defaultAction": default, "syscalls": [
                {"names": ["exit", "exit_group", "close", "openat2", "call_of_the_year_2090"], "action": "SCMP_ACT_ALLOW"}
            ]});
            serde_json::from_value(text).unwrap()
        };
        let strict = filter(&profile("SCMP_ACT_ERRNO"), dir.path()).unwrap();
        assert_eq!(answer(&strict, libc::SYS_close), libc::EBADF, "allowed");
        assert_eq!(
            answer(&strict, libc::SYS_getpid),
            libc::EPERM,
            "older than the newest named"
        );
        assert_eq!(answer(&strict, 0xfff), libc::ENOSYS);
        let again = filter(&profile("SCMP_ACT_ERRNO"), dir.path()).unwrap();
        assert!(again.program == strict.program, "what is kept is the whole of it");
        let open = profile("SCMP_ACT_ALLOW");
        assert!(unknown_calls(&open, ScmpAction::Allow).is_empty());
    }
}
