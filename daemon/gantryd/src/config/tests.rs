use super::*;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

fn with_file(json: &str, line: &[&str]) -> Result<Settings> {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("daemon.json");
    std::fs::write(&path, json).expect("write");
    let path = path.to_str().expect("utf-8").to_owned();
    let mut full = vec!["gantryd".to_owned(), "--config-file".to_owned(), path];
    full.extend(line.iter().map(|text| (*text).to_owned()));
    load(&parse(full).expect("flags"))
}

fn refusal(json: &str, line: &[&str]) -> String {
    with_file(json, line).expect_err("must be refused").to_string()
}

#[test]
fn defaults_are_the_contracts() {
    let settings = with_file("", &[]).expect("defaults");
    assert_eq!(settings.data_root, PathBuf::from("/var/lib/gantry"));
    assert_eq!(settings.address, PathBuf::from("/run/gantry/gantry.sock"));
    assert_eq!(settings.pidfile, PathBuf::from("/run/gantry/gantryd.pid"));
    assert_eq!(settings.cgroup_parent, "/gantry");
    assert!(settings.live_restore && !settings.debug);
    assert_eq!(settings.shutdown_timeout, Some(Duration::from_secs(15)));
    assert_eq!(settings.log.driver, "json-file");
}

#[test]
fn another_exec_root_has_names_of_its_own() {
    let one = with_file("", &["--exec-root", "/tmp/a"]).expect("settings");
    let two = with_file(r#"{"exec-root": "/tmp/b"}"#, &[]).expect("settings");
    let number = one.cgroup_parent.strip_prefix("/gantry-").expect("a number of its own");
    assert!(
        number.len() == 8 && number.bytes().all(|b| b.is_ascii_hexdigit()),
        "{number}"
    );
    assert_ne!(one.cgroup_parent, two.cgroup_parent);
    assert_eq!(one.address, PathBuf::from("/tmp/a/gantry.sock"));
}

#[test]
fn what_flag_and_file_both_say_is_a_conflict_that_names_both() {
    let text = refusal(
        r#"{"debug": true, "labels": ["a=b"]}"#,
        &["--debug=false", "--label", "c=d"],
    );
    for part in ["--debug", "false", "true", "--label", "daemon.json"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(with_file(r#"{"debug": true}"#, &["--label", "c=d"]).is_ok());
}

#[test]
fn unknown_keys_and_bad_values_are_named() {
    let text = refusal(r#"{"debug": true, "nonsense": 1, "more": 2}"#, &[]);
    assert!(text.contains("nonsense") && text.contains("more"), "{text}");
    for (json, key) in [
        (r#"{"debug": "yes"}"#, "debug"),
        (r#"{"log-level": "loud"}"#, "log-level"),
        (r#"{"storage-driver": "zfs"}"#, "storage-driver"),
        (r#"{"hook-spec": "relative.json"}"#, "hook-spec"),
        (r#"{"seccomp-profile": "/nonexistent"}"#, "seccomp-profile"),
        (r#"{"default-runtime": "no-such-runtime"}"#, "default-runtime"),
        (r#"{"default-shm-size": "much"}"#, "default-shm-size"),
        (r#"{"labels": ["a=1", "a=2"]}"#, "labels"),
        (r#"{"max-concurrent-downloads": 0}"#, "max-concurrent-downloads"),
        (r#"{"exec-opts": ["native.cgroupdriver=systemd"]}"#, "exec-opt"),
        (r#"{"log-driver": "syslog"}"#, "log-driver"),
        (r#"{"bip": "10.0.0.1"}"#, "bip"),
        (r#"[]"#, "object"),
        (r#"{"#, "daemon.json"),
    ] {
        let text = refusal(json, &[]);
        assert!(text.contains(key), "{key} in {text}");
    }
    let text = refusal("", &["--selinux-enabled"]);
    assert!(
        text.contains("--selinux-enabled") && text.contains("not built yet"),
        "{text}"
    );
}

#[test]
fn a_named_file_must_be_there() {
    let line = parse(["gantryd", "--config-file", "/nonexistent/daemon.json"]).expect("flags");
    assert!(
        load(&line)
            .expect_err("missing")
            .to_string()
            .contains("/nonexistent/daemon.json")
    );
}

#[test]
fn the_proxy_is_answered_by_a_warning() {
    let settings = with_file(r#"{"userland-proxy": true}"#, &[]).expect("settings");
    assert!(settings.warnings.iter().any(|text| text.contains("userland-proxy")));
    assert!(
        with_file(r#"{"userland-proxy": false}"#, &[])
            .expect("settings")
            .warnings
            .is_empty()
    );
}

#[test]
fn json_maps_arrive_as_they_are() {
    let json = json!({ "log-opts": { "max-size": "1m" }, "default-ulimits": { "nofile": { "Name": "nofile", "Soft": 1, "Hard": 2 } } });
    let settings = with_file(&json.to_string(), &[]).expect("settings");
    assert_eq!(settings.log.options["max-size"], "1m");
    assert_eq!(settings.default_ulimits[0].hard, 2);
}
