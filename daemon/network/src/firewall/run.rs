//! Runs the programs that speak to the kernel's firewall.

use crate::{Error, Result};
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for ten thousand rules on a busy machine, and for another program to let go of the xtables lock.
const DEADLINE: Duration = Duration::from_secs(30);

/// Said of a program that is not there.
pub(crate) const NOT_INSTALLED: &str = "the program is not installed";

/// What a program needs to be told.
pub(crate) struct Run<'a> {
    pub program: &'a str,
    pub args: &'a [&'a str],
    pub input: String,
    pub env: &'a [(&'a str, &'a str)],
}

impl<'a> Run<'a> {
    pub fn new(program: &'a str, args: &'a [&'a str]) -> Self {
        Self {
            program,
            args,
            input: String::new(),
            env: &[],
        }
    }

    pub fn input(mut self, input: String) -> Self {
        self.input = input;
        self
    }

    pub fn env(mut self, env: &'a [(&'a str, &'a str)]) -> Self {
        self.env = env;
        self
    }

    /// What it printed, if it ended well.
    pub fn output(self) -> Result<String> {
        let named = |source: io::Error| Error::Program {
            program: self.program.to_owned(),
            output: match source.kind() {
                io::ErrorKind::NotFound => NOT_INSTALLED.to_owned(),
                _ => source.to_string(),
            },
        };
        let mut child = Command::new(self.program)
            .args(self.args)
            .env("LC_ALL", "C")
            .envs(self.env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(named)?;
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (status, printed, complaint) = thread::scope(|scope| {
            let printed = scope.spawn(|| drained(stdout));
            let complaint = scope.spawn(|| drained(stderr));
            let input = self.input.as_bytes();
            scope.spawn(move || {
                // A program that ends early says why on its own; the broken pipe is no news.
                let _ = stdin.take().map(|mut pipe| pipe.write_all(input));
            });
            let status = ended(&mut child);
            (
                status,
                printed.join().unwrap_or_default(),
                complaint.join().unwrap_or_default(),
            )
        });
        match status.map_err(named)? {
            None => Err(Error::TooSlow {
                what: self.program.to_owned(),
                seconds: DEADLINE.as_secs(),
            }),
            Some(status) if status.success() => Ok(printed),
            Some(status) => Err(Error::Program {
                program: self.program.to_owned(),
                output: worth_saying(&complaint).unwrap_or_else(|| status.to_string()),
            }),
        }
    }
}

fn drained(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before a failure is still worth having.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `None`: it was still running at the deadline and was killed.
fn ended(child: &mut Child) -> io::Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + DEADLINE;
    let mut nap = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(1));
    }
}

/// The first lines of a complaint: nft repeats whole transactions.
fn worth_saying(complaint: &str) -> Option<String> {
    let lines: Vec<String> = complaint
        .lines()
        .map(|line| line.trim().chars().take(300).collect::<String>())
        .filter(|line| !line.is_empty())
        .take(4)
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_comes_back() {
        assert_eq!(
            Run::new("cat", &[]).input("a".repeat(200_000)).output().unwrap().len(),
            200_000
        );
        let error = Run::new("sh", &["-c", "echo no such thing >&2; exit 3"])
            .output()
            .unwrap_err();
        assert_eq!(error.to_string(), "sh: no such thing");
        let error = Run::new("no-such-program-here", &[]).output().unwrap_err();
        assert_eq!(error.to_string(), "no-such-program-here: the program is not installed");
    }
}
