//! A snapshots service outside takes part like a snapshotter that is built in. Debian's containerd is the service, its `ctr` the client.

#[path = "dropin/left.rs"]
mod left;

use gantry_e2e::{House, HouseOptions, eventually};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);
const IMAGE: &str = "docker.io/library/busybox:latest";

/// Debian's containerd, of which only the snapshots are asked for.
struct Service {
    dir: TempDir,
    child: Option<Child>,
}

impl Service {
    fn start() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("gantry-far-")
            .tempdir()
            .expect("a directory");
        // A service for others collects nothing by itself, but Debian's containerd would: nothing of its own refers to these.
        let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
            [plugins.\"io.containerd.gc.v1.scheduler\"]\npause_threshold = 0.0\ndeletion_threshold = 0\n\
            mutation_threshold = 0\nschedule_delay = \"1h\"\nstartup_delay = \"1h\"\n";
        fs::write(dir.path().join("config.toml"), config).expect("a file");
        let mut service = Self { dir, child: None };
        service.come();
        service
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("far.sock")
    }

    fn come(&mut self) {
        let at = |name: &str| self.dir.path().join(name);
        let mut command = Command::new("/usr/bin/containerd");
        command
            .arg("--config")
            .arg(at("config.toml"))
            .arg("--root")
            .arg(at("root"));
        command
            .arg("--state")
            .arg(at("state"))
            .arg("--address")
            .arg(self.socket());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(
            command
                .spawn()
                .expect("containerd, of Debian's package of that name, starts"),
        );
        eventually("the service answers", LIMIT, || {
            UnixStream::connect(self.socket()).is_ok()
        });
    }

    fn go(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the service can be killed");
            child.wait().expect("the service ends");
        }
    }

    /// What it has of the daemon's, in whichever namespace that is.
    fn snapshots(&self, snapshotter: &str) -> Vec<String> {
        let lines = |args: &[&str]| -> Vec<String> {
            let (done, text) = ctr(&self.socket(), args);
            assert!(done, "{args:?}: {text}");
            text.lines().map(str::to_owned).collect()
        };
        let spaces = lines(&["namespaces", "ls", "-q"]);
        let ours = spaces.iter().filter(|name| name.starts_with("gantry-"));
        ours.flat_map(|ns| lines(&["-n", ns, "snapshots", "--snapshotter", snapshotter, "ls"]).split_off(1))
            .collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.go();
        left::forget(&namespace());
    }
}

/// runc keeps what it knows of all daemons' containers in one place, by namespace and id.
fn namespace() -> String {
    format!("far-{}", std::process::id())
}

