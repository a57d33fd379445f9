//! Flags that `create` and `run` share, about what cgroups keep of block devices and real-time processes.

use crate::shared::See::{By, Inside, Told};
use crate::shared::{INT, Row, row};
use crate::stage::{IMAGE, Stage};
use gantry_e2e::House;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

pub static ROWS: &[Row] = &[
    row(
        "blkio-weight",
        &["--blkio-weight", "300"],
        Inside(gantry_e2e::BLOCK_WEIGHT, "300"),
        &["--blkio-weight", "9"],
        "Range of blkio weight is from 10 to 1000",
    ),
    row(
        "blkio-weight-device",
        &[],
        By(weight_device),
        &["--blkio-weight-device", "sda:300"],
        "bad format for device path: sda:300",
    ),
    row(
        "cgroup-parent",
        &[],
        By(cgroup_parent),
        &["--cgroup-parent", "/a/../b"],
        "invalid cgroup parent: /a/../b leads upwards",
    ),
    row(
        "cpu-rt-period",
        &["--cpu-rt-period", "900000"],
        Told("{{.HostConfig.CpuRealtimePeriod}}", "900000"),
        &["--cpu-rt-period", "x"],
        INT,
    ),
    row("cpu-rt-runtime", &[], By(real_time), &["--cpu-rt-runtime", "x"], INT),
    row(
        "device-read-bps",
        &[],
        By(|stage, verb| throttled(stage, verb, "read-bps", "2mb", "2097152")),
        &["--device-read-bps", "x"],
        "bad format: x",
    ),
    row(
        "device-read-iops",
        &[],
        By(|stage, verb| throttled(stage, verb, "read-iops", "200", "200")),
        &["--device-read-iops", "/dev/null"],
        "bad format: /dev/null",
    ),
    row(
        "device-write-bps",
        &[],
        By(|stage, verb| throttled(stage, verb, "write-bps", "1gb", "1073741824")),
        &["--device-write-bps", "/dev/sda:x"],
        "invalid rate for device: /dev/sda:x",
    ),
    row(
        "device-write-iops",
        &[],
        By(|stage, verb| throttled(stage, verb, "write-iops", "300", "300")),
        &["--device-write-iops", "/dev/sda:-1"],
        "invalid rate for device: /dev/sda:-1",
    ),
    row(
        "userns",
        &["--userns", "host"],
        Told("{{.HostConfig.UsernsMode}}", "host"),
        &["--userns", "private"],
        "--userns: invalid USER mode \"private\"",
    ),
];

/// Flags whose bad values the client itself refuses.
pub const PARSED: &[&str] = &[
    "blkio-weight",
    "blkio-weight-device",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "device-read-bps",
    "device-read-iops",
    "device-write-bps",
    "device-write-iops",
    "userns",
];

/// A block device of this machine, with its numbers.
fn device() -> (String, String) {
    let entries = fs::read_dir("/sys/block").expect("/sys/block").flatten();
    let found = entries.filter_map(|entry| {
        let path = Path::new("/dev").join(entry.file_name());
        let meta = fs::metadata(&path)
            .ok()
            .filter(|meta| meta.file_type().is_block_device())?;
        let number = format!("{}:{}", meta.rdev() >> 8 & 0xfff, meta.rdev() & 0xff);
        Some((path.display().to_string(), number))
    });
    found.min().expect("a block device")
}

fn throttled(stage: &Stage, verb: &str, what: &str, rate: &str, expected: &str) {
    let (path, number) = device();
    let v1 = format!("blkio.throttle.{}_device", what.replace('-', "_"));
    let script = format!("cat /sys/fs/cgroup/blkio/{v1} 2>/dev/null || cat /sys/fs/cgroup/io.max");
    let (flag, value) = (format!("--device-{what}"), format!("{path}:{rate}"));
    let output = stage.made(verb, &[&flag, &value], &script);
    let told = output.stdout.trim();
    assert!(
        told.starts_with(&number) && told.contains(expected),
        "{value}: {told} {}",
        output.stderr
    );
    // A file that is no device is refused when the container is made.
    let refused = stage.gantry.run(&[verb, &flag, "/dev/null:1", IMAGE, "true"]);
    assert!(refused.stderr.contains("not a block device"), "{}", refused.stderr);
    assert_ne!(refused.code, 0);
}

