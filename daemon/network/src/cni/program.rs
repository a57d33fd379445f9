//! Runs one plugin.

use super::Attachment;
use crate::{Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// For one plugin and all that it runs itself.
const DEADLINE: Duration = Duration::from_secs(60);
/// More than any answer.
const LONGEST: usize = 1 << 20;
/// Between two looks whether it is over, in milliseconds.
const LOOK: u8 = 50;

pub struct Plugin<'a> {
    pub path: &'a Path,
    pub command: &'a str,
    pub dirs: &'a OsStr,
}

struct Ended {
    /// `None`: it had to be killed.
    status: Option<ExitStatus>,
    printed: Vec<u8>,
    complaint: Vec<u8>,
}

impl Plugin<'_> {
    /// What it answers; nothing is an answer too.
    pub fn run(&self, to: &Attachment<'_>, asked: &Value) -> Result<Value> {
        let failed = |output: String| Error::Program {
            program: format!("CNI plugin {} ({})", self.name(), self.command),
            output,
        };
        let ended = self.ended(to, asked).map_err(|error| failed(error.to_string()))?;
        let Some(status) = ended.status else {
            return Err(Error::TooSlow {
                what: format!("CNI plugin {} ({})", self.name(), self.command),
                seconds: DEADLINE.as_secs(),
            });
        };
        let said: Value = match ended.printed.iter().all(u8::is_ascii_whitespace) {
            true => Value::Null,
            false => serde_json::from_slice(&ended.printed)
                .map_err(|error| failed(format!("its answer cannot be read: {error}")))
                .or_else(|error| if status.success() { Err(error) } else { Ok(Value::Null) })?,
        };
        match status.success() {
            true => Ok(said),
            false => Err(failed(reason(&said, &ended.complaint, status))),
        }
    }

    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn ended(&self, to: &Attachment<'_>, asked: &Value) -> io::Result<Ended> {
        let args: Vec<String> = to.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut command = Command::new(self.path);
        command
            .env("CNI_COMMAND", self.command)
            .env("CNI_CONTAINERID", to.container)
            .env("CNI_NETNS", to.netns.unwrap_or(Path::new("")))
            .env("CNI_IFNAME", to.interface)
            .env("CNI_ARGS", args.join(";"))
            .env("CNI_PATH", self.dirs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn()?;
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = asked.to_string();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let printed = scope.spawn(|| drained(stdout, &over));
            let complaint = scope.spawn(|| drained(stderr, &over));
            scope.spawn(move || {
                // A plugin that ends early says why on its own; the broken pipe is no news.
                let _ = stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes()));
            });
            let status = within(&mut child);
            over.store(true, Ordering::Release);
            Ok(Ended {
                printed: printed.join().unwrap_or_default(),
                complaint: complaint.join().unwrap_or_default(),
                status: status?,
            })
        })
    }
}

/// A plugin that failed says so in JSON (SPEC, "Error").
fn reason(said: &Value, complaint: &[u8], status: ExitStatus) -> String {
    let text = |key: &str| said[key].as_str().filter(|text| !text.is_empty());
    match (text("msg"), text("details")) {
        (Some(message), Some(details)) => format!("{message}; {details}"),
        (Some(message), None) => message.to_owned(),
        (None, _) => {
            let complaint = String::from_utf8_lossy(complaint);
            let complaint: String = complaint.trim().chars().take(600).collect();
            if complaint.is_empty() {
                status.to_string()
            } else {
                complaint
            }
        }
    }
}

/// What it prints. Once it is over, somebody it has left behind may hold the pipe for ever: what is in it then is all.
fn drained(pipe: Option<impl Read + AsFd>, over: &AtomicBool) -> Vec<u8> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    let Some(mut pipe) = pipe else { return bytes };
    while bytes.len() < LONGEST {
        let last = over.load(Ordering::Acquire);
        let wait = if last {
            PollTimeout::ZERO
        } else {
            PollTimeout::from(LOOK)
        };
        let ready = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], wait);
        match ready {
            Ok(0) if last => break,
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => break,
        }
        match pipe.read(&mut chunk) {
            // What was read before a failure is still worth having.
            Ok(0) | Err(_) => break,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
    bytes
}

/// At the deadline it is killed, and what it runs with it: that holds its pipes.
fn within(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + DEADLINE;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
    let mut nap = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            // It may end just now.
            let _ = killpg(group, Signal::SIGKILL);
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(2));
    }
}
