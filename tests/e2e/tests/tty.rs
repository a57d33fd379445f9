//! A real terminal: its size, job control inside the container, detaching and coming back.

use gantry_e2e::{House, Terminal, eventually};
use std::time::Duration;

const LIMIT: Duration = gantry_e2e::PATIENCE;

/// The state of the process with this command line, if there is one.
fn state(command: &str) -> Option<char> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut ours = entries.map(|entry| entry.path()).filter(|process| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim_end() == command
    });
    let stat = std::fs::read_to_string(ours.next()?.join("stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

#[test]
fn size_and_job_control_work() {
    let house = House::new();
    let command = house
        .gantry()
        .command(["run", "-it", "--rm", "-e", "PS1=ready> ", "busybox", "sh"]);
    let mut terminal = Terminal::spawn(command, 30, 100);
    terminal.expect("ready> ", LIMIT);
    terminal.send("stty size\n");
    terminal.expect("30 100", LIMIT);
    terminal.resize(41, 123);
    // The shell asks again until the new size has arrived.
    terminal.send("until stty size | grep '41 123'; do sleep 0.05; done\n");
    terminal.expect("\n41 123", LIMIT);
    terminal.forget();
    let sleep = format!("sleep {}", 10_000 + std::process::id());
    terminal.send(&format!("{sleep} && echo wo''ken\n"));
    eventually("it sleeps in the foreground", LIMIT, || state(&sleep) == Some('S'));
    terminal.send("\x1a");
    terminal.expect("Stopped", LIMIT);
    terminal.expect("ready> ", LIMIT);
    terminal.forget();
    terminal.send("jobs\n");
    terminal.expect("Stopped", LIMIT);
    terminal.forget();
    terminal.send("fg\n");
    terminal.expect(&sleep, LIMIT);
    // It goes on only after the shell has given it the terminal.
    eventually("it sleeps again", LIMIT, || state(&sleep) == Some('S'));
    terminal.send("\x03");
    terminal.expect("ready> ", LIMIT);
    assert!(
        !terminal.screen().contains("woken"),
        "^C ended it: {}",
        terminal.screen()
    );
    terminal.send("exit 5\n");
    assert_eq!(terminal.exit(LIMIT), 5, "{}", terminal.screen());
}

#[test]
fn detached_and_attached_again() {
    let house = House::new();
    let gantry = house.gantry();
    let command = gantry.command(["run", "-it", "--name", "box", "-e", "PS1=ready> ", "busybox", "sh"]);
    let mut terminal = Terminal::spawn(command, 24, 80);
    terminal.expect("ready> ", LIMIT);
    terminal.send("KEPT=kept\n");
    terminal.expect("ready> ", LIMIT);
    terminal.send("\x10\x11");
    assert_eq!(terminal.exit(LIMIT), 0, "{}", terminal.screen());
    assert_eq!(gantry.ok(&["inspect", "-f", "{{.State.Status}}", "box"]), "running");
    let command = gantry.command(["attach", "--detach-keys", "ctrl-a,d", "box"]);
    let mut terminal = Terminal::spawn(command, 24, 80);
    terminal.send("echo was-$KEPT\n");
    terminal.expect("was-kept", LIMIT);
    terminal.send("\x01d");
    assert_eq!(terminal.exit(LIMIT), 0, "{}", terminal.screen());
    let mut terminal = Terminal::spawn(gantry.command(["attach", "box"]), 24, 80);
    terminal.send("echo still-$KEPT; exit 6\n");
    terminal.expect("still-kept", LIMIT);
    assert_eq!(terminal.exit(LIMIT), 6, "{}", terminal.screen());
    assert_eq!(gantry.ok(&["wait", "box"]), "6");
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "100"]);
    let command = gantry.command(["exec", "-it", "-e", "PS1=ready> ", "box", "sh"]);
    let mut terminal = Terminal::spawn(command, 33, 77);
    terminal.expect("ready> ", LIMIT);
    terminal.send("until stty size | grep '33 77'; do sleep 0.05; done; tty; exit 8\n");
    terminal.expect("\n33 77", LIMIT);
    terminal.expect("/dev/pts/", LIMIT);
    assert_eq!(terminal.exit(LIMIT), 8, "{}", terminal.screen());
}
