//! The daemon is killed, again and again; containers and their output do not notice.

use gantry_e2e::{Gantry, House, PATIENCE, ended, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const KILLS: u64 = 5;
/// Not a promise: it shows that nobody waits for what takes long.
const SOON: Duration = Duration::from_secs(15);

/// A gigabyte: so many lines of so many bytes, the end of the line counted. A line is its number, with zeros before it.
const LINES: u64 = 5_000_000;
const LINE: usize = 200;
const BYTES: u64 = LINES * LINE as u64;
/// Lines that come after the last restart, however fast the machine.
const LAST: u64 = 1000;
/// Output that comes while no daemon runs, each time.
const ALONE: u64 = 20_000_000;

/// Reads numbered lines to their end and answers the first number and how many there were; each must be one more than the
/// one before it. `seen` counts the bytes.
fn numbered(from: impl Read, seen: &AtomicU64, what: &str) -> (u64, u64) {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let (mut line, mut first, mut count) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let length = from.read_until(b'\n', &mut line).expect("output can be read");
        if length == 0 {
            return (first, count);
        }
        let number = (length == LINE && line.pop() == Some(b'\n'))
            .then(|| std::str::from_utf8(&line).ok()?.parse::<u64>().ok())
            .flatten()
            .unwrap_or_else(|| panic!("{what}: {count} lines, then {:?}", String::from_utf8_lossy(&line)));
        if count == 0 {
            first = number;
        }
        assert_eq!(number, first + count, "{what}");
        count += 1;
        seen.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// `gantry logs`, read as it comes.
fn logged(gantry: &Gantry, name: &str) -> (u64, u64) {
    let mut command = gantry.command(["logs", name]);
    let mut logs = command.stdout(Stdio::piped()).spawn().expect("gantry starts");
    let seen = numbered(logs.stdout.take().expect("piped"), &AtomicU64::new(0), "the log");
    assert!(ended(&mut logs).success());
    seen
}

/// `gantry ps` comes to say this of a container soon after the daemon's first answer.
fn listed_soon(gantry: &Gantry, name: &str, status: &str, since: Instant) {
    loop {
        let seen = gantry.ok(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]);
        let took = since.elapsed();
        let line = seen.lines().find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("{name} is not listed: {seen}"));
        assert!(took < SOON, "{line:?} is not {status}, {took:?} after the start");
        if line.contains(status) {
            return;
        }
    }
}

/// A gigabyte of lines as fast as they come, the daemon killed five times in their midst. Answers what `gantry logs` has:
/// its first line and how many.
fn lines_survive(options: &[&str]) -> (u64, u64) {
    // One after another: each needs the whole machine. One that failed is no reason not to try the next.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut house = House::new();
    let gantry = house.gantry();
    let print = |from, to| {
        let zeros = LINE - 1 - 7;
        format!("awk 'BEGIN {{ zeros = sprintf(\"%0{zeros}d\", 0); for (i = {from}; i <= {to}; i++) print zeros i }}'")
    };
    // Seven digits each: the first line is number 1000001.
    let (first, last) = (1_000_001, 1_000_000 + LINES);
    let script = format!(
        "{}; while [ ! -e /tmp/end ]; do sleep 0.05; done; {}",
        print(first, last - LAST),
        print(last - LAST + 1, last)
    );
    let mut command = gantry.command(["run", "--name", "talker"]);
    command.args(options).args(["busybox", "sh", "-c", &script]);
    let mut client = command.stdout(Stdio::piped()).spawn().expect("gantry starts");
    let seen = Arc::new(AtomicU64::new(0));
    let reader = std::thread::spawn({
        let (stdout, seen) = (client.stdout.take().expect("piped"), seen.clone());
        move || numbered(stdout, &seen, "the attached client")
    });
    let body = BYTES - LAST * LINE as u64;
    let until = |bytes: u64, what: &str| {
        let bytes = bytes.min(body);
        eventually(what, PATIENCE, || {
            seen.load(Ordering::Relaxed) >= bytes || reader.is_finished()
        });
    };
    for kill in 0..KILLS {
        until(BYTES / 10 + kill * BYTES / 8, "output comes");
        house.kill_daemon();
        let before = seen.load(Ordering::Relaxed);
        until(before + ALONE, "output comes while no daemon runs");
        println!("killed at {before}, started at {}", seen.load(Ordering::Relaxed));
        house.start();
        let began = Instant::now();
        listed_soon(&gantry, "talker", "Up", began);
    }
    gantry.ok(&["exec", "talker", "touch", "/tmp/end"]);
    assert_eq!(gantry.ok(&["wait", "talker"]), "0");
    assert!(ended(&mut client).success(), "the attached client");
    let got = reader.join().expect("the reader ends");
    assert_eq!(got, (first, LINES), "the attached client");
    let (from, count) = logged(&gantry, "talker");
    assert_eq!(from + count - 1, last, "the log has the newest line");
    (from, count)
}

const WHOLE: [&str; 2] = ["--log-opt", "max-size=-1"];
const RUNC: [&str; 2] = ["--runtime", "runc"];
const FOREIGN: [&str; 2] = ["--runtime", "io.containerd.runc.v2"];

#[test]
fn p37_every_line_is_in_the_log_and_with_the_client() {
    assert_eq!(lines_survive(&WHOLE).1, LINES);
}

