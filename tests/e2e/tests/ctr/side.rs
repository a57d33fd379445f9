//! Two daemons, one client.

use crate::answer::{Answer, event, listing, moved, normal};
use crate::layout::Image;
use crate::watch::Watch;
use gantry_e2e::peers::{Containerd, Registry};
use gantry_e2e::{House, HouseOptions, Terminal};
use serde_json::Value;
use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const IMAGE: &str = "docker.io/library/busybox:latest";
const OURS: &str = "io.containerd.gantry.v1";
const THEIRS: &str = "io.containerd.runc.v2";
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Side {
    pub name: &'static str,
    socket: PathBuf,
    /// For containers that are made here; none = the client's choice, which is runc's.
    runtime: Option<&'static str>,
    /// Where commands of this side run and put their files.
    dir: PathBuf,
}

pub struct Sides {
    ours: Side,
    theirs: Side,
    image: Image,
    registry: Registry,
    // Dropped in this order: clients' things first, then the daemons.
    _peer: Containerd,
    house: House,
    root: TempDir,
    /// Every answer that was not the same; told together at the end.
    differences: RefCell<Vec<String>>,
}

impl Sides {
    pub fn new() -> Self {
        Self::with(None)
    }

    /// gantryd with its own shim, containerd with runc's.
    pub fn with_our_shim() -> Self {
        Self::with(Some(OURS))
    }

