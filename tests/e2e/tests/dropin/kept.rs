//! Tasks of clients as containerd has them: where their bundles are, and that they run as their containers' labels say.

use crate::stand::{LIMIT, Stand};
use crate::{SHIMS, stand};
use gantry_e2e::{PATIENCE, eventually};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn namespace(stand: &Stand) -> String {
    let path = stand.path("");
    let name = path.components().next_back().expect("a name");
    name.as_os_str().to_string_lossy().into_owned()
}

fn bundle(stand: &Stand, name: &str) -> PathBuf {
    let tasks = stand.path("state/io.containerd.runtime.v2.task");
    tasks.join(namespace(stand)).join(name)
}

/// Of one that runs.
fn pid(stand: &Stand, name: &str) -> Option<String> {
    let tasks = stand.tasks();
    let line = tasks.iter().find(|line| line.split_whitespace().next() == Some(name))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    (words[2] == "RUNNING").then(|| words[1].to_owned())
}

fn remove(stand: &Stand, name: &str) {
    // One that has ended already is not killed.
    let _ = stand.ctr(&["tasks", "kill", "-s", "SIGKILL", name]);
    eventually("the task has ended", LIMIT, || {
        stand
            .tasks()
            .iter()
            .any(|line| line.starts_with(name) && line.ends_with("STOPPED"))
    });
    stand.ok(&["tasks", "rm", name]);
    stand.ok(&["containers", "rm", name]);
}

#[test]
fn bundles_lie_where_containerds_do() {
    let mut stand = Stand::new("");
    stand.start(&[]);
    let rootfs = stand.rootfs();
    for (name, runtime) in SHIMS {
        stand.run(&rootfs, runtime, name, &["/bin/sleep", "1000"]);
        for file in ["config.json", "log", "rootfs", "shim-binary-path", "work"] {
            let path = bundle(&stand, name).join(file);
            assert!(path.symlink_metadata().is_ok(), "{}", path.display());
        }
    }
    let before = stand.tasks();
    stand.kill();
    stand.start(&[]);
    assert_eq!(stand.tasks(), before, "they are found there");
    for (name, _) in SHIMS {
        remove(&stand, name);
        assert!(!bundle(&stand, name).exists());
    }
    stand.stop();
}

fn label(stand: &Stand, name: &str, labels: &[(&str, &str)]) {
    let labels: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("containerd.io/restart.{key}={value}"))
        .collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    stand.ok(&[&["containers", "label", name][..], &labels].concat());
}

fn count(stand: &Stand, name: &str) -> String {
    let text = stand.ok(&["containers", "info", name]);
    let info: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    info["Labels"]["containerd.io/restart.count"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Kills a task and waits until it runs anew.
fn kill_and_wait(stand: &Stand, name: &str) {
    let mut former = None;
    eventually("it runs", PATIENCE, || {
        former = pid(stand, name);
        former.is_some()
    });
    stand.ok(&["tasks", "kill", "-s", "SIGKILL", name]);
    eventually("it runs again", PATIENCE, || {
        pid(stand, name).is_some_and(|pid| Some(pid) != former)
    });
}

#[test]
fn tasks_are_restarted_as_labels_say() {
    for (_, runtime) in SHIMS {
        let mut stand = Stand::new("[plugins.\"io.containerd.internal.v1.restart\"]\ninterval = \"1s\"\n");
        stand.start(&[]);
        let rootfs = stand.rootfs();
        let log = stand.path("said");
        let to_log = format!("file://{}", log.display());
        stand.run(
            &rootfs,
            runtime,
            "always",
            &["/bin/sh", "-c", "echo anew; exec sleep 1000"],
        );
        label(&stand, "always", &[("loguri", &to_log), ("status", "running")]);
        stand.run(&rootfs, runtime, "fails", &["/bin/false"]);
        label(&stand, "fails", &[("policy", "on-failure:1"), ("status", "running")]);
        stand.run(&rootfs, runtime, "plain", &["/bin/false"]);
        kill_and_wait(&stand, "always");
        eventually("its output is where its label says", PATIENCE, || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains("anew"))
        });
        eventually("the other one was tried once more", PATIENCE, || {
            count(&stand, "fails") == "1"
                && stand
                    .tasks()
                    .iter()
                    .any(|line| line.starts_with("fails") && line.ends_with("STOPPED"))
        });
        // A daemon that begins anew looks after them too.
        stand.kill();
        stand.start(&[]);
        kill_and_wait(&stand, "always");
        assert_eq!(count(&stand, "always"), "2");
        // Two more rounds, in which nothing happens to it, nor to one without labels.
        kill_and_wait(&stand, "always");
        kill_and_wait(&stand, "always");
        assert_eq!(count(&stand, "fails"), "1");
        assert_eq!(count(&stand, "plain"), "");
        label(&stand, "always", &[("status", "stopped")]);
        eventually("it is ended and gone", PATIENCE, || {
            !stand.tasks().iter().any(|line| line.starts_with("always"))
        });
        stand.ok(&["containers", "rm", "always"]);
        label(&stand, "fails", &[("status", "")]);
        remove(&stand, "fails");
        remove(&stand, "plain");
        let shown = stand.ok(&["plugins", "ls", "id==restart"]);
        assert!(shown.contains("io.containerd.monitor.container.v1"), "{shown}");
        stand.stop();
    }
}

