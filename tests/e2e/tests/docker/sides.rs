//! Two daemons, one client.

use crate::alike::{Answer, alike};
use crate::oracle::Dockerd;
use gantry_e2e::{House, HouseOptions, PATIENCE, Terminal, busybox_tar};
use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The image that both have, under the same id.
pub const IMAGE: &str = "busybox:latest";
/// A line that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Side {
    pub name: &'static str,
    pub socket: PathBuf,
    home: PathBuf,
}

pub struct Sides {
    pub ours: Side,
    pub theirs: Side,
    // Dropped in this order: the daemons, then their directory.
    _peer: Dockerd,
    pub house: House,
    root: TempDir,
    differences: RefCell<Vec<String>>,
}

impl Sides {
    pub fn new() -> Self {
        let sides = Self::bare();
        sides.fill();
        sides
    }

    fn bare() -> Self {
        let house = House::with(HouseOptions {
            bare: true,
            netns: true,
            ..HouseOptions::default()
        });
        let root = tempfile::Builder::new().prefix("gantry-docker-").tempdir();
        let root = root.expect("a directory");
        let peer = Dockerd::start(&root.path().join("peer"));
        let side = |name: &'static str, socket: &Path| {
            let home = root.path().join(format!("home-{name}"));
            std::fs::create_dir(&home).expect("a directory");
            Side {
                name,
                socket: socket.to_owned(),
                home,
            }
        };
        Self {
            ours: side("gantry", &house.exec_root().join("docker.sock")),
            theirs: side("dockerd", &peer.socket),
            _peer: peer,
            house,
            root,
            differences: RefCell::default(),
        }
    }

    /// The same image on both: made here, saved, loaded there.
    fn fill(&self) {
        let made = self.ours.feed(&["import", "-", "busybox:latest"], busybox_tar());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let archive = self.path("busybox.tar");
        for (side, args) in [
            (
                &self.ours,
                ["save", "-o", archive.as_str(), "busybox:latest"].as_slice(),
            ),
            (&self.theirs, ["load", "-q", "-i", archive.as_str()].as_slice()),
        ] {
            let done = side.run(args);
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    }

    /// A file for both.
    pub fn path(&self, name: &str) -> String {
        self.root.path().join(name).display().to_string()
    }

    /// Exit code, stdout and stderr are the same.
    #[track_caller]
    pub fn same(&self, args: &[&str]) {
        self.compare(args, |side| Answer::of(&side.run(args)));
    }

    /// The same, with something on stdin.
    #[track_caller]
    pub fn fed(&self, args: &[&str], input: &[u8]) {
        self.compare(args, |side| Answer::of(&side.feed(args, input)));
    }

    /// The same for an answer whose lines have no order.
    #[track_caller]
    pub fn sorted(&self, args: &[&str]) {
        self.compare(args, |side| Answer::of(&side.run(args)).sorted());
    }

    /// The same for JSON, whose keys are compared without order and without what differs by nature.
    #[track_caller]
    pub fn json(&self, args: &[&str]) {
        self.compare(args, |side| Answer::of(&side.run(args)).json());
    }

    /// The same for a removal of images: the peer tells of each layer, too.
    #[track_caller]
    pub fn removed(&self, args: &[&str]) {
        self.compare(args, |side| Answer::of(&side.run(args)).unique());
    }

    /// Only the exit code and whether anything is said, for the words differ by nature.
    #[track_caller]
    pub fn code(&self, args: &[&str]) {
        self.compare(args, |side| Answer::of(&side.run(args)).code_only());
    }

    /// What is shown on a terminal of 30 by 100, and the exit code.
    #[track_caller]
    pub fn screen(&self, args: &[&str], typed: &[(&str, &str)]) {
        self.compare(args, |side| {
            let mut terminal = Terminal::spawn(side.command(args), 30, 100);
            for (after, text) in typed {
                terminal.expect(after, PATIENCE);
                terminal.send(text);
            }
            let code = terminal.exit(PATIENCE);
            Answer {
                code,
                stdout: terminal.rest(PATIENCE),
                stderr: String::new(),
            }
        });
    }

    /// Runs a line on both without comparing.
    pub fn both(&self, args: &[&str]) {
        for side in [&self.ours, &self.theirs] {
            side.run(args);
        }
    }

    /// Any way to ask both.
    #[track_caller]
    pub fn compare(&self, args: &[&str], ask: impl Fn(&Side) -> Answer) {
        let one = |side: &Side| self.alike(ask(side));
        let (ours, theirs) = (one(&self.ours), one(&self.theirs));
        if ours != theirs {
            self.differences.borrow_mut().push(format!(
                "docker {}\n--- gantry: exit {}\n{}\n{}\n--- dockerd: exit {}\n{}\n{}\n",
                args.join(" "),
                ours.code,
                ours.stdout,
                ours.stderr,
                theirs.code,
                theirs.stdout,
                theirs.stderr
            ));
        }
    }

    fn alike(&self, answer: Answer) -> Answer {
        let places = [
            (self.house.data_root().display().to_string(), "<data>"),
            (self.house.exec_root().display().to_string(), "<exec>"),
            (self.path("peer/data"), "<data>"),
            (self.path("peer/exec"), "<exec>"),
            (self.path("home-gantry"), "<home>"),
            (self.path("home-dockerd"), "<home>"),
            (self.root.path().display().to_string(), "<root>"),
        ];
        let plain = |text: &str| {
            let named = places
                .iter()
                .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
            alike(&named)
        };
        Answer {
            code: answer.code,
            stdout: plain(&answer.stdout),
            stderr: plain(&answer.stderr),
        }
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        // What a script leaves on the peer's side; ours the house removes.
        let left = self.theirs.run(&["ps", "-aq"]);
        let text = String::from_utf8_lossy(&left.stdout).into_owned();
        for id in text.split_whitespace() {
            self.theirs.run(&["rm", "-f", id]);
        }
        let found = self.differences.borrow();
        if !std::thread::panicking() && !found.is_empty() {
            panic!("{} answers differ\n\n{}", found.len(), found.join("\n"));
        }
    }
}

impl Side {
    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .env("DOCKER_API_VERSION", "1.41")
            .env("HOME", &self.home)
            .env_remove("DOCKER_CONFIG")
            .current_dir(&self.home)
            .args(args)
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.finish(self.command(args), args, &[])
    }

    pub fn feed(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        self.finish(command, args, input)
    }

    fn finish(&self, mut command: Command, args: &[&str], input: &[u8]) -> Output {
        let began = Instant::now();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("docker starts");
        let stdin = child.stdin.take();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        let (done, over) = std::sync::mpsc::channel::<()>();
        let guard = std::thread::spawn(move || {
            let late = over.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
            if late {
                // It may have ended this very moment.
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        });
        std::thread::scope(|scope| {
            if let Some(mut stdin) = stdin {
                scope.spawn(move || {
                    // A client that stops reading has its reasons.
                    let _ = stdin.write_all(input);
                });
            }
            let output = child.wait_with_output().expect("docker ends");
            drop(done);
            guard.join().expect("the guard ends");
            assert!(began.elapsed() < LIMIT, "{}: docker {args:?} did not end", self.name);
            output
        })
    }
}
