//! Terminals and streams.

use crate::alike::Answer;
use crate::sides::{IMAGE, Sides};
use gantry_e2e::{PATIENCE, Terminal, eventually};
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn terminals_answer_alike() {
    let s = &Sides::new();
    s.screen(
        &[
            "run",
            "--rm",
            "-it",
            IMAGE,
            "sh",
            "-c",
            "echo ready; read x; echo got $x",
        ],
        &[("ready", "word\n")],
    );
    s.screen(
        &[
            "run",
            "-it",
            "--name",
            "held",
            IMAGE,
            "sh",
            "-c",
            "echo here; sleep 1000",
        ],
        &[("here", "\u{10}\u{11}")],
    );
    s.same(&["ps", "--format", "{{.Names}}"]);
    let attach = ["attach", "--detach-keys", "ctrl-a,x", "held"];
    s.compare(&attach, |side| {
        let mut terminal = Terminal::spawn(side.command(&attach), 30, 100);
        terminal.send("\u{1}x");
        Answer {
            code: terminal.exit(PATIENCE),
            // It is shown if it is typed before the client has the terminal.
            stdout: terminal.rest(PATIENCE).replace("^Ax", ""),
            stderr: String::new(),
        }
    });
    s.screen(
        &[
            "exec",
            "-it",
            "held",
            "sh",
            "-c",
            "tty >/dev/null && echo terminal; exit 4",
        ],
        &[],
    );
    s.screen(
        &[
            "run",
            "--rm",
            "-it",
            IMAGE,
            "sh",
            "-c",
            "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done",
        ],
        &[("ready", "\u{3}")],
    );
    s.same(&["rm", "-f", "held"]);
}

/// A window that changes is told to the process.
#[test]
fn a_terminal_is_resized() {
    let s = &Sides::new();
    let args = [
        "run",
        "--rm",
        "-it",
        IMAGE,
        "sh",
        "-c",
        "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done",
    ];
    let mut terminal = Terminal::spawn(s.ours.command(&args), 30, 100);
    terminal.expect("ready", PATIENCE);
    // Until the client listens, nobody tells.
    eventually("the process hears of the new size", PATIENCE, || {
        terminal.resize(18, 72);
        terminal.resize(17, 71);
        terminal.screen().contains("17 71")
    });
    terminal.send("\u{3}");
    terminal.exit(PATIENCE);
}

/// Every byte comes through a pipe that is read slowly.
#[test]
fn a_slow_reader_loses_nothing() {
    let s = &Sides::new();
    let total: u64 = 200 << 20;
    let mut command = s.ours.command(&[
        "run",
        "--rm",
        IMAGE,
        "sh",
        "-c",
        "dd if=/dev/zero bs=1M count=200 2>/dev/null",
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("docker starts");
    let mut stdout = child.stdout.take().expect("piped");
    let (mut seen, mut buffer) = (0_u64, vec![0; 256 << 10]);
    loop {
        let count = stdout.read(&mut buffer).expect("a pipe");
        if count == 0 {
            break;
        }
        assert!(buffer[..count].iter().all(|byte| *byte == 0));
        seen += count as u64;
        if seen < 8 << 20 {
            // Slower than it is written, at first.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert_eq!(seen, total);
    assert!(child.wait().expect("docker ends").success());
}

/// 500 runs, 32 at a time.
#[test]
fn many_runs_at_once() {
    let s = &Sides::new();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let ours = &s.ours;
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if number >= 500 {
                        return;
                    }
                    let word = number.to_string();
                    let done = ours
                        .command(&["run", "--rm", "--network", "none", IMAGE, "echo", &word])
                        .output();
                    let done = done.expect("docker starts");
                    let said = String::from_utf8_lossy(&done.stdout).into_owned();
                    let erred = String::from_utf8_lossy(&done.stderr).into_owned();
                    assert_eq!(
                        (said.trim_end(), erred.as_str(), done.status.code()),
                        (word.as_str(), "", Some(0))
                    );
                }
            });
        }
    });
    s.both(&["ps", "-aq"]);
}
