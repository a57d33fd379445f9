//! The daemon killed while a container starts, at moments spread over the whole of a start.

use gantry_e2e::{Gantry, House, PATIENCE, ended, eventually};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How often the daemon is killed.
const KILLS: u32 = 50;

/// The middle one of three measurements.
fn measured(mut deed: impl FnMut()) -> Duration {
    let mut took: Vec<_> = (0..3)
        .map(|_| {
            let began = Instant::now();
            deed();
            began.elapsed()
        })
        .collect();
    took.sort();
    took[1]
}

/// The moment of a kill: from the command's birth to a little after its usual end.
fn moment(usual: Duration, turn: u32) -> Duration {
    usual * 5 / 4 * turn / (KILLS - 1)
}

fn background(gantry: &Gantry, args: &[&str]) -> Child {
    let mut command = gantry.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("gantry starts")
}

/// Processes on the machine with this word in their command line, other than the client's.
fn named(word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.starts_with("sh ") && line.contains(word))
        .collect()
}

#[test]
fn p03_stdin_is_closed_from_birth() {
    let mut house = House::new();
    let gantry = house.gantry();
    let word = format!("p03-{}", std::process::id());
    // A shell reads commands from its stdin: it ends at the end of it, and lives for ever if there is none.
    let run = |name: &str, detached: bool| {
        let more = detached.then_some("-d");
        let args = ["run", "--name", name].into_iter().chain(more);
        let args: Vec<&str> = args.chain(["busybox", "sh", "-s", &word]).collect();
        background(&gantry, &args)
    };
    let mut number = 0;
    let usual = measured(|| {
        number += 1;
        assert!(ended(&mut run(&format!("whole{number}"), true)).success());
    });
    for turn in 0..KILLS {
        let mut client = run(&format!("shell{turn}"), turn % 2 == 0);
        std::thread::sleep(moment(usual, turn));
        house.kill_daemon();
        house.start();
        ended(&mut client);
    }
    eventually("no shell lives for ever", PATIENCE, || named(&word).is_empty());
    let of = |filter: &str| {
        let seen = gantry.ok(&["ps", "-aq", "--filter", &format!("status={filter}")]);
        seen.lines().count()
    };
    eventually("none is said to run", PATIENCE, || of("running") == 0);
    let (created, exited) = (of("created"), of("exited"));
    println!("a run takes {usual:?}; of {KILLS}, {created} did not begin and {exited} ended");
    assert!(exited > 3, "some of them came to life: {exited}");
}

#[test]
fn p11_a_start_cut_short_can_be_repeated() {
    let mut house = House::new();
    let gantry = house.gantry();
    gantry.ok(&["create", "--name", "box", "busybox", "sleep", "1000"]);
    let end = || {
        gantry.ok(&["kill", "box"]);
        gantry.ok(&["wait", "box"]);
    };
    let usual = measured(|| {
        assert!(ended(&mut background(&gantry, &["start", "box"])).success());
        end();
    });
    let mut found_running = 0;
    for turn in 0..KILLS {
        let mut client = background(&gantry, &["start", "box"]);
        std::thread::sleep(moment(usual, turn));
        house.kill_daemon();
        house.start();
        ended(&mut client);
        let running = gantry.ok(&["inspect", "-f", "{{.State.Running}}", "box"]);
        found_running += u32::from(running == "true");
        gantry.ok(&["start", "box"]);
        assert_eq!(gantry.ok(&["exec", "box", "echo", "alive"]), "alive", "turn {turn}");
        end();
    }
    println!("start, kill and wait take {usual:?}; {found_running} of {KILLS} were found running");
}
