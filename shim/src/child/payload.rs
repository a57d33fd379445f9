//! The last step inside the container: look the program up, put its stdio in place, say "now", and become it.

use super::{dev, mounts, seccomp::Filter};
use crate::{
    failure::{Failure, Kind, failed},
    sys,
};
use libcontainer::{
    capabilities::drop_privileges,
    oci_spec::runtime::{LinuxCapabilities, Mount, Spec},
    syscall::syscall::SyscallType,
    workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError},
};
use nix::{
    errno::Errno,
    fcntl::AtFlags,
    unistd::{AccessFlags, faccessat},
};
use std::{
    collections::HashMap,
    ffi::CString,
    io::Write,
    mem::ManuallyDrop,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, fs::FileTypeExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// The byte that says: everything is done but the exec itself.
pub const ABOUT_TO_EXEC: u8 = b'E';

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How the program is started.
#[derive(Clone)]
pub struct Payload {
    /// stdin, stdout, stderr; none: /dev/null (or the terminal, if there is one).
    pub stdio: [Option<RawFd>; 3],
    pub terminal: bool,
    /// Where [`ABOUT_TO_EXEC`] and failures go; closes itself when the program begins.
    pub status: RawFd,
    /// What libcontainer leaves to us: the filter and the capabilities of the program.
    pub rights: Option<Rights>,
    /// The container is being made, and not only entered.
    pub is_first: bool,
    /// What is to be put over its `/dev`.
    pub dev: Option<Arc<OwnedFd>>,
    home: Arc<Mutex<String>>,
}

/// What the program may do. Taken on in the process itself, before it looks for its program.
#[derive(Clone)]
pub struct Rights {
    pub filter: Option<Filter>,
    pub capabilities: Option<LinuxCapabilities>,
    pub no_new_privileges: bool,
}

impl Rights {
    /// Without `no_new_privs` only a privileged process may load a filter; with it, the filter comes as late as can be.
    fn take_on(&self, find: impl FnOnce() -> Result<PathBuf, Failure>) -> Result<(), Failure> {
        let load = || self.filter.as_ref().map_or(Ok(()), Filter::load);
        if !self.no_new_privileges {
            load()?;
        }
        if let Some(capabilities) = &self.capabilities {
            let syscall = SyscallType::default().create_syscall();
            drop_privileges(capabilities, syscall.as_ref()).map_err(failed(Kind::Runtime, "dropping capabilities"))?;
        }
        find()?;
        if self.no_new_privileges {
            load()?;
        }
        Ok(())
    }
}

impl Payload {
    pub fn new(stdio: [Option<RawFd>; 3], terminal: bool, status: RawFd) -> Self {
        Self {
            stdio,
            terminal,
            status,
            rights: None,
            is_first: false,
            dev: None,
            home: Arc::default(),
        }
    }

    fn say(&self, bytes: &[u8]) {
        // SAFETY: the number is this process's copy of the status pipe; ManuallyDrop leaves it open.
        let mut pipe = ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(self.status) });
        let _ = pipe.write_all(bytes);
    }

    /// What libcontainer leaves undone of a container.
    fn finish(&self, spec: &Spec) -> Result<(), Failure> {
        seal_cgroups(spec)?;
        self.dev.as_deref().map_or(Ok(()), dev::put)
    }

    fn say_failure(&self, failure: &Failure) {
        self.say(&serde_json::to_vec(failure).unwrap_or_default());
    }

    fn take_stdio(&self) -> std::io::Result<()> {
        if self.terminal {
            return Ok(());
        }
        for (number, fd) in self.stdio.iter().enumerate() {
            match fd {
                Some(fd) => sys::dup_to(*fd, number as RawFd)?,
                None => {
                    let null = std::fs::OpenOptions::new()
                        .read(number == 0)
                        .write(number > 0)
                        .open("/dev/null")?;
                    sys::dup_to(std::os::fd::AsRawFd::as_raw_fd(&null), number as RawFd)?;
                }
            }
        }
        Ok(())
    }

    fn environment(&self, spec: &Spec) -> Vec<CString> {
        let mut names: Vec<&str> = Vec::new();
        let given = spec
            .process()
            .as_ref()
            .and_then(|process| process.env().as_deref())
            .unwrap_or_default();
        let mut env = Vec::with_capacity(given.len() + 1);
        // The last of several settings of one name counts.
        for setting in given.iter().rev() {
            let name = setting.split('=').next().unwrap_or_default();
            if !names.contains(&name) {
                names.push(name);
                env.extend(CString::new(setting.as_bytes()));
            }
        }
        env.reverse();
        let home = self.home.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !names.contains(&"HOME") && !home.is_empty() {
            env.extend(CString::new(format!("HOME={home}")));
        }
        env
    }
}