#[test]
fn p37_every_line_is_in_the_log_and_with_the_client_under_runc() {
    assert_eq!(lines_survive(&[WHOLE, RUNC].concat()).1, LINES);
}

#[test]
fn p37_every_line_is_in_the_log_and_with_the_client_under_a_foreign_shim() {
    assert_eq!(lines_survive(&[WHOLE, FOREIGN].concat()).1, LINES);
}

/// The log keeps the newest; the client has all.
#[test]
fn p37_every_line_is_with_the_client_while_the_log_rotates() {
    assert!(lines_survive(&[]).1 < LINES);
}

#[test]
fn p37_every_line_is_with_the_client_while_the_log_rotates_under_runc() {
    assert!(lines_survive(&RUNC).1 < LINES);
}

#[test]
fn an_end_while_the_daemon_is_down_is_known_afterwards() {
    let mut house = House::new();
    let gantry = house.gantry();
    let script = "while [ ! -e /tmp/end ]; do sleep 0.05; done; echo last words; exit 42";
    gantry.ok(&["run", "-d", "--name", "late", "busybox", "sh", "-c", script]);
    gantry.ok(&["run", "-d", "--rm", "--name", "gone", "busybox", "sh", "-c", script]);
    gantry.ok(&["run", "-d", "--name", "stays", "busybox", "sleep", "1000"]);
    let pid = |name: &str| gantry.ok(&["inspect", "-f", "{{.State.Pid}}", name]);
    let (late, gone, stays) = (pid("late"), pid("gone"), pid("stays"));
    house.kill_daemon();
    for pid in [&late, &gone] {
        std::fs::write(format!("/proc/{pid}/root/tmp/end"), "").expect("the container's /tmp");
    }
    for pid in [&late, &gone] {
        let proc = format!("/proc/{pid}/root/bin");
        eventually("the container ends", PATIENCE, || !std::path::Path::new(&proc).exists());
    }
    house.start();
    let began = Instant::now();
    listed_soon(&gantry, "late", "Exited (42)", began);
    listed_soon(&gantry, "stays", "Up", began);
    assert_eq!(gantry.ok(&["inspect", "-f", "{{.State.ExitCode}}", "late"]), "42");
    assert_eq!(gantry.ok(&["logs", "late"]), "last words");
    assert_eq!(pid("stays"), stays, "the same process goes on");
    eventually("--rm removes it", PATIENCE, || {
        gantry.run(&["inspect", "gone"]).code == 1
    });
    assert_eq!(gantry.ok(&["exec", "stays", "echo", "still here"]), "still here");
    gantry.ok(&["stop", "-t", "0", "stays"]);
}

#[test]
fn a_daemon_that_ends_in_order_leaves_containers_running() {
    let mut house = House::new();
    let gantry = house.gantry();
    gantry.ok(&["run", "-d", "--name", "stays", "busybox", "sleep", "1000"]);
    let pid = gantry.ok(&["inspect", "-f", "{{.State.Pid}}", "stays"]);
    house.stop_daemon();
    assert!(
        std::path::Path::new(&format!("/proc/{pid}/root/bin")).exists(),
        "it runs on"
    );
    house.start();
    assert_eq!(
        gantry.ok(&["inspect", "-f", "{{.State.Pid}} {{.State.Status}}", "stays"]),
        format!("{pid} running")
    );
}

#[test]
fn a_shim_that_is_slow_at_the_daemons_start_keeps_its_container() {
    let mut house = House::new();
    let gantry = house.gantry();
    let look = |what: &str, name: &str| gantry.ok(&["inspect", "-f", what, name]);
    for name in ["slow", "stuck"] {
        gantry.ok(&["run", "-d", "--name", name, "busybox", "sleep", "1000"]);
    }
    let shim = |name: &str| {
        let bundle = house.exec_root().join("gantry").join(look("{{.Id}}", name));
        let text = std::fs::read_to_string(bundle.join("shim.pid")).expect("a shim's pid");
        Pid::from_raw(text.trim().parse().expect("a number"))
    };
    let (slow, stuck) = (shim("slow"), shim("stuck"));
    let pid = look("{{.State.Pid}}", "slow");
    house.kill_daemon();
    for shim in [slow, stuck] {
        kill(shim, Signal::SIGSTOP).expect("it is there");
    }
    house.start();
    eventually("both are asked in vain", PATIENCE, || {
        house.log().matches("does not answer yet").count() >= 2
    });
    assert_eq!(
        look("{{.State.Status}} {{.State.Pid}}", "slow"),
        format!("running {pid}")
    );
    kill(slow, Signal::SIGCONT).expect("it is there");
    eventually("it is found again", PATIENCE, || {
        gantry.run(&["exec", "slow", "true"]).code == 0
    });
    assert_eq!(
        look("{{.State.Status}} {{.State.Pid}}", "slow"),
        format!("running {pid}")
    );
    // Who wants it ended all the same is not kept waiting for the shim.
    gantry.ok(&["kill", "stuck"]);
    eventually("it has ended", PATIENCE, || {
        look("{{.State.Status}}", "stuck") == "exited"
    });
    gantry.ok(&["start", "stuck"]);
    assert_eq!(gantry.ok(&["exec", "stuck", "echo", "again"]), "again");
}
