//! OCI runtimes that are programs (runc, crun and others), driven from a forked child over the same seam as the built-in one.

use super::{
    Made,
    mounts::{self, Mount},
};
use crate::{
    failure::{Failure, Kind, Result, failed},
    shim::Restore,
};
use gantry_proto_shim::runc_options::CheckpointOptions;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use serde::Deserialize;
use std::{
    fs,
    io::{IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A runtime program and where it works.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub args: Vec<String>,
    pub systemd_cgroup: bool,
    /// Where it keeps its state, when the caller says; the bundle otherwise.
    pub root: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
}

impl Program {
    /// Where it keeps the state of a container whose own directory is `dir`.
    pub fn root_for(&self, dir: &Path) -> PathBuf {
        self.root.clone().unwrap_or_else(|| dir.join("state"))
    }
}

/// One container under it.
pub struct Call<'a> {
    pub program: &'a Program,
    pub id: &'a str,
    pub bundle: &'a Path,
    /// The runtime's own directory.
    pub dir: &'a Path,
    /// Where a console socket may be made: a directory with a short path.
    pub sockets: &'a Path,
    pub stdio: [Option<RawFd>; 3],
    pub console: Option<RawFd>,
}

/// What we need of a spec, without reading the rest of it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SpecPart {
    linux: LinuxPart,
    process: ProcessPart,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LinuxPart {
    cgroups_path: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ProcessPart {
    console_size: Option<SizePart>,
}

#[derive(Deserialize)]
struct SizePart {
    height: u16,
    width: u16,
}

/// Builds the container.
pub fn create(call: &Call<'_>, rootfs: &[Mount], in_host: bool) -> Result<Made> {
    make_init(call, rootfs, in_host, |command| {
        command.arg("create");
    })
}

/// Makes the container go on from a checkpoint.
pub fn restore(call: &Call<'_>, from: &Restore, in_host: bool) -> Result<Made> {
    make_init(call, &from.rootfs, in_host, |command| {
        let work = from.work.clone().unwrap_or_else(|| call.dir.join("criu-work"));
        command.args(["restore", "--detach", "--no-subreaper", "--image-path"]);
        command.arg(&from.image).arg("--work-path").arg(work);
    })
}

/// Makes the container's first process by one of the verbs that do.
fn make_init(call: &Call<'_>, rootfs: &[Mount], in_host: bool, verb: impl FnOnce(&mut Command)) -> Result<Made> {
    let target = call.bundle.join("rootfs");
    if !in_host {
        mounts::enter_private_namespace(call.bundle)?;
    }
    if !rootfs.is_empty() {
        mounts::mount_rootfs(rootfs, &target)?;
    }
    fs::create_dir_all(call.dir).map_err(failed(Kind::Runtime, format_args!("making {}", call.dir.display())))?;
    let pid_file = call.dir.join("init.pid");
    let mut command = call.command();
    verb(&mut command);
    command
        .arg("--bundle")
        .arg(call.bundle)
        .arg("--pid-file")
        .arg(&pid_file)
        .args(call.program.no_pivot.then_some("--no-pivot"))
        .args(call.program.no_new_keyring.then_some("--no-new-keyring"));
    let made = call
        .run_process(command, &[call.id])
        .and_then(|()| call.made(&pid_file));
    if made.is_err() {
        let _ = delete(call);
        if in_host && !rootfs.is_empty() {
            mounts::unmount_all(&target);
        }
    }
    made
}

/// Starts what create built.
pub fn start(call: &Call<'_>) -> Result<()> {
    let mut command = call.command();
    command.args(["start", call.id]);
    call.run(command)
}

/// Writes the container's processes down through criu. What it wrote to its log is kept in the bundle when that fails.
pub fn checkpoint(call: &Call<'_>, image: &Path, asked: &CheckpointOptions) -> Result<()> {
    let own = call.dir.join("criu-work");
    let work = if asked.work_path.is_empty() {
        &own
    } else {
        Path::new(&asked.work_path)
    };
    let mut command = call.command();
    command
        .args(["checkpoint", "--image-path"])
        .arg(image)
        .arg("--work-path")
        .arg(work);
    let flags = [
        (!asked.exit, "--leave-running"),
        (asked.open_tcp, "--tcp-established"),
        (asked.external_unix_sockets, "--ext-unix-sk"),
        (asked.terminal, "--shell-job"),
        (asked.file_locks, "--file-locks"),
    ];
    command.args(flags.into_iter().filter_map(|(wanted, flag)| wanted.then_some(flag)));
    for namespace in &asked.empty_namespaces {
        command.arg("--empty-ns").arg(namespace);
    }
    if !asked.cgroups_mode.is_empty() {
        command.arg("--manage-cgroups-mode").arg(&asked.cgroups_mode);
    }
    command.arg(call.id);
    let done = call.run(command).map_err(|mut failure| {
        let log = call.bundle.join("criu-dump.log");
        if fs::copy(work.join("dump.log"), &log).is_ok() {
            failure.message = format!("{} path= {}", failure.message, log.display());
        }
        let said = failure.peer.unwrap_or_default();
        let said = said.lines().next().unwrap_or_default();
        let words = format!(
            "runc did not terminate successfully: exit status 1: {said} path= {}",
            log.display()
        );
        let text = format!("checkpointing container {}: {}", call.id, failure.message);
        Failure::new(Kind::Runtime, text).with_peer(words)
    });
    if asked.work_path.is_empty() {
        let _ = fs::remove_dir_all(&own);
    }
    done
}

/// Runs one more process.
pub fn exec(call: &Call<'_>, exec_id: &str, process: &[u8]) -> Result<Made> {
    let (file, pid_file) = (
        call.dir.join(format!("exec-{exec_id}.json")),
        call.dir.join(format!("exec-{exec_id}.pid")),
    );
    fs::write(&file, process).map_err(failed(Kind::Runtime, format_args!("writing {}", file.display())))?;
    let mut command = call.command();
    command
        .args(["exec", "--detach"])
        .arg("--process")
        .arg(&file)
        .arg("--pid-file")
        .arg(&pid_file);
    let made = call
        .run_process(command, &[call.id])
        .and_then(|()| call.made(&pid_file));
    let _ = fs::remove_file(file);
    let _ = fs::remove_file(pid_file);
    made.map(|mut made| {
        made.console_size = serde_json::from_slice::<ProcessPart>(process)
            .ok()
            .and_then(|part| part.console_size)
            .map(|size| (size.height, size.width));
        made
    })
}

/// Undoes create; what is not there any more is no error.
pub fn delete(call: &Call<'_>) -> Result<()> {
    // Its log goes there, also when nothing else ever did.
    let _ = fs::create_dir_all(call.dir);
    let mut command = call.command();
    command.args(["delete", "--force", call.id]);
    let done = call.run(command);
    mounts::unmount_all(&call.bundle.join("rootfs"));
    let _ = fs::remove_dir_all(call.dir);
    done
}

/// Changes limits.
pub fn update(call: &Call<'_>, resources: &[u8]) -> Result<()> {
    let file = call.dir.join("resources.json");
    fs::write(&file, resources).map_err(failed(Kind::Runtime, format_args!("writing {}", file.display())))?;
    let mut command = call.command();
    command.arg("update").arg("--resources").arg(&file).arg(call.id);
    call.run(command)
}

impl Call<'_> {
    fn log(&self) -> PathBuf {
        self.dir.join("log.json")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program.name);
        command
            .args(&self.program.args)
            .arg("--root")
            .arg(self.program.root_for(self.dir));
        command.arg("--log").arg(self.log()).args(["--log-format", "json"]);
        if self.program.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command
            .current_dir(self.bundle)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Runs a verb that makes a process: with the process's stdio, or with a console socket.
    fn run_process(&self, mut command: Command, last: &[&str]) -> Result<()> {
        let failed = |err: std::io::Error| {
            Failure::new(
                Kind::Runtime,
                format!("preparing stdio for {}: {err}", self.program.name),
            )
        };
        let Some(console) = self.console else {
            for (number, fd) in self.stdio.iter().enumerate() {
                let end = match fd {
                    // SAFETY: the numbers are this child's own copies of the stdio ends.
                    Some(fd) => Stdio::from(
                        unsafe { std::os::fd::BorrowedFd::borrow_raw(*fd) }
                            .try_clone_to_owned()
                            .map_err(failed)?,
                    ),
                    None => Stdio::null(),
                };
                match number {
                    0 => command.stdin(end),
                    1 => command.stdout(end),
                    _ => command.stderr(end),
                };
            }
            command.args(last);
            return self.run(command);
        };
        let path = self.sockets.join(format!("c{}", std::process::id()));
        let listener = UnixListener::bind(&path).map_err(failed)?;
        command.arg("--console-socket").arg(&path).args(last);
        let done = self.run(command);
        let passed = done.and_then(|()| pass_console(&listener, console).map_err(failed));
        let _ = fs::remove_file(&path);
        passed
    }

    fn run(&self, mut command: Command) -> Result<()> {
        let name = &self.program.name;
        let _ = fs::remove_file(self.log());
        let status = command
            .status()
            .map_err(|err| Failure::new(Kind::Runtime, format!("running the oci runtime {name}: {err}")))?;
        if status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        Err(failure_of(name, &log, &status.to_string()))
    }

    fn made(&self, pid_file: &Path) -> Result<Made> {
        let pid = fs::read_to_string(pid_file)
            .map_err(failed(Kind::Runtime, format_args!("reading {}", pid_file.display())))?;
        let pid = pid
            .trim()
            .parse()
            .map_err(failed(Kind::Runtime, format_args!("reading {}", pid_file.display())))?;
        let spec = fs::File::open(self.bundle.join("config.json")).map_err(failed(Kind::Spec, "reading the spec"))?;
        let spec: SpecPart =
            serde_json::from_reader(std::io::BufReader::new(spec)).map_err(failed(Kind::Spec, "reading the spec"))?;
        let cgroup_path = match spec.linux.cgroups_path {
            path if path.is_empty() => format!("/{}", self.id),
            // slice:prefix:name, the way systemd's cgroups are named.
            path => path.rsplit_once(':').map_or(path.clone(), |(before, name)| {
                let prefix = before.rsplit_once(':').map_or(before, |(_, prefix)| prefix);
                format!("{prefix}-{name}.scope")
            }),
        };
        let console_size = spec.process.console_size.map(|size| (size.height, size.width));
        Ok(Made {
            pid,
            cgroup_path,
            console_size,
            poststart: false,
            poststop: false,
        })
    }
}