#[test]
fn the_daemon_is_in_the_cgroup_that_the_file_names() {
    let mut stand = Stand::new("");
    let name = namespace(&stand);
    stand.add(&format!("[cgroup]\npath = \"/{name}\"\n"));
    stand.start(&[]);
    let text = fs::read_to_string(format!("/proc/{}/cgroup", stand.pid())).expect("the daemon runs");
    // proc: number, controllers, path. What has controllers: version 1 by their names, version 2 where it is alone.
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.splitn(3, ':').collect()).collect();
    let is_v1 = |line: &&Vec<&str>| !line[1].is_empty() && !line[1].starts_with("name=");
    let v1: Vec<_> = lines.iter().filter(is_v1).collect();
    let controlling = if v1.is_empty() { lines.iter().collect() } else { v1 };
    assert!(!controlling.is_empty(), "{text}");
    for line in controlling {
        assert!(line[2].ends_with(&format!("/{name}")), "{text}");
    }
    stand.stop();
}

#[test]
fn hooks_are_told_of_their_container() {
    let stand = Stand::new("");
    fs::write(stand.path("config.json"), "{\"root\":{\"path\":\"rootfs\"}}").expect("a file");
    let state = format!(
        "{{\"ociVersion\":\"1.0.2\",\"id\":\"c1\",\"status\":\"created\",\"pid\":42,\"bundle\":\"{}\",\
         \"annotations\":{{\"a.b/c\":\"x y\"}}}}",
        stand.text("")
    );
    let tell = |mut command: Command, words: &[&str]| {
        command.args(["oci-hook", "--"]).args(words).env("TOLD", "of {{id}}");
        stand::feed(command, state.as_bytes())
    };
    let script = "echo \"$1 $2 $3 $4 $5 $TOLD\"";
    for words in [
        &[
            "/bin/sh",
            "-c",
            script,
            "sh",
            "{{id}}",
            "--pid={{ pid }}",
            "{{bundle}}",
            "{{rootfs}}",
            "{{annotation \"a.b/c\"}}, {{status}}",
        ][..],
        &["/bin/sh", "-c", "exit 7"],
        &["/bin/echo", "{{nothing}}"],
        &["/bin/echo", "{{id"],
        &["/nonexistent/hook"],
    ] {
        let ours = tell(stand.bare(&[]), words);
        let theirs = tell(stand::containerd(&[]), words);
        assert_eq!(ours.code, theirs.code, "{words:?}: {}\n---\n{}", ours.text, theirs.text);
        if ours.done {
            assert_eq!(ours.text, theirs.text, "{words:?}");
        }
    }
}

#[test]
fn a_migrated_configuration_is_what_it_was() {
    let stand = Stand::new("");
    let default = stand::run(stand.bare(&["config", "default"])).text;
    fs::write(stand.path("default.toml"), &default).expect("a file");
    let migrate = |file: &str| {
        let migrated = stand::run(stand.bare(&["-c", &stand.text(file), "config", "migrate"]));
        assert_eq!(migrated.code, 0, "{}", migrated.text);
        migrated.text
    };
    assert_eq!(migrate("default.toml"), default);
    let mine = "version = 3\n[plugins.\"io.containerd.monitor.container.v1.restart\"]\ninterval = \"5s\"\n";
    fs::write(stand.path("mine.toml"), mine).expect("a file");
    let migrated = migrate("mine.toml");
    assert!(
        migrated.contains("interval = \"5s\"") && !migrated.contains("interval = \"10s\""),
        "{migrated}"
    );
    fs::write(stand.path("again.toml"), &migrated).expect("a file");
    assert_eq!(migrate("again.toml"), migrated);
}