/// What `ctr` says on both its outputs, and whether it succeeded.
fn ctr(socket: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new("timeout");
    command.args(["60", "ctr", "-a"]).arg(socket).args(args);
    command.env("CONTAINERD_NAMESPACE", namespace());
    let output = command.stdin(Stdio::null()).output().expect("ctr starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A daemon that knows the service by the name `far`.
fn house(service: &Service, snapshotter: &str, flags: &[&str]) -> House {
    let config = service.dir.path().join("gantry.toml");
    let text = format!(
        "version = 2\n[proxy_plugins.far]\ntype = \"snapshot\"\naddress = \"{}\"\nsnapshotter = \"{snapshotter}\"\n\
         capabilities = [\"far-word\"]\n[proxy_plugins.far.exports]\nroot = \"/far/root\"\n",
        service.socket().display()
    );
    fs::write(&config, text).expect("a file");
    let given = ["--config", config.to_str().expect("utf-8")];
    House::with(HouseOptions {
        flags: given.iter().chain(flags).map(|flag| (*flag).to_owned()).collect(),
        ..HouseOptions::default()
    })
}

#[test]
fn clients_choose_it_and_it_may_go_and_come() {
    let mut service = Service::start();
    let mut house = house(&service, "overlayfs", &[]);
    let socket = house.socket();
    let ok = |args: &[&str]| {
        let (done, text) = ctr(&socket, args);
        assert!(done, "{args:?}: {text}");
        text
    };
    let far = |args: &[&str]| ctr(&socket, &[&["snapshots", "--snapshotter", "far"], args].concat());
    let listed = ok(&["plugins", "ls", "-d", "id==far"]);
    for word in [
        "io.containerd.snapshotter.v1",
        "far-word",
        "/far/root",
        "amd64",
        "far.sock",
    ] {
        assert!(listed.contains(word), "{word} in {listed}");
    }
    let archive = service.dir.path().join("busybox.tar");
    let archive = archive.to_str().expect("utf-8");
    house.gantry().ok(&["save", "-o", archive, "busybox"]);
    ok(&["images", "import", "--snapshotter", "far", archive]);
    let (_, chain) = far(&["ls"]);
    let chain = chain
        .lines()
        .find(|line| line.starts_with("sha256:"))
        .expect("its layer is there")
        .to_owned();
    let chain = chain.split_whitespace().next().expect("a name");
    assert_eq!(service.snapshots("overlayfs").len(), 1, "the layer is at the service");
    assert_eq!(
        ok(&["run", "--rm", "--snapshotter", "far", IMAGE, "one", "cat", "/etc/group"])
            .lines()
            .count(),
        4
    );
    ok(&["run", "-d", "--snapshotter", "far", IMAGE, "two", "sleep", "1000"]);
    ok(&["tasks", "exec", "--exec-id", "e1", "two", "touch", "/made"]);
    let script = "timeout 60 ctr -a \"$1\" snapshots --snapshotter far diff two | tar -tz";
    let diff = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&socket)
        .env("CONTAINERD_NAMESPACE", namespace())
        .output();
    let diff = String::from_utf8_lossy(&diff.expect("sh runs").stdout).into_owned();
    assert!(diff.lines().any(|line| line == "made"), "{diff}");
    for args in [
        &["prepare", "work", chain][..],
        &["commit", "done", "work"],
        &["info", "done"],
        &["usage", "done"],
        &["rm", "done"],
    ] {
        let (done, text) = far(args);
        assert!(done, "{args:?}: {text}");
    }
    service.go();
    let (done, text) = far(&["prepare", "away", chain]);
    assert!(!done && text.contains("unavailable") && text.contains("far"), "{text}");
    assert_eq!(ok(&["tasks", "exec", "--exec-id", "e2", "two", "echo", "on"]), "on\n");
    let began = Instant::now();
    house.restart_hard();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "a service that is away holds no start up"
    );
    assert_eq!(ok(&["tasks", "exec", "--exec-id", "e3", "two", "echo", "on"]), "on\n");
    let (done, text) = far(&["mounts", "/mnt", "two"]);
    assert!(!done && text.contains("far"), "{text}");
    service.come();
    eventually("the service is found again", LIMIT, || {
        far(&["prepare", "back", chain]).0
    });
    assert!(far(&["rm", "back"]).0);
    ok(&["tasks", "kill", "-s", "SIGKILL", "two"]);
    eventually("the task has ended", LIMIT, || ok(&["tasks", "ls"]).contains("STOPPED"));
    ok(&["tasks", "rm", "two"]);
    ok(&["containers", "rm", "two"]);
    ok(&["images", "rm", "--sync", IMAGE]);
    eventually("nothing is left at the service", LIMIT, || {
        // A collection may have been cut short by the time when the service was away.
        ok(&["leases", "create", "--id", "collect"]);
        ok(&["leases", "delete", "--sync", "collect"]);
        service.snapshots("overlayfs").is_empty()
    });
}

#[test]
fn the_engine_itself_uses_it() {
    let service = Service::start();
    let house = house(&service, "native", &["--storage-driver", "far"]);
    let gantry = house.gantry();
    assert!(gantry.ok(&["info"]).contains("far"));
    assert_eq!(service.snapshots("native").len(), 1, "busybox is at the service");
    gantry.ok(&[
        "run",
        "--name",
        "maker",
        "busybox",
        "sh",
        "-c",
        "echo kept >> /kept; rm -f /etc/group",
    ]);
    assert!(gantry.ok(&["diff", "maker"]).contains("A /kept"));
    assert!(gantry.ok(&["diff", "maker"]).contains("D /etc/group"));
    assert_eq!(service.snapshots("native").len(), 2, "the container is there, too");
    gantry.ok(&["start", "-a", "maker"]);
    gantry.ok(&["rm", "maker"]);
    eventually("only busybox is at the service", LIMIT, || {
        service.snapshots("native").len() == 1
    });
}

#[test]
fn other_kinds_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    for kind in ["content", "diff", "sandbox"] {
        let config = dir.path().join("daemon.json");
        let text = format!(r#"{{"proxy-plugins": {{"far": {{"type": "{kind}", "address": "/run/far.sock"}}}}}}"#);
        fs::write(&config, text).expect("a file");
        let mut command = Command::new(gantry_e2e::program("gantryd"));
        let output = command
            .arg("--validate")
            .arg("--config-file")
            .arg(&config)
            .output()
            .expect("gantryd runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && said.contains("proxy-plugins.far") && said.contains(kind),
            "{said}"
        );
    }
}