    fn with(runtime: Option<&'static str>) -> Self {
        let house = House::with(HouseOptions {
            bare: true,
            ..HouseOptions::default()
        });
        let root = tempfile::Builder::new()
            .prefix("gantry-ctr-")
            .tempdir()
            .expect("a directory");
        let peer = Containerd::start(root.path());
        let registry = Registry::start(root.path());
        let side = |name: &'static str, socket: &Path| {
            let dir = root.path().join(name);
            std::fs::create_dir(&dir).expect("a directory");
            Side {
                name,
                socket: socket.to_owned(),
                runtime: runtime.filter(|_| name == "gantry"),
                dir,
            }
        };
        let image = Image::make(root.path());
        let layout = format!("oci-archive:{}", image.archive.display());
        let to = format!("docker://{}/busybox:1", registry.host);
        let copied = Command::new("skopeo")
            .args(["copy", "-q", "--dest-tls-verify=false", &layout, &to])
            .status();
        assert!(copied.expect("skopeo runs").success(), "the image is in the registry");
        Self {
            ours: side("gantry", &house.socket()),
            theirs: side("containerd", &peer.socket),
            image,
            registry,
            _peer: peer,
            house,
            root,
            differences: RefCell::default(),
        }
    }

    /// Whether both run containers under runc's shim.
    pub fn runc(&self) -> bool {
        self.ours.runtime.is_none()
    }

    pub fn archive(&self) -> String {
        self.image.archive.display().to_string()
    }

    pub fn manifest(&self) -> String {
        self.image.manifest.clone()
    }

    pub fn config(&self) -> String {
        self.image.config.clone()
    }

    /// One layer: its chain id is its diff id.
    pub fn chain_id(&self) -> String {
        self.image.diff_id.clone()
    }

    pub fn registry(&self) -> &str {
        &self.registry.host
    }

    pub fn out(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Both collect what nothing refers to, which each does in its own time otherwise.
    #[track_caller]
    pub fn collect(&self) {
        self.same(&["leases", "create", "--id", "collect"]);
        self.same(&["leases", "delete", "--sync", "collect"]);
    }

    pub fn import(&self) {
        self.same(&["images", "import", &self.archive()]);
    }

    /// Exit code, stdout and stderr are the same.
    #[track_caller]
    pub fn same(&self, args: &[&str]) {
        self.same_each(|_| args.iter().map(|arg| (*arg).to_owned()).collect());
    }

    /// The same for arguments that differ by side.
    #[track_caller]
    pub fn same_each(&self, args: impl Fn(&Side) -> Vec<String>) {
        let (ours, theirs) = self.both(&args, None);
        self.compare(&args(&self.ours), &ours, &theirs);
    }

    /// The same for an answer whose lines have no order.
    #[track_caller]
    pub fn same_sorted(&self, args: &[&str]) {
        let owned = |_: &Side| args.iter().map(|arg| (*arg).to_owned()).collect();
        let (mut ours, mut theirs) = self.both(&owned, None);
        for answer in [&mut ours, &mut theirs] {
            let mut lines: Vec<&str> = answer.stdout.lines().collect();
            lines.sort_unstable();
            answer.stdout = lines.join("\n");
        }
        self.compare(&owned(&self.ours), &ours, &theirs);
    }

    #[track_caller]
    pub fn feed(&self, args: &[&str], input: &[u8]) {
        let owned = |_: &Side| args.iter().map(|arg| (*arg).to_owned()).collect();
        let (ours, theirs) = self.both(&owned, Some(input));
        self.compare(&owned(&self.ours), &ours, &theirs);
    }

    /// The versions that `ctr` shows are those of each side; the rest is the same.
    #[track_caller]
    pub fn same_versions(&self) {
        let args = |_: &Side| vec!["version".to_owned()];
        let (mut ours, mut theirs) = self.both(&args, None);
        for answer in [&mut ours, &mut theirs] {
            let (client, server) = answer.stdout.split_once("Server:").expect("what the server says");
            let names = server
                .lines()
                .map(|line| line.split_whitespace().next().unwrap_or_default());
            answer.stdout = format!("{client}Server:{}", names.collect::<Vec<_>>().join(" "));
            // Its own version is not that of ours, and it warns of it.
            let warnings = answer.stderr.lines().filter(|line| !line.ends_with(" mismatch"));
            answer.stderr = warnings.collect::<Vec<_>>().join("\n");
        }
        self.compare(&args(&self.ours), &ours, &theirs);
    }

    /// The same for a container's record, but for the options of its runtime: `ctr` itself gives them only to runc's shim.
    #[track_caller]
    pub fn same_record(&self, args: &[&str]) {
        let owned: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let one = |side: &Side| {
            let mut answer = side.run(&owned, None);
            let mut record: Value = serde_json::from_str(&answer.stdout).expect("a record in JSON");
            if !self.runc() {
                record["Runtime"]["Options"] = Value::Null;
            }
            answer.stdout = format!("{record:#}");
            self.alike(answer)
        };
        let (ours, theirs) = (one(&self.ours), one(&self.theirs));
        self.compare(&owned, &ours, &theirs);
    }

    /// Waits until an exec has ended on both sides: it cannot be signalled any more.
    #[track_caller]
    pub fn settle_exec(&self, exec: &str, task: &str) {
        for side in [&self.ours, &self.theirs] {
            gantry_e2e::eventually("the exec has ended", LIMIT, || {
                let signal = ["tasks", "kill", "--exec-id", exec, "-s", "CONT", task].map(str::to_owned);
                side.run(&signal, None).stderr.contains("process already finished")
            });
        }
    }

    /// Waits until a task is stopped on both sides.
    #[track_caller]
    pub fn settle(&self, task: &str) {
        for side in [&self.ours, &self.theirs] {
            gantry_e2e::eventually("the task is stopped", LIMIT, || {
                let answer = side.run(&["tasks".into(), "ls".into()], None);
                let mut lines = answer.stdout.lines();
                lines.any(|line| line.starts_with(task) && line.contains("STOPPED"))
            });
        }
    }

    /// The same for a transfer; the states it shows on the way are a matter of time.
    #[track_caller]
    pub fn same_transfer(&self, args: &[&str]) {
        let owned: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let one = |side: &Side| {
            let mut answer = side.run(&owned, None);
            answer.stdout = moved(&answer.stdout);
            self.alike(answer)
        };
        let (ours, theirs) = (one(&self.ours), one(&self.theirs));
        self.compare(&owned, &ours, &theirs);
    }

    /// The same for the first word of each line.
    #[track_caller]
    pub fn same_names(&self, args: &[&str]) {
        let owned = |_: &Side| args.iter().map(|arg| (*arg).to_owned()).collect();
        let (mut ours, mut theirs) = self.both(&owned, None);
        for answer in [&mut ours, &mut theirs] {
            let lines = answer.stdout.lines();
            let names: Vec<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
            answer.stdout = names.join("\n");
        }
        self.compare(&owned(&self.ours), &ours, &theirs);
    }

    /// A compressed archive, which no two programs write alike, has the same files in it.
    #[track_caller]
    pub fn same_archive(&self, args: &[&str]) {
        let owned: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let one = |side: &Side| {
            let output = side.output(&owned, None);
            let mut answer = Answer::of(&output);
            answer.stdout = listing(&output.stdout);
            answer
        };
        let (ours, theirs) = (one(&self.ours), one(&self.theirs));
        self.compare(&owned, &ours, &theirs);
    }

    /// What is shown on a terminal of 30 by 100, and the exit code.
    #[track_caller]
    pub fn same_screen(&self, args: &[&str], typed: &[(&str, &str)]) {
        let owned: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let one = |side: &Side| {
            let mut terminal = Terminal::spawn(side.command(&owned), 30, 100);
            for (after, text) in typed {
                terminal.expect(after, LIMIT);
                terminal.send(text);
            }
            let code = terminal.exit(LIMIT);
            let stdout = terminal.rest(LIMIT);
            let stderr = String::new();
            self.alike(Answer { code, stdout, stderr })
        };
        let (ours, theirs) = (one(&self.ours), one(&self.theirs));
        self.compare(&owned, &ours, &theirs);
    }

    /// What `ctr events` tells while something is done.
    #[track_caller]
    pub fn same_events(&self, done: impl Fn(&dyn Fn(&[&str])), until: &str) {
        let one = |side: &Side| {
            let watch = Watch::start(side);
            done(&|args: &[&str]| {
                let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
                side.run(&args, None);
            });
            let text = watch.end(until);
            // A shim's events and the daemon's have an order each, and none between them.
            let mut lines: Vec<String> = text.lines().map(|line| self.normal(&event(line))).collect();
            for line in lines.iter_mut().filter(|line| line.contains(" /namespaces/create ")) {
                // The peer tells of it in the namespace of the caller, ours in the new one.
                *line = line.replace("<ns> /", "last /");
            }
            // When what nothing refers to is collected is a matter of time.
            lines.retain(|line| !line.contains("/content/delete"));
            lines.sort_unstable();
            Answer {
                code: 0,
                stdout: lines.join("\n"),
                stderr: String::new(),
            }
        };
        let (ours, theirs) = (one(&self.ours), one(&self.theirs));
        self.compare(&["events".to_owned()], &ours, &theirs);
    }

    /// What theirs has of these plugins, ours has in the same state.
    #[track_caller]
    pub fn plugins(&self, gates: &[(&str, &str)]) {
        let args = ["plugins".to_owned(), "ls".to_owned()];
        let rows = |side: &Side| -> Vec<Vec<String>> {
            let text = side.run(&args, None).stdout;
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
            text.lines().map(words).collect()
        };
        let (ours, theirs) = (rows(&self.ours), rows(&self.theirs));
        for (kind, id) in gates {
            let of = |rows: &[Vec<String>]| rows.iter().find(|row| row[0] == *kind && row[1] == *id).cloned();
            assert!(of(&theirs).is_some(), "containerd has no {kind} {id}");
            assert_eq!(of(&ours), of(&theirs), "{kind} {id}");
        }
        assert_eq!(ours[0], theirs[0]);
    }

    fn both(&self, args: &dyn Fn(&Side) -> Vec<String>, input: Option<&[u8]>) -> (Answer, Answer) {
        let one = |side: &Side| self.alike(side.run(&args(side), input));
        (one(&self.ours), one(&self.theirs))
    }

    fn compare(&self, args: &[String], ours: &Answer, theirs: &Answer) {
        if ours != theirs {
            self.differ(args, ours, theirs);
        }
    }

    fn differ(&self, args: &[String], ours: &Answer, theirs: &Answer) {
        self.differences.borrow_mut().push(format!(
            "ctr {}\n--- gantry: exit {}\n{}\n{}\n--- containerd: exit {}\n{}\n{}\n",
            args.join(" "),
            ours.code,
            ours.stdout,
            ours.stderr,
            theirs.code,
            theirs.stdout,
            theirs.stderr
        ));
    }

    /// Takes out what differs by nature.
    fn alike(&self, answer: Answer) -> Answer {
        Answer {
            code: answer.code,
            stdout: self.normal(&answer.stdout),
            stderr: self.normal(&answer.stderr),
        }
    }

    fn normal(&self, text: &str) -> String {
        let bundles = |dir: PathBuf, side: &Side| dir.join(side.namespace()).display().to_string();
        let shims = self.root.path().join("state/io.containerd.runtime.v2.task");
        let places = [
            (bundles(self.house.exec_root(), &self.ours), "<bundles>"),
            (bundles(shims, &self.theirs), "<bundles>"),
            (self.house.root().display().to_string(), "<root>"),
            (self.ours.dir.display().to_string(), "<dir>"),
            (self.theirs.dir.display().to_string(), "<dir>"),
            (self.root.path().display().to_string(), "<root>"),
            // Where each keeps its overlays.
            ("data/snapshotters/overlayfs".to_owned(), "<overlays>"),
            ("root/io.containerd.snapshotter.v1.overlayfs".to_owned(), "<overlays>"),
            (self.ours.namespace(), "<ns>"),
            (self.theirs.namespace(), "<ns>"),
            (OURS.to_owned(), THEIRS),
        ];
        let text = places
            .iter()
            .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        normal(&text)
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        let found = self.differences.borrow();
        for side in [&self.ours, &self.theirs] {
            // A script that came to its end has ended what it ran.
            if std::thread::panicking() || !found.is_empty() {
                side.end_tasks();
            }
            side.forget_namespace();
        }
        if !std::thread::panicking() && !found.is_empty() {
            panic!("{} answers differ\n\n{}", found.len(), found.join("\n"));
        }
    }
}