/// A device has weights only under the scheduler that knows them; where it has another that is said when the container is made.
fn weight_device(stage: &Stage, verb: &str) {
    let (path, number) = device();
    let scheduler = fs::read_to_string(format!("/sys/dev/block/{number}/queue/scheduler")).unwrap_or_default();
    let value = format!("{path}:300");
    let flags = ["--blkio-weight-device", value.as_str()];
    if scheduler.contains("[bfq]") {
        let script = "cat /sys/fs/cgroup/blkio/blkio.bfq.weight_device 2>/dev/null || cat /sys/fs/cgroup/io.bfq.weight";
        let output = stage.made(verb, &flags, script);
        assert!(output.stdout.contains(&format!("{number} 300")), "{}", output.stdout);
    } else {
        let refused = stage.gantry.run(&[verb, flags[0], flags[1], IMAGE, "true"]);
        assert!(
            refused.stderr.contains("does not support Block I/O weight_device") && refused.stderr.contains(&path),
            "{}",
            refused.stderr
        );
        assert_ne!(refused.code, 0);
    }
}

/// The kernel is asked where the container is.
fn cgroup_parent(stage: &Stage, verb: &str) {
    let parent = format!("/e2e-{}-{}", std::process::id(), stage.name());
    let inner = format!("{parent}/inner");
    let output = stage.made(
        verb,
        &["--cgroup-parent", &inner, "--cgroupns", "host"],
        "cat /proc/self/cgroup",
    );
    let within = output
        .stdout
        .lines()
        .filter(|line| line.contains(&format!(":{inner}/")))
        .count();
    emptied(&[&inner, &parent]);
    assert!(within > 0, "{}", output.stdout);
    // A name that does not begin at the root.
    let mine = parent.trim_start_matches('/');
    let name = stage.kept(verb, &["--cgroup-parent", mine]);
    assert_eq!(stage.look(&name, "{{.HostConfig.CgroupParent}}"), mine);
    stage.gone(&name);
    emptied(&[mine]);
}

/// Whose parents they are is the user's affair: they stay, empty.
fn emptied(parents: &[&str]) {
    let entries = fs::read_dir("/sys/fs/cgroup").expect("/sys/fs/cgroup").flatten();
    let roots = entries
        .map(|entry| entry.path())
        .chain([Path::new("/sys/fs/cgroup").to_owned()]);
    for root in roots {
        for parent in parents {
            let dir = root.join(parent.trim_start_matches('/'));
            assert!(
                !dir.exists() || fs::remove_dir(&dir).is_ok(),
                "{} is not empty",
                dir.display()
            );
        }
    }
}

/// What the daemon was given can be handed out, and nothing beyond it.
fn real_time(stage: &Stage, verb: &str) {
    let flags = ["--cpu-rt-runtime", "20000"];
    let file = "/sys/fs/cgroup/cpu/cpu.rt_runtime_us";
    let refused = stage.gantry.run(&[verb, flags[0], flags[1], IMAGE, "true"]);
    assert_ne!(refused.code, 0);
    if !Path::new(file).exists() {
        assert!(
            refused.stderr.contains("does not support CPU real-time"),
            "{}",
            refused.stderr
        );
        return;
    }
    assert!(refused.stderr.contains("--cpu-rt-runtime"), "{}", refused.stderr);
    let house = House::with(gantry_e2e::HouseOptions {
        flags: ["--cpu-rt-period=1000000", "--cpu-rt-runtime=50000"]
            .map(str::to_owned)
            .to_vec(),
        ..Default::default()
    });
    let gantry = house.gantry();
    let name = "box";
    gantry.ok(&["create", "--name", name, flags[0], flags[1], IMAGE, "cat", file]);
    assert_eq!(gantry.ok(&["start", "-a", name]), "20000");
    gantry
        .run(&[verb, flags[0], "60000", IMAGE, "true"])
        .says("cannot be higher than the daemon's, which is 50000");
}
