//! One container is stuck in a hook, another on a frozen filesystem: everything else answers at once.

use gantry_e2e::{House, PATIENCE, eventually};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// "At once", on a machine that is busy with other tests. The hook sleeps far longer; the disk is frozen without end.
const AT_ONCE: Duration = Duration::from_secs(20);

fn shell(text: &str) {
    let status = Command::new("sh").args(["-ec", text]).status().expect("sh runs");
    assert!(status.success(), "{text}: {status}");
}

/// A loop mount that can be frozen; thawed and unmounted at the end, whatever happens.
struct Frozen(PathBuf);

impl Frozen {
    fn mount(root: &Path) -> Self {
        let (image, dir) = (root.join("frozen.img"), root.join("frozen"));
        fs::create_dir(&dir).expect("a directory");
        let (image, shown) = (image.display(), dir.display());
        shell(&format!(
            "truncate -s 32M {image}; mkfs.ext4 -q {image}; mount -o loop {image} {shown}"
        ));
        Self(dir)
    }

    fn freeze(&self) {
        shell(&format!("fsfreeze -f {}", self.0.display()));
    }

    fn thaw(&self) {
        shell(&format!("fsfreeze -u {}", self.0.display()));
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Thawed already unless the test failed.
        let _ = Command::new("fsfreeze")
            .arg("-u")
            .arg(&self.0)
            .stderr(std::process::Stdio::null())
            .status();
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn slow_hook(house: &House) -> PathBuf {
    let dir = house.data_root().join("hooks");
    fs::create_dir_all(&dir).expect("a directory");
    let (program, spec) = (dir.join("slow"), house.root().join("hooks.json"));
    fs::write(&program, "#!/bin/sh\ncat > /dev/null\nexec sleep 60\n").expect("a hook");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    let text = format!(
        r#"{{"prestart":[{{"path":"{}","args":["slow"],"env":[],"timeout":120}}]}}"#,
        program.display()
    );
    fs::write(&spec, text).expect("a hook spec");
    spec
}

#[test]
fn others_answer_while_one_is_stuck_in_a_hook_and_one_on_a_frozen_disk() {
    let house = House::new();
    let gantry = house.gantry();
    let spec = slow_hook(&house);
    let frozen = Frozen::mount(house.root());
    let bind = format!("{}:/f", frozen.0.display());
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "free",
        "busybox",
        "sh",
        "-c",
        "echo here; sleep 600",
    ]);
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "iced",
        "-v",
        &bind,
        "busybox",
        "sh",
        "-c",
        "while :; do echo x >> /f/x; sleep 0.1; done",
    ]);
    eventually("the container writes", PATIENCE, || frozen.0.join("x").exists());
    frozen.freeze();
    let spec = spec.to_string_lossy().into_owned();
    let hooked = gantry.command(["run", "-d", "--name", "hooked", "--hook-spec", &spec, "busybox", "true"]);
    let mut hooked = gantry.spawn(hooked);
    eventually("the hook runs", PATIENCE, || {
        gantry.ok(&["ps", "-a"]).contains("hooked")
    });

    let commands: [&[&str]; 8] = [
        &["ps", "-a"],
        &["images"],
        &["inspect", "hooked"],
        &["inspect", "iced"],
        &["logs", "free"],
        &["logs", "iced"],
        &["inspect", "free"],
        &["kill", "free"],
    ];
    for command in commands {
        let begun = Instant::now();
        gantry.ok(command);
        assert!(
            begun.elapsed() < AT_ONCE,
            "gantry {command:?} took {:?}",
            begun.elapsed()
        );
    }
    // The stuck ones themselves take a signal at once, too.
    for name in ["iced", "hooked"] {
        let begun = Instant::now();
        gantry.run(&["kill", name]);
        assert!(begun.elapsed() < AT_ONCE, "kill {name} took {:?}", begun.elapsed());
    }
    frozen.thaw();
    hooked.wait().expect("the client ends");
    house.clear();
    drop(frozen);
}

/// More than the daemon has threads for what blocks.
const STANDING: usize = 110;

#[test]
fn clients_that_stand_still_leave_the_others_alone() {
    let house = House::new();
    let gantry = house.gantry();
    let script = "dd if=/dev/zero of=/big bs=1M count=24 2>/dev/null; echo made; sleep 600";
    gantry.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    eventually("the file is there", PATIENCE, || {
        gantry.ok(&["logs", "box"]).contains("made")
    });
    let socket = house.exec_root().join("docker.sock");
    let begin = |request: &str| {
        let mut stream = UnixStream::connect(&socket).expect("the socket answers");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.write_all(request.as_bytes()).expect("the request is taken");
        stream
    };
    let export = "GET /containers/box/export HTTP/1.1\r\nHost: d\r\n\r\n";
    let put = "PUT /containers/box/archive?path=/tmp HTTP/1.1\r\nHost: d\r\nContent-Length: 1000000\r\n\r\n";
    let mut readers: Vec<UnixStream> = (0..STANDING).map(|_| begin(export)).collect();
    let writers: Vec<UnixStream> = (0..STANDING).map(|_| begin(put)).collect();
    for (number, reader) in readers.iter_mut().enumerate() {
        let begun = reader.read_exact(&mut [0; 512]);
        assert!(begun.is_ok(), "export {number} does not begin: {begun:?}");
    }
    assert_eq!(gantry.ok(&["run", "--rm", "busybox", "echo", "served"]), "served");
    gantry.ok(&["cp", "box:/etc/passwd", &house.root().join("copied").to_string_lossy()]);
    drop((readers, writers));
    house.clear();
}
