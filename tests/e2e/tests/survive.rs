//! The daemon is killed, again and again; containers and their output do not notice.

use gantry_e2e::{Gantry, House, eventually};
use std::process::Stdio;
use std::time::{Duration, Instant};

const KILLS: usize = 5;
const SECOND: Duration = Duration::from_secs(1);

/// Fails unless `text` is the numbers from 1 to `last`, each once, in order.
fn numbered(text: &[u8], last: usize, what: &str) {
    let text = std::str::from_utf8(text).expect("numbers are text");
    let mut expected = 0;
    for line in text.lines() {
        expected += 1;
        let number: usize = line
            .parse()
            .unwrap_or_else(|_| panic!("{what}: {line:?} after {}", expected - 1));
        assert_eq!(number, expected, "{what}");
    }
    assert_eq!(expected, last, "{what}: lines");
    assert!(text.ends_with('\n'), "{what}: the last line is whole");
}

/// `gantry ps` says this of a container, within a second of the daemon's first answer.
fn listed_within_a_second(gantry: &Gantry, name: &str, status: &str, since: Instant) {
    let seen = gantry.ok(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]);
    let took = since.elapsed();
    let line = seen.lines().find(|line| line.starts_with(&format!("{name} ")));
    let line = line.unwrap_or_else(|| panic!("{name} is not listed: {seen}"));
    assert!(line.contains(status), "{line:?} is not {status}");
    assert!(took < SECOND, "ps was right {took:?} after the start");
}

/// The issue's own scene: lines as fast as they come, the daemon killed five times, the log whole.
fn lines_survive(runtime: &[&str]) {
    const LINES: usize = 6_000_000;
    let mut house = House::new();
    let gantry = house.gantry();
    // The last lines come after the last start, however fast the machine.
    let script = format!(
        "seq 1 {}; while [ ! -e /tmp/end ]; do sleep 0.1; done; seq {} {LINES}",
        LINES - 9,
        LINES - 8
    );
    let mut command = gantry.command(["run", "--name", "talker", "--log-opt", "max-size=-1"]);
    command.args(runtime).args(["busybox", "sh", "-c", &script]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let attached = command.spawn().expect("gantry starts");
    // The pipe is emptied all the while.
    let client = std::thread::spawn(move || attached.wait_with_output().expect("gantry ends"));
    eventually("the container runs", Duration::from_secs(10), || {
        gantry.run(&["inspect", "-f", "{{.State.Running}}", "talker"]).line() == "true"
    });
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(300));
        house.kill_daemon();
        std::thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        house.start();
        listed_within_a_second(&gantry, "talker", "Up", began);
    }
    gantry.ok(&["exec", "talker", "touch", "/tmp/end"]);
    assert_eq!(gantry.ok(&["wait", "talker"]), "0");
    let logs = gantry.run(&["logs", "talker"]).exits(0);
    numbered(&logs.bytes, LINES, "the log");
    let seen = client.join().expect("the client's thread ends");
    let said = String::from_utf8_lossy(&seen.stderr).into_owned();
    assert!(seen.status.success(), "the attached client: {} {said}", seen.status);
    numbered(&seen.stdout, LINES, "the attached client");
}

#[test]
fn p37_lines_survive_five_kills() {
    lines_survive(&[]);
}

#[test]
fn p37_lines_survive_five_kills_under_runc() {
    lines_survive(&["--runtime", "runc"]);
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
        eventually("the container ends", Duration::from_secs(10), || {
            !std::path::Path::new(&proc).exists()
        });
    }
    let began = Instant::now();
    house.start();
    listed_within_a_second(&gantry, "late", "Exited (42)", began);
    listed_within_a_second(&gantry, "stays", "Up", began);
    assert_eq!(gantry.ok(&["inspect", "-f", "{{.State.ExitCode}}", "late"]), "42");
    assert_eq!(gantry.ok(&["logs", "late"]), "last words");
    assert_eq!(pid("stays"), stays, "the same process goes on");
    eventually("--rm removes it", Duration::from_secs(5), || {
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
