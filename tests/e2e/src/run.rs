//! The `gantry` command against one house.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Makes commands that talk to one daemon.
#[derive(Clone)]
pub struct Gantry {
    pub(crate) socket: PathBuf,
    pub(crate) home: PathBuf,
}

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code, or 128 and the signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub bytes: Vec<u8>,
}

impl Output {
    /// Fails unless the exit code is this.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Fails unless stderr contains this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "stderr does not say {text:?}: {}",
            self.stderr
        );
        self
    }

    /// stdout without the line end.
    pub fn line(&self) -> &str {
        self.stdout.trim_end()
    }
}

impl Gantry {
    /// A command ready to run.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(crate::program("gantry"));
        command
            .env("GANTRY_HOST", format!("unix://{}", self.socket.display()))
            .env("HOME", &self.home)
            .env_remove("NO_COLOR");
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Runs it with nothing on stdin.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.finish(self.command(args))
    }

    /// Runs it and fails unless it succeeds; answers stdout without the line end.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(
            output.code, 0,
            "gantry {args:?}\nstdout: {}\nstderr: {}",
            output.stdout, output.stderr
        );
        output.stdout.trim_end().to_owned()
    }

    /// Runs it with `input` on stdin.
    #[track_caller]
    pub fn feed(&self, args: &[&str], input: &[u8]) -> Output {
        use std::io::Write;
        let mut child = self.spawn(self.command(args));
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A command that does not read is not our failure.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().expect("gantry ends");
        writer.join().expect("the writer ends");
        collect(output)
    }

    pub fn spawn(&self, mut command: Command) -> Child {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gantry starts")
    }

    pub fn finish(&self, mut command: Command) -> Output {
        collect(command.output().expect("gantry runs"))
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

pub(crate) fn collect(output: std::process::Output) -> Output {
    use std::os::unix::process::ExitStatusExt;
    let code = output
        .status
        .code()
        .or(output.status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1);
    Output {
        code,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        bytes: output.stdout,
    }
}
