//! P39: a log is bounded unless told otherwise, and a disk without room stops nobody.

use gantry_e2e::{Gantry, House, PATIENCE, ended, eventually};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

const MIB: u64 = 1 << 20;
/// The defaults.
const FILES: usize = 5;
const SIZE: u64 = 20 * MIB;

/// A gigabyte in numbered lines, the line's end counted.
const LINES: u64 = 5_000_000;
const LINE: usize = 200;

fn numbers(from: u64, count: u64) -> String {
    let zeros = LINE - 1 - 7;
    let (first, last) = (1_000_000 + from, 1_000_000 + from + count - 1);
    format!("awk 'BEGIN {{ zeros = sprintf(\"%0{zeros}d\", 0); for (i = {first}; i <= {last}; i++) print zeros i }}'")
}

/// What a directory has of log files: name and length.
fn files(dir: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(dir).expect("the container's directory").flatten();
    let with = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        // One that is being renamed is counted the next time.
        let length = entry.metadata().ok()?.len();
        name.contains("-json.log").then_some((name, length))
    };
    let mut found: Vec<_> = entries.filter_map(with).collect();
    found.sort();
    found
}

/// The shim of a container, by its process: the parent of the container's.
fn shim_of(gantry: &Gantry, name: &str) -> i32 {
    let pid = gantry.ok(&["inspect", "-f", "{{.State.Pid}}", name]);
    field(pid.parse().expect("a pid"), 1).expect("it runs") as i32
}

/// A field of `/proc/<pid>/stat`, counted from the one after the name.
fn field(pid: i32, number: usize) -> Option<i64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(number)?.parse().ok()
}

/// How nice the processes are that write a compressed file now.
fn compressing(shim: i32) -> Vec<(i32, i64)> {
    let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children
        .chain([shim])
        .filter(|pid| {
            let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            fds.filter_map(|fd| fs::read_link(fd.path()).ok())
                .any(|file| file.to_string_lossy().ends_with(".gz.tmp"))
        })
        .filter_map(|pid| Some((pid, field(pid, 16)?)))
        .collect()
}

#[test]
fn p39_a_gigabyte_leaves_five_files() {
    let house = House::new();
    let gantry = house.gantry();
    let info = gantry.ok(&["info"]);
    for said in [
        "Logging Driver: json-file",
        "max-size: 20m",
        "max-file: 5",
        "compress: true",
    ] {
        assert!(info.contains(said), "info says {said:?}: {info}");
    }
    let script = format!("while [ ! -e /tmp/go ]; do sleep 0.01; done; {}", numbers(1, LINES));
    let id = gantry.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &script]);
    let shim = shim_of(&gantry, "box");
    gantry.ok(&["exec", "box", "touch", "/tmp/go"]);
    let waiter = std::thread::spawn({
        let gantry = gantry.clone();
        move || gantry.ok(&["wait", "box"])
    });
    let dir = house.data_root().join("containers").join(&id);
    let (mut most, mut seen) = (0, 0);
    let mut look = || {
        let found = files(&dir);
        // Beside the five files there may be the next one, empty, and one in the making.
        let total: u64 = found.iter().map(|(_, length)| length).sum();
        most = most.max(total);
        assert!(total <= (FILES as u64 + 1) * SIZE, "{total} bytes: {found:?}");
        for (pid, nice) in compressing(shim) {
            seen += 1;
            assert!(pid != shim, "the shim itself compresses");
            assert_eq!(nice, 19, "the child that compresses is nice");
        }
        found
    };
    while !waiter.is_finished() {
        look();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(waiter.join().expect("wait ends"), "0", "full logs do not stop it");
    let live = format!("{id}-json.log");
    let mut names = vec![live.clone()];
    names.extend((1..FILES).map(|number| format!("{live}.{number}.gz")));
    eventually("all but the live one are compressed", PATIENCE, || {
        look().iter().map(|(name, _)| name).eq(&names)
    });
    println!("at most {} MiB; a child was seen compressing {seen} times", most / MIB);
    assert!(seen > 0, "a child compresses");
    let kept = newest(&gantry, "box", LINES);
    // More than what the live file has, even if it is full.
    assert!(
        kept * LINE as u64 > 3 * SIZE / 2,
        "compressed files are read: {kept} lines"
    );
    assert_eq!(gantry.ok(&["logs", "-n", "1", "box"]).parse(), Ok(1_000_000 + LINES));
}

/// Checks that `gantry logs` has the newest lines, without a gap, and counts them.
fn newest(gantry: &Gantry, name: &str, last: u64) -> u64 {
    let mut command = gantry.command(["logs", name]);
    let mut logs = command.stdout(Stdio::piped()).spawn().expect("gantry starts");
    let lines = BufReader::new(logs.stdout.take().expect("piped")).lines();
    let mut numbers = lines.map(|line| line.expect("text").parse::<u64>().expect("a number"));
    let first = numbers.next().expect("there are lines");
    let mut count = 1;
    for number in numbers {
        assert_eq!(number, first + count, "no line is missing between two");
        count += 1;
    }
    assert!(ended(&mut logs).success());
    assert_eq!(first + count - 1, 1_000_000 + last, "the newest is kept");
    count
}