impl Executor for Payload {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let done = match &self.rights {
            Some(rights) => {
                let finished = if self.is_first { self.finish(spec) } else { Ok(()) };
                finished.and_then(|()| rights.take_on(|| find_program(spec)))
            }
            None => find_program(spec).map(drop),
        };
        done.map_err(|failure| {
            self.say_failure(&failure);
            ExecutorValidationError::ArgValidationError(failure.message)
        })
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        let home = envs.get("HOME").cloned().unwrap_or_default();
        *self.home.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = home;
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let failure = match self.become_program(spec) {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        self.say_failure(&failure);
        sys::exit_now(failure.exit_code() as i32)
    }
}

impl Payload {
    fn become_program(&self, spec: &Spec) -> Result<std::convert::Infallible, Failure> {
        let program = find_program(spec)?;
        let args = spec
            .process()
            .as_ref()
            .and_then(|process| process.args().as_deref())
            .unwrap_or_default();
        let args: Vec<CString> = args
            .iter()
            .filter_map(|arg| CString::new(arg.as_bytes()).ok())
            .collect();
        let env = self.environment(spec);
        let path = CString::new(program.as_os_str().as_bytes())
            .map_err(|_| Failure::new(Kind::Spec, "the program's path holds a NUL"))?;
        self.take_stdio()
            .map_err(|err| Failure::new(Kind::Runtime, format!("putting stdio in place: {err}")))?;
        sys::reset_signals();
        self.say(&[ABOUT_TO_EXEC]);
        let errno = sys::execve(&path, &args, &env);
        let kind = if errno == Errno::ENOENT {
            Kind::CommandNotFound
        } else {
            Kind::CommandNotExecutable
        };
        let why = if errno == Errno::ENOEXEC {
            "exec format error: it must be made for this machine, and a script must begin with #!".to_owned()
        } else {
            errno.desc().to_lowercase()
        };
        Err(Failure::new(kind, format!("exec {}: {why}", program.display())))
    }
}

/// Hierarchies of cgroup v1, which libcontainer mounts writable whatever the spec says: who could write there would allow himself
/// every device.
fn seal_cgroups(spec: &Spec) -> Result<(), Failure> {
    let sealed = |mount: &&Mount| {
        let options = mount.options().as_deref().unwrap_or_default();
        mount.typ().as_deref() == Some("cgroup") && options.iter().any(|option| option == "ro")
    };
    for mount in spec.mounts().iter().flatten().filter(sealed) {
        mounts::make_readonly(mount.destination())?;
    }
    Ok(())
}

/// Finds the program as a shell would, with the rights of the container's user, inside the container.
fn find_program(spec: &Spec) -> Result<PathBuf, Failure> {
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| Failure::new(Kind::Spec, "the spec has no process"))?;
    let name = process
        .args()
        .as_deref()
        .and_then(<[String]>::first)
        .filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Failure::new(Kind::Spec, "no command to run"))?;
    if name.contains('/') {
        check(Path::new(name)).map_err(|errno| unusable(name, errno))?;
        return Ok(name.into());
    }
    let env = process.env().as_deref().unwrap_or_default();
    let path = env
        .iter()
        .rev()
        .find_map(|setting| setting.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut worst = Errno::ENOENT;
    for dir in path.split(':') {
        let candidate = Path::new(if dir.is_empty() { "." } else { dir }).join(name);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => worst = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(unusable(name, worst))
}

fn check(path: &Path) -> Result<(), Errno> {
    let found = std::fs::metadata(path).map_err(|err| Errno::from_raw(err.raw_os_error().unwrap_or(libc::ENOENT)))?;
    let kind = found.file_type();
    if kind.is_dir() || kind.is_fifo() || kind.is_socket() || kind.is_char_device() {
        return Err(Errno::EACCES);
    }
    faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)
}

fn unusable(name: &str, errno: Errno) -> Failure {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR if name.contains('/') => {
            let text = format!("exec: {name:?}: no such file or directory: check the path, and that the image has it");
            let why = errno.desc().to_lowercase();
            Failure::new(Kind::CommandNotFound, text).with_peer(format!("exec: {name:?}: stat {name}: {why}"))
        }
        Errno::ENOENT | Errno::ENOTDIR => Failure::new(
            Kind::CommandNotFound,
            format!("exec: {name:?}: executable file not found in $PATH: check the name, or give the whole path"),
        )
        .with_peer(format!("exec: {name:?}: executable file not found in $PATH")),
        Errno::EACCES => Failure::new(
            Kind::CommandNotExecutable,
            format!("exec: {name:?}: permission denied: it must be a program that the container's user may execute"),
        )
        .with_peer(format!("exec: {name:?}: permission denied")),
        other => Failure::new(
            Kind::CommandNotExecutable,
            format!("exec: {name:?}: {}", other.desc().to_lowercase()),
        ),
    }
}
