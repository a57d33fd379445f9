//! Running a shim's `start`: its process, its answer, its complaints.

use crate::error::{Result, TaskError};
use crate::exe::{Exe, Program};
use gantry_shim_protocol::{Bootstrap, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The most that is kept of an answer or of complaints.
const MOST: usize = 16 * 1024;

/// What a shim is told on its command line and in its environment.
pub(crate) struct Invocation<'a> {
    pub exe: &'a Exe,
    pub program: &'a Path,
    pub bundle: &'a Path,
    pub namespace: &'a str,
    pub id: &'a str,
    pub grpc_address: &'a str,
    pub ttrpc_address: &'a str,
    pub publish_binary: &'a Path,
    pub socket_dir: &'a Path,
    pub debug: bool,
    /// What it reads: the runtime's options as a message, or nothing.
    pub stdin: Vec<u8>,
}

impl Invocation<'_> {
    fn command(&self, verb: &str) -> Program {
        let mut program = self.exe.command(self.program);
        let command = &mut program.command;
        command.args(["-namespace", self.namespace, "-address", self.grpc_address]);
        command
            .arg("-publish-binary")
            .arg(self.publish_binary)
            .args(["-id", self.id]);
        if self.debug {
            command.arg("-debug");
        }
        if verb == "delete" {
            command.arg("-bundle").arg(self.bundle);
        }
        command.arg(verb).current_dir(self.bundle);
        command
            .env("GRPC_ADDRESS", self.grpc_address)
            .env("TTRPC_ADDRESS", self.ttrpc_address);
        command
            .env("NAMESPACE", self.namespace)
            .env("MAX_SHIM_VERSION", "3")
            .env(socket::DIR_ENV, self.socket_dir);
        // What systemd told the daemon is not for its children.
        for name in [
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "WATCHDOG_PID",
            "WATCHDOG_USEC",
        ] {
            command.env_remove(name);
        }
        // A group of its own: a ^C at the daemon's terminal is not for it.
        command
            .process_group(0)
            .stdin(if self.stdin.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        program
    }

    /// Runs `start` to its end, within `limit`. Blocks.
    pub(crate) fn run(&self, limit: Duration) -> Result<Bootstrap> {
        let failed = |source| self.failed(source);
        fail::fail_point!("task::shim::spawn");
        let child = self.command("start").command.spawn().map_err(failed)?;
        fail::fail_point!("task::shim::spawned");
        let (heard, status) = self.hear_out(child, limit).map_err(failed)?;
        let heard = self.accept(heard, status, limit)?;
        self.judge(&heard)
    }

    /// Runs `delete`, by which a shim's program clears what a dead shim left. Answers what it printed. Blocks.
    pub(crate) fn delete(&self, limit: Duration) -> Result<Vec<u8>> {
        let failed = |source| self.failed(source);
        let child = self.command("delete").command.spawn().map_err(failed)?;
        let (heard, status) = self.hear_out(child, limit).map_err(failed)?;
        Ok(self.accept(heard, status, limit)?.answer)
    }

    fn hear_out(&self, mut child: Child, limit: Duration) -> io::Result<(Heard, ExitStatus)> {
        let deadline = Instant::now() + limit;
        if let Some(mut stdin) = child.stdin.take() {
            let told = self.stdin.clone();
            // It may not read at all, and then must not be waited for.
            std::thread::spawn(move || stdin.write_all(&told));
        }
        let heard = listen(&mut child, deadline);
        if !matches!(&heard, Ok(Heard { ended: true, .. })) {
            // Not done in time: neither shall it be done later.
            let _ = child.kill();
        }
        let status = child.wait()?;
        Ok((heard?, status))
    }

    fn failed(&self, source: io::Error) -> TaskError {
        TaskError::SpawnShim {
            program: self.program.to_owned(),
            id: self.id.to_owned(),
            source,
        }
    }

    fn accept(&self, heard: Heard, status: ExitStatus, limit: Duration) -> Result<Heard> {
        let id = self.id.to_owned();
        let said = said(&heard);
        if !heard.ended {
            return Err(TaskError::ShimSilent { id, after: limit, said });
        }
        if !status.success() {
            return Err(TaskError::ShimRefused {
                id,
                status: status.code().unwrap_or(-1),
                said,
            });
        }
        Ok(heard)
    }

    fn judge(&self, heard: &Heard) -> Result<Bootstrap> {
        let id = self.id.to_owned();
        let bootstrap =
            Bootstrap::parse(&heard.answer).map_err(|source| TaskError::ShimReply { id: id.clone(), source })?;
        if bootstrap.protocol != "ttrpc" || bootstrap.socket_path().is_none() {
            return Err(TaskError::ShimSpeaks {
                id,
                protocol: bootstrap.protocol,
                address: bootstrap.address,
            });
        }
        Ok(bootstrap)
    }
}