#[test]
fn p39_the_bounds_can_be_changed() {
    let house = House::new();
    let gantry = house.gantry();
    let options = [
        "--log-opt",
        "max-size=1m",
        "--log-opt",
        "max-file=3",
        "--log-opt",
        "compress=false",
    ];
    let mut args = vec!["run", "--name", "box"];
    args.extend(options);
    let script = numbers(1, 50_000);
    args.extend(["busybox", "sh", "-c", &script]);
    gantry.ok(&args);
    let id = gantry.ok(&["inspect", "-f", "{{.Id}}", "box"]);
    let found = files(&house.data_root().join("containers").join(&id));
    let live = format!("{id}-json.log");
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [live.clone(), format!("{live}.1"), format!("{live}.2")]);
    assert!(found.iter().all(|(_, length)| *length <= MIB), "{found:?}");
    newest(&gantry, "box", 50_000);
}

/// A small disk of their own for the containers' directories.
struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    fn under(house: &mut House) -> Self {
        house.stop_daemon();
        let dir = house.data_root().join("containers");
        fs::create_dir_all(&dir).expect("a directory");
        let options = Some("size=8m,mode=700");
        mount(Some("small"), &dir, Some("tmpfs"), MsFlags::empty(), options).expect("a tmpfs");
        house.start();
        Self { dir }
    }

    /// Not a byte more.
    fn fill(&self) {
        let mut file = File::create(self.dir.join("filler")).expect("a file");
        for size in [1 << 16, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.dir.join("filler")).expect("the filler is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(&self.dir, MntFlags::MNT_DETACH).expect("it can be unmounted");
    }
}

/// Says how far the container has come, and tells it to go on.
struct Steps<'a> {
    gantry: &'a Gantry,
    name: &'a str,
}

impl Steps<'_> {
    fn path(&self, step: &str) -> String {
        let pid = self.gantry.ok(&["inspect", "-f", "{{.State.Pid}}", self.name]);
        format!("/proc/{pid}/root/tmp/{step}")
    }

    fn go(&self, step: &str) {
        fs::write(self.path(step), "").expect("the container's /tmp");
    }

    fn reached(&self, step: &str) {
        let path = self.path(step);
        eventually(step, PATIENCE, || Path::new(&path).exists());
    }
}

/// Before, while and after the disk is full; then it waits for the end. Each part tells that it is through.
fn script() -> String {
    let part = |number: u64, from, count| {
        format!(
            "while [ ! -e /tmp/go{number} ]; do sleep 0.01; done; {}; touch /tmp/done{number}; ",
            numbers(from, count)
        )
    };
    let parts = [part(1, 1, 100), part(2, 101, 100_000), part(3, 100_101, 100)].concat();
    format!("{parts} while [ ! -e /tmp/end ]; do sleep 0.01; done; exit 7")
}

#[test]
fn p39_a_full_disk_stops_nobody_and_is_marked() {
    let mut house = House::new();
    let disk = SmallDisk::under(&mut house);
    let gantry = house.gantry();
    gantry.ok(&["create", "--name", "box", "busybox", "sh", "-c", &script()]);
    let mut command = gantry.command(["start", "-a", "box"]);
    let mut client = command.stdout(Stdio::piped()).spawn().expect("gantry starts");
    let stdout = client.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).count());
    eventually("the container runs", PATIENCE, || {
        gantry.run(&["inspect", "-f", "{{.State.Running}}", "box"]).line() == "true"
    });
    let steps = Steps {
        gantry: &gantry,
        name: "box",
    };
    steps.go("go1");
    steps.reached("done1");
    eventually("all of it is logged", PATIENCE, || {
        gantry.ok(&["logs", "box"]).lines().count() == 100
    });
    disk.fill();
    steps.go("go2");
    // The container goes on to its end, though nothing can be logged.
    steps.reached("done2");
    disk.free();
    steps.go("go3");
    steps.reached("done3");
    steps.go("end");
    assert_eq!(gantry.ok(&["wait", "box"]), "7");
    assert_eq!(ended(&mut client).code(), Some(7));
    assert_eq!(
        reader.join().expect("the reader ends"),
        100_200,
        "the client misses nothing"
    );
    let logs = gantry.run(&["logs", "box"]).exits(0);
    let lines: Vec<&str> = logs.stdout.lines().collect();
    assert!(lines.len() >= 200 && lines.len() < 100_000, "{} lines", lines.len());
    assert!(lines[99].ends_with("1000100") && lines[lines.len() - 1].ends_with("1100200"));
    // Marks say how much is missing, to the byte.
    let lost: u64 = logs
        .stderr
        .lines()
        .map(|mark| mark.rsplit(' ').next().expect("a word").parse::<u64>().expect(mark))
        .sum();
    assert!(lost > 0, "a line marks the loss: {}", logs.stderr);
    assert_eq!(lost + logs.bytes.len() as u64, 100_200 * LINE as u64);
    gantry.ok(&["rm", "box"]);
}

#[test]
fn p39_a_container_ends_with_its_exit_code_on_a_full_disk() {
    let mut house = House::new();
    let disk = SmallDisk::under(&mut house);
    let gantry = house.gantry();
    gantry.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &script()]);
    let steps = Steps {
        gantry: &gantry,
        name: "box",
    };
    disk.fill();
    for step in ["go1", "go2", "go3", "end"] {
        steps.go(step);
    }
    assert_eq!(gantry.ok(&["wait", "box"]), "7");
    disk.free();
    house.restart_hard();
    let state = gantry.ok(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "box"]);
    assert_eq!(state, "exited 7");
    gantry.ok(&["rm", "box"]);
}