impl Side {
    /// The runtimes of both, and of other tests, keep what they know of a container in one place, by namespace and id.
    pub fn namespace(&self) -> String {
        let test = self.dir.parent().and_then(Path::file_name).expect("in the test's root");
        format!("{}-{}", self.name, test.to_string_lossy())
    }

    /// Takes away what still runs: shims outlive their daemons.
    fn end_tasks(&self) {
        let ctr = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            let plain = self.command(&args);
            let mut limited = Command::new("timeout");
            limited.args(["20", "ctr"]).args(plain.get_args());
            limited
                .env("CONTAINERD_NAMESPACE", self.namespace())
                .stdin(Stdio::null());
            // The test has failed already; what does not go now stays.
            let output = limited.output().map(|output| output.stdout).unwrap_or_default();
            String::from_utf8_lossy(&output).into_owned()
        };
        for task in ctr(&["tasks", "ls", "-q"]).lines() {
            ctr(&["tasks", "rm", "-f", task]);
        }
    }

    /// Directories that runtimes make for a namespace and leave.
    fn forget_namespace(&self) {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let rest = ["/sys/fs/cgroup", "/run/containerd/runc"].map(PathBuf::from);
        for dir in hierarchies.map(|entry| entry.path()).chain(rest) {
            // Not everywhere was something made.
            let _ = std::fs::remove_dir(dir.join(self.namespace()));
        }
    }

    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    pub fn command(&self, args: &[String]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(&self.socket).current_dir(&self.dir);
        let made = match args {
            [run, ..] if run == "run" => 1,
            [containers, create, ..] if containers == "containers" && create == "create" => 2,
            _ => 0,
        };
        command.args(&args[..made]);
        if let Some(runtime) = self.runtime.filter(|_| made > 0) {
            command.args(["--runtime", runtime]);
        }
        command.args(&args[made..]);
        command.env("CONTAINERD_NAMESPACE", self.namespace());
        command
    }

    pub fn run(&self, args: &[String], input: Option<&[u8]>) -> Answer {
        Answer::of(&self.output(args, input))
    }

    fn output(&self, args: &[String], input: Option<&[u8]>) -> Output {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("ctr, of Debian's containerd, starts");
        let mut stdin = child.stdin.take().expect("piped");
        // A command that does not read is not our failure.
        let _ = stdin.write_all(input.unwrap_or_default());
        drop(stdin);
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        let (done, ended) = std::sync::mpsc::channel();
        let watch = std::thread::spawn(move || {
            if ended.recv_timeout(LIMIT).is_err() {
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        });
        let began = Instant::now();
        let output = child.wait_with_output().expect("ctr ends");
        let _ = done.send(());
        watch.join().expect("the watch ends");
        assert!(began.elapsed() < LIMIT, "{}: ctr {args:?} did not end", self.name);
        output
    }
}
