//! Two daemons, one client.

use gantry_e2e::peers::{Containerd, Registry};
use gantry_e2e::{House, HouseOptions, busybox_tar, digest};
use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const IMAGE: &str = "docker.io/library/busybox:latest";
const LIMIT: Duration = Duration::from_secs(60);

pub struct Side {
    pub name: &'static str,
    socket: PathBuf,
    /// Where commands of this side run and put their files.
    dir: PathBuf,
}

/// What a command came to.
#[derive(PartialEq, Eq)]
struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
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

/// An OCI image layout of one layer.
struct Image {
    archive: PathBuf,
    manifest: String,
    config: String,
    diff_id: String,
}

impl Sides {
    pub fn new() -> Self {
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

    /// Only the exit code is the same, for the answer says what differs by nature.
    #[track_caller]
    pub fn same_code(&self, args: &[&str]) {
        let owned = |_: &Side| args.iter().map(|arg| (*arg).to_owned()).collect();
        let (ours, theirs) = self.both(&owned, None);
        if ours.code != theirs.code {
            self.differ(&owned(&self.ours), &ours, &theirs);
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
        let text = |text: String| {
            let places = [
                (self.house.root().display().to_string(), "<root>"),
                (self.ours.dir.display().to_string(), "<dir>"),
                (self.theirs.dir.display().to_string(), "<dir>"),
                (self.root.path().display().to_string(), "<root>"),
                // Where each keeps its overlays.
                ("data/snapshotters/overlayfs".to_owned(), "<overlays>"),
                ("root/io.containerd.snapshotter.v1.overlayfs".to_owned(), "<overlays>"),
                (self.ours.namespace(), "<ns>"),
                (self.theirs.namespace(), "<ns>"),
            ];
            let text = places.iter().fold(text, |text, (from, to)| text.replace(from, to));
            normal(&text)
        };
        Answer {
            code: answer.code,
            stdout: text(answer.stdout),
            stderr: text(answer.stderr),
        }
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        let found = self.differences.borrow();
        if !std::thread::panicking() && !found.is_empty() {
            panic!("{} answers differ\n\n{}", found.len(), found.join("\n"));
        }
    }
}

impl Side {
    /// The runtimes of both keep what they know of a container in one place, by namespace and id.
    pub fn namespace(&self) -> String {
        format!("of-{}", self.name)
    }

    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn run(&self, args: &[String], input: Option<&[u8]>) -> Answer {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(&self.socket)
            .args(args)
            .current_dir(&self.dir);
        command.env("CONTAINERD_NAMESPACE", self.namespace());
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
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Times, ages, pids and numbers of snapshots, word by word.
fn normal(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace("Less than a second", "<age>");
        let words: Vec<&str> = line.split_whitespace().collect();
        let shown = words.iter().enumerate().filter_map(|(at, one)| {
            let next = words.get(at + 1).copied().unwrap_or_default();
            let age = one.bytes().all(|byte| byte.is_ascii_digit()) && next.starts_with("second");
            let unit = one.starts_with("second") && at > 0;
            (!unit).then(|| if age { "<age>".to_owned() } else { word(one) })
        });
        shown.collect::<Vec<_>>().join(" ")
    });
    let mut all: Vec<String> = lines.collect();
    // How long something took, and how many bytes a second that was.
    all.retain(|line| !line.starts_with("elapsed:") && !line.starts_with("done:"));
    all.join("\n")
}

fn word(word: &str) -> String {
    if word.starts_with("time=\"") {
        return "time=<time>".to_owned();
    }
    let bare = word.trim_matches(|letter: char| "\",()[]{}".contains(letter));
    // The options of a mount and a record's labels have no order.
    if word.contains('=') && word.contains(',') {
        let mut options: Vec<String> = word.split(',').map(self::places).collect();
        options.sort_unstable();
        return options.join(",");
    }
    let date = bare.len() >= 19 && bare.as_bytes()[4] == b'-' && bare.as_bytes().get(10) == Some(&b'T');
    let pid = bare.len() >= 2 && bare.len() <= 7 && bare.bytes().all(|byte| byte.is_ascii_digit());
    if date {
        return word.replace(bare, "<time>");
    }
    if pid {
        return word.replace(bare, "<number>");
    }
    places(word)
}

/// Directories of snapshots: …/snapshots/12/fs
fn places(word: &str) -> String {
    let mut parts: Vec<&str> = word.split('/').collect();
    for at in 1..parts.len() {
        if parts[at - 1] == "snapshots" && !parts[at].is_empty() && parts[at].bytes().all(|byte| byte.is_ascii_digit())
        {
            parts[at] = "<n>";
        }
    }
    parts.join("/")
}

impl Image {
    fn make(root: &Path) -> Self {
        let layer = busybox_tar().to_vec();
        let diff_id = digest(&layer);
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"}],
        });
        let config = serde_json::to_vec(&config).expect("json");
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id, "size": layer.len()}],
        });
        let manifest = serde_json::to_vec(&manifest).expect("json");
        let index = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest), "size": manifest.len(),
                "annotations": {"org.opencontainers.image.ref.name": "latest", "io.containerd.image.name": IMAGE},
            }],
        });
        let archive = root.join("image.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&archive).expect("a file"));
        let mut put = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).expect("the archive takes it");
        };
        put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        for blob in [&layer, &config, &manifest] {
            put(&format!("blobs/{}", digest(blob).replace(':', "/")), blob);
        }
        put("index.json", &serde_json::to_vec(&index).expect("json"));
        tar.finish().expect("the archive is whole");
        Self {
            archive,
            manifest: digest(&manifest),
            config: digest(&config),
            diff_id,
        }
    }
}