/// Takes the terminal from the runtime and hands it to the shim.
fn pass_console(listener: &UnixListener, to: RawFd) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let (from, _) = listener.accept()?;
    from.set_nonblocking(false)?;
    let mut name = [0; 4096];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut name)];
    let message = recvmsg::<UnixAddr>(
        from.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let fd = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    let fds = [fd.ok_or_else(|| std::io::Error::other("the runtime sent no terminal"))?];
    sendmsg::<UnixAddr>(
        to,
        &[IoSlice::new(b"ptmx")],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

#[derive(Deserialize)]
struct LogLine {
    level: String,
    msg: String,
}

/// What a foreign program's log says.
fn failure_of(name: &str, log: &str, status: &str) -> Failure {
    let mut lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<LogLine>(line).ok());
    let last = lines.rfind(|line| line.level == "error").map(|line| line.msg);
    let message = last.unwrap_or_else(|| format!("it ended with {status}"));
    let kind = kind_of(&message);
    let (message, name) = (
        message.trim(),
        Path::new(name).file_name().unwrap_or_default().to_string_lossy(),
    );
    let text = match message.starts_with(&*name) {
        true => message.to_owned(),
        false => format!("{name}: {message}"),
    };
    Failure::new(kind, text).with_peer(message)
}

/// What sort of failure a foreign program speaks of. Its text is the only sign; samples are in the tests.
pub fn kind_of(message: &str) -> Kind {
    let has = |text: &str| message.contains(text);
    if has("executable file not found")
        || (has("executable file") && has("not found in $PATH"))
        || (has("exec") && has("no such file or directory"))
    {
        Kind::CommandNotFound
    } else if has("exec") && (has("permission denied") || has("exec format error") || has("is a directory")) {
        Kind::CommandNotExecutable
    } else if has("hook") {
        Kind::Hook
    } else {
        Kind::Runtime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_samples_are_understood() {
        let sample = |msg: &str| {
            format!("{{\"level\":\"warning\",\"msg\":\"x\"}}\n{{\"level\":\"error\",\"msg\":{msg:?},\"time\":\"t\"}}\n")
        };
        let runc_missing = r#"runc create failed: unable to start container process: exec: "nope": executable file not found in $PATH"#;
        assert_eq!(
            failure_of("runc", &sample(runc_missing), "").kind,
            Kind::CommandNotFound
        );
        let runc_path = r#"runc create failed: unable to start container process: exec: "/nope": stat /nope: no such file or directory"#;
        assert_eq!(failure_of("runc", &sample(runc_path), "").kind, Kind::CommandNotFound);
        let runc_denied = r#"runc create failed: unable to start container process: exec: "/etc": permission denied"#;
        assert_eq!(
            failure_of("runc", &sample(runc_denied), "").kind,
            Kind::CommandNotExecutable
        );
        let runc_hook = "runc create failed: unable to start container process: error during container init: error running hook #0: error running hook: exit status 3, stdout: , stderr: no";
        assert_eq!(failure_of("runc", &sample(runc_hook), "").kind, Kind::Hook);
        let twice = failure_of("/usr/sbin/runc", &sample("runc create failed: no luck\n\n"), "");
        assert_eq!(twice.message, "runc create failed: no luck");
        let crun_missing = "executable file `nope` not found in $PATH: No such file or directory";
        assert_eq!(
            failure_of("crun", &sample(crun_missing), "").kind,
            Kind::CommandNotFound
        );
        // As the runc shim of containerd 1.6 says it.
        let shim_missing = r#"failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "nope": executable file not found in $PATH"#;
        assert_eq!(kind_of(shim_missing), Kind::CommandNotFound);
        let shim_exec = r#"OCI runtime exec failed: exec failed: unable to start container process: exec: "/etc": permission denied"#;
        assert_eq!(kind_of(shim_exec), Kind::CommandNotExecutable);
        let other = failure_of("runc", "", "exit status: 1");
        assert_eq!(
            (other.kind, other.message.as_str()),
            (Kind::Runtime, "runc: it ended with exit status: 1")
        );
    }
}
