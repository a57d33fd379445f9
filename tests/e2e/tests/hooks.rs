//! Hooks of `--hook-spec`: what a failing or a slow one does to a start.

use gantry_e2e::{House, eventually};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A hook in the directory of the daemon's hooks.
fn hook(house: &House, name: &str, script: &str) -> PathBuf {
    let dir = house.data_root().join("hooks");
    fs::create_dir_all(&dir).expect("the directory of hooks");
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a hook");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    path
}

/// A file for `--hook-spec` with one hook of one kind, and its timeout in seconds.
fn spec(house: &House, kind: &str, hook: &Path, timeout: u32) -> String {
    let file = house.root().join(format!("{kind}.json"));
    let text =
        format!("{{\"{kind}\": [{{\"path\": {hook:?}, \"args\": [\"hook\"], \"env\": [], \"timeout\": {timeout}}}]}}");
    fs::write(&file, text).expect("a file of hooks");
    file.to_str().expect("a path of ASCII").to_owned()
}

/// The program has ended long before its hook has; the start fails all the same, every time.
#[test]
fn a_failing_poststart_hook_fails_the_start_of_the_shortest_program() {
    let house = House::new();
    let gantry = house.gantry();
    let failing = hook(&house, "failing", "sleep 0.05; echo no luck >&2; exit 3");
    let file = spec(&house, "poststart", &failing, 60);
    for turn in 0..10 {
        let name = format!("short{turn}");
        let output = gantry.run(&["run", "--name", &name, "--hook-spec", &file, "busybox", "true"]);
        let output = output.exits(125).says("no luck").says("poststart hook");
        assert!(
            output.stderr.contains(failing.to_str().expect("ASCII")),
            "{}",
            output.stderr
        );
        let state = gantry.ok(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", &name]);
        assert_eq!(state, "created 128");
        // The message is Docker's, which names no container; the daemon's log does.
        let id = gantry.ok(&["inspect", "-f", "{{.Id}}", &name]);
        let log = house.log();
        let mut lines = log
            .lines()
            .filter(|line| line.contains("the container was not started"));
        assert!(
            lines.any(|line| line.contains(&id[..12]) && line.contains("no luck")),
            "{log}"
        );
    }
}

#[test]
fn a_good_poststart_hook_leaves_a_short_program_its_exit_code() {
    let house = House::new();
    let gantry = house.gantry();
    let file = spec(&house, "poststart", &hook(&house, "good", "sleep 0.05"), 60);
    for _ in 0..5 {
        let args = [
            "run",
            "--rm",
            "--hook-spec",
            &file,
            "busybox",
            "sh",
            "-c",
            "echo up; exit 4",
        ];
        assert_eq!(gantry.run(&args).exits(4).stdout, "up\n");
    }
}

#[test]
fn a_hook_that_outlives_its_timeout_is_killed_and_the_start_fails_naming_it() {
    let house = House::new();
    let gantry = house.gantry();
    let mark = house.root().join("pid");
    let slow = hook(&house, "slow", &format!("echo $$ > {}; exec sleep 60", mark.display()));
    for kind in ["prestart", "poststart"] {
        let file = spec(&house, kind, &slow, 3);
        let begun = Instant::now();
        let args = ["run", "--rm", "--hook-spec", &file, "busybox", "sleep", "60"];
        let output = gantry.run(&args).exits(125).says("timeout of 3 s").says(kind);
        assert!(
            output.stderr.contains(slow.to_str().expect("ASCII")),
            "{}",
            output.stderr
        );
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let pid = fs::read_to_string(&mark).expect("the hook has begun");
        let alive = Path::new("/proc").join(pid.trim());
        eventually("the hook is dead and gone", Duration::from_secs(10), || !alive.exists());
        fs::remove_file(&mark).expect("the mark");
    }
    assert_eq!(gantry.ok(&["ps", "-aq"]), "");
}