#[derive(Default)]
struct Heard {
    answer: Vec<u8>,
    complaints: Vec<u8>,
    /// The process ended within its time.
    ended: bool,
}

fn said(heard: &Heard) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match (text(&heard.complaints), text(&heard.answer)) {
        (said, _) if !said.is_empty() => said,
        (_, said) if !said.is_empty() => said,
        _ => "it said nothing".to_owned(),
    }
}

/// Takes what the process prints until it has ended. Its server may live on with the same pipes: their end is not waited for.
fn listen(child: &mut Child, deadline: Instant) -> io::Result<Heard> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("a child has a pid");
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let mut stdout = child.stdout.take().expect("stdout was piped");
    let mut stderr = child.stderr.take().expect("stderr was piped");
    let mut heard = Heard::default();
    let (mut out_open, mut err_open) = (true, true);
    loop {
        let wait = if heard.ended {
            Duration::ZERO
        } else {
            deadline.saturating_duration_since(Instant::now())
        };
        let none = process.as_fd();
        let fds = [
            process.as_fd(),
            if out_open { stdout.as_fd() } else { none },
            if err_open { stderr.as_fd() } else { none },
        ];
        let [ended, out, err] = ready(fds, wait)?;
        if out_open && out {
            out_open = take(&mut stdout, &mut heard.answer)?;
        }
        if err_open && err {
            err_open = take(&mut stderr, &mut heard.complaints)?;
        }
        // Once ended, go round until the pipes have nothing more to give at this moment.
        let more = (out_open && out) || (err_open && err);
        if (heard.ended && !more) || (!ended && !out && !err) {
            return Ok(heard);
        }
        heard.ended |= ended;
    }
}

/// Which of the three can be read, or have ended.
fn ready(fds: [BorrowedFd<'_>; 3], wait: Duration) -> io::Result<[bool; 3]> {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let timeout = Timespec {
        tv_sec: wait.as_secs() as i64,
        tv_nsec: wait.subsec_nanos().into(),
    };
    loop {
        match poll(&mut polled, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Ok(polled.map(|fd| !fd.revents().is_empty())),
        }
    }
}

/// One read. `false` at the end of the pipe.
fn take(pipe: &mut impl Read, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let read = pipe.read(&mut buffer)?;
    let room = MOST.saturating_sub(into.len());
    into.extend_from_slice(&buffer[..read.min(room)]);
    Ok(read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn run(script: &str, limit: Duration) -> Result<Bootstrap> {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("shim");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let invocation = Invocation {
            exe: &Exe::new(Path::new("/no/shim/of/ours")),
            program: &program,
            bundle: dir.path(),
            namespace: "ns",
            id: "c1",
            grpc_address: "/g.sock",
            ttrpc_address: "/g.sock.ttrpc",
            publish_binary: Path::new("gantryd"),
            socket_dir: dir.path(),
            debug: false,
            stdin: b"options".to_vec(),
        };
        loop {
            // Another test's child may hold the script open for writing at this moment.
            match invocation.run(limit) {
                Err(TaskError::SpawnShim { source, .. }) if source.kind() == io::ErrorKind::ExecutableFileBusy => {}
                done => return done,
            }
        }
    }

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn the_address_is_read_though_the_server_keeps_the_pipes() {
        let begun = Instant::now();
        let said = run("echo unix:///run/$NAMESPACE/$8; sleep 3 &", LONG).unwrap();
        assert_eq!((said.version, said.socket_path()), (2, Some("/run/ns/c1")));
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn options_are_read() {
        let said = run("echo unix:///$(cat)", LONG).unwrap();
        assert_eq!(said.socket_path(), Some("/options"));
    }

    #[test]
    fn complaints_come_back() {
        let error = run("echo no room for it >&2; exit 3", LONG).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shim for c1 did not start (exit status 3): no room for it"
        );
        let error = run("exit 0", LONG).unwrap_err();
        assert!(matches!(error, TaskError::ShimReply { .. }), "{error}");
        let error = run(
            "echo '{\"version\":3,\"address\":\"unix:///a\",\"protocol\":\"grpc\"}'",
            LONG,
        )
        .unwrap_err();
        assert!(matches!(error, TaskError::ShimSpeaks { .. }), "{error}");
    }

    #[test]
    fn a_silent_shim_is_ended() {
        let error = run("echo waiting >&2; exec sleep 60", Duration::from_secs(2)).unwrap_err();
        assert!(
            matches!(&error, TaskError::ShimSilent { said, .. } if said == "waiting"),
            "{error}"
        );
    }
}
