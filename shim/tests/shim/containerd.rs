//! containerd itself (Debian's, with docker.io) drives the shim.

use crate::bed::{SHIM, make_root, remove_parents};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

struct Containerd {
    dir: tempfile::TempDir,
    child: Child,
}

impl Containerd {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("gantry-ctrd-").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        make_root(&dir.path().join("rootfs"));
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n[grpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("c.sock")
        );
        fs::write(dir.path().join("config.toml"), config).unwrap();
        let shims = Path::new(SHIM).parent().unwrap().display();
        let child = Command::new("containerd")
            .args(["--config", &at("config.toml")])
            .env("PATH", format!("{shims}:{}", std::env::var("PATH").unwrap()))
            .env("GANTRY_SHIM_SOCKET_DIR", at("s"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self { dir, child };
        let end = Instant::now() + Duration::from_secs(20);
        while !this.ctr(&["version"]).status.success() {
            assert!(Instant::now() < end, "containerd does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        this
    }

    fn ctr(&self, args: &[&str]) -> Output {
        let socket = self.dir.path().join("c.sock");
        Command::new("timeout")
            .args(["30", "ctr", "-a"])
            .arg(socket)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn said(&self, args: &[&str]) -> String {
        let output = self.ctr(args);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        remove_parents("default");
    }
}

#[test]
fn containerd_drives_it() {
    let containerd = Containerd::start();
    let rootfs = containerd.dir.path().join("rootfs").display().to_string();
    let run = |more: &[&str], id: &str, script: &str| {
        let mut args = vec!["run", "--runtime", "io.containerd.gantry.v1", "--rootfs"];
        args.extend(more);
        args.extend([rootfs.as_str(), id, "/bin/sh", "-c", script]);
        containerd.ctr(&args)
    };
    let one = run(&["--rm"], "one", "echo out; echo err >&2; exit 7");
    assert_eq!(
        (one.status.code(), &*one.stdout, &*one.stderr),
        (Some(7), &b"out\n"[..], &b"err\n"[..])
    );
    let two = run(&["-d"], "two", "sleep 100");
    assert!(two.status.success(), "{}", String::from_utf8_lossy(&two.stderr));
    let exec = containerd.ctr(&[
        "tasks",
        "exec",
        "--exec-id",
        "e",
        "two",
        "/bin/sh",
        "-c",
        "echo in; exit 3",
    ]);
    assert_eq!((exec.status.code(), &*exec.stdout), (Some(3), &b"in\n"[..]));
    assert!(
        containerd
            .said(&["tasks", "metrics", "two"])
            .contains("memory.usage_in_bytes")
    );
    containerd.ctr(&["tasks", "pause", "two"]);
    assert!(containerd.said(&["tasks", "ls"]).contains("PAUSED"));
    containerd.ctr(&["tasks", "resume", "two"]);
    containerd.ctr(&["tasks", "kill", "-s", "KILL", "two"]);
    let end = Instant::now() + Duration::from_secs(20);
    while !containerd.said(&["tasks", "ls"]).contains("STOPPED") {
        assert!(Instant::now() < end, "{}", containerd.said(&["tasks", "ls"]));
        std::thread::sleep(Duration::from_millis(20));
    }
    containerd.ctr(&["tasks", "rm", "two"]);
    containerd.ctr(&["containers", "rm", "two"]);
    let missing = containerd.said(&[
        "run",
        "--rm",
        "--runtime",
        "io.containerd.gantry.v1",
        "--rootfs",
        &rootfs,
        "three",
        "nope",
    ]);
    assert!(missing.contains("executable file not found in $PATH"), "{missing}");
    let left = fs::read_dir(containerd.dir.path().join("s")).unwrap().count();
    assert_eq!(left, 0, "sockets are left");
}
