use super::*;
use crate::config::{Settings, load, load_containerd, parse};
use gantry_store::Sharing;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// `config.toml` and more files beside it.
fn place(files: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("tempdir");
    for (name, text) in files {
        fs::write(dir.path().join(name), text).expect("write");
    }
    let path = dir.path().join("config.toml");
    (dir, path)
}

fn with(toml: &str, json: &str, line: &[&str]) -> Result<Settings> {
    let (dir, path) = place(&[("config.toml", toml), ("daemon.json", json)]);
    let json = dir.path().join("daemon.json");
    let mut full = vec!["gantryd", "--config-file", json.to_str().expect("utf-8")];
    full.extend(["-c", path.to_str().expect("utf-8")]);
    full.extend(line);
    load(&parse(full).expect("flags"))
}

fn refusal(toml: &str) -> String {
    with(toml, "", &[]).expect_err("must be refused").to_string()
}

const TOML: &str = r#"
version = 2
root = "/srv/data"
state = "/srv/state"
oom_score = -5
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.native"]
[grpc]
address = "/srv/c.sock"
gid = 7
max_recv_message_size = 1048576
tcp_address = "0.0.0.0:1"
[ttrpc]
address = "/srv/t.sock"
[cgroup]
path = "system/containerd"
[debug]
level = "debug"
[timeouts]
"io.containerd.timeout.shim.load" = "7s"
"io.containerd.timeout.task.state" = "2s"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "pause"
[plugins."io.containerd.gc.v1.scheduler"]
startup_delay = "1m"
mutation_threshold = 100
[plugins."io.containerd.metadata.v1.bolt"]
content_sharing_policy = "isolated"
[plugins."io.containerd.runtime.v2.task"]
platforms = ["linux/amd64", "linux/386"]
[plugins."io.containerd.snapshotter.v1.overlayfs"]
root_path = "/srv/overlay"
speed = 3
[plugins."io.containerd.internal.v1.restart"]
interval = "3s"
[plugins."com.example.thing"]
wish = "x"
[proxy_plugins.stargz]
type = "snapshot"
address = "/run/stargz.sock"
"#;

#[test]
fn what_is_known_is_heeded_and_the_rest_is_named() {
    let settings = with(TOML, "", &["--root", "/flag"]).expect("settings");
    assert_eq!(settings.data_root, PathBuf::from("/flag"));
    assert_eq!(settings.exec_root, PathBuf::from("/srv/state"));
    assert_eq!(
        (settings.address, settings.address_gid),
        (PathBuf::from("/srv/c.sock"), 7)
    );
    assert_eq!(settings.log_level, tracing::level_filters::LevelFilter::DEBUG);
    assert_eq!(settings.proxies[0].name, "stargz");
    let tuning = settings.tuning;
    assert_eq!((tuning.largest_in, tuning.largest_out), (1 << 20, 16 << 20));
    assert_eq!((tuning.oom_score, tuning.sharing), (-5, Sharing::Isolated));
    assert_eq!(tuning.ttrpc, Some(PathBuf::from("/srv/t.sock")));
    assert_eq!(tuning.shim_load, Some(Duration::from_secs(7)));
    assert_eq!(tuning.first_collection, Duration::from_secs(60));
    assert_eq!(
        (tuning.tending, tuning.cgroup.as_deref()),
        (Duration::from_secs(3), Some("system/containerd"))
    );
    assert_eq!(tuning.platforms, ["linux/amd64", "linux/386"]);
    assert_eq!(tuning.roots["overlayfs"], PathBuf::from("/srv/overlay"));
    assert!(tuning.is_disabled(SNAPSHOTTER, "native") && !tuning.is_disabled(SNAPSHOTTER, "overlayfs"));
    let told = settings.warnings.join("\n");
    for word in [
        "config.toml:11: key grpc.tcp_address does nothing",
        "key plugins.\"io.containerd.grpc.v1.cri\" does nothing: the CRI service is not built",
        "key plugins.\"io.containerd.snapshotter.v1.overlayfs\".speed is not known",
        "key plugins.\"com.example.thing\".wish is not known",
    ] {
        assert!(told.contains(word), "{word} in {told}");
    }
    assert_eq!(settings.warnings.len(), 4, "{told}");
}

#[test]
fn version_3_reads_the_same_and_version_1_is_refused() {
    let settings = with(
        "version = 3\n[plugins.\"io.containerd.cri.v1.images\"]\nsnapshotter = \"x\"\n",
        "",
        &[],
    );
    assert!(settings.expect("settings").warnings[0].contains("CRI"));
    assert!(refusal("version = 1\n").contains("version 1"));
    assert!(refusal("[plugins.cri]\nx = 1\n").contains("shape is that of version 1"));
    assert!(refusal("version = 4\n").contains("version 2 or 3"));
    let monitor = "version = 3\n[plugins.\"io.containerd.monitor.container.v1.restart\"]\ninterval = \"5s\"\n";
    let settings = with(monitor, "", &[]).expect("settings");
    assert!(settings.warnings.is_empty() && settings.tuning.tends());
    assert_eq!(settings.tuning.tending, Duration::from_secs(5));
    let (_dir, path) = place(&[("config.toml", monitor)]);
    let dumped = dump(Some(&path)).expect("dump");
    assert!(!dumped.contains("internal.v1.restart"), "one name is enough: {dumped}");
    for name in ["monitor.container.v1", "internal.v1"] {
        let off = format!("version = 2\ndisabled_plugins = [\"io.containerd.{name}.restart\"]\n");
        assert!(!with(&off, "", &[]).expect("settings").tuning.tends(), "{name}");
    }
    // What Docker's package of containerd installs.
    let settings = with("disabled_plugins = [\"cri\"]\n", "", &[]).expect("settings");
    assert_eq!(settings.tuning.disabled, ["io.containerd.grpc.v1.cri"]);
}

#[test]
fn a_mistake_is_told_with_file_line_and_key() {
    for (toml, line, word) in [
        ("version = 2\n[cgroup]\npath = \"/a/../b\"\n", 3, "key cgroup.path"),
        (
            "version = 2\nroot = 3\n",
            2,
            "key root: a text is expected, found integer 3",
        ),
        ("version = 2\n\nroot = \n", 3, "not TOML"),
        ("version = 2\n[grpc]\nuid = -1\n", 3, "key grpc.uid"),
        ("version = 2\ngrpc = 1\n", 2, "key grpc: a table"),
        (
            "version = 2\n[debug]\nlevel = \"loud\"\n",
            3,
            "key debug.level: \"loud\"",
        ),
        ("version = 2\noom_score = 2000\n", 2, "key oom_score"),
        ("version = 2\nrequired_plugins = [\"bolt\"]\n", 2, "\"bolt\""),
        (
            "version = 2\n[plugins.\"io.containerd.metadata.v1.bolt\"]\ncontent_sharing_policy = \"some\"\n",
            3,
            "key plugins.\"io.containerd.metadata.v1.bolt\".content_sharing_policy",
        ),
        (
            "version = 2\n[plugins]\n\"io.containerd.gc.v1.scheduler\" = 1\n",
            3,
            "a table is expected",
        ),
        (
            "version = 2\n[timeouts]\n\"io.containerd.timeout.shim.load\" = \"soon\"\n",
            3,
            "\"soon\" is no time",
        ),
        (
            "version = 2\n[proxy_plugins.far]\ntype = \"content\"\naddress = \"/s\"\n",
            2,
            "key proxy_plugins.far: type \"content\" is not built",
        ),
    ] {
        let text = refusal(toml);
        let at = format!(
            "config.toml{}line {line}",
            if word == "not TOML" { " is not TOML, " } else { ", " }
        );
        assert!(text.contains(&at) && text.contains(word), "{at}, {word} in {text}");
    }
    assert!(load_containerd(Map::new(), Some(Path::new("/nonexistent/c.toml"))).is_err());
}

#[test]
fn imports_are_laid_over_and_lists_grow() {
    let (_dir, path) = place(&[
        (
            "config.toml",
            "version = 2\nroot = \"/a\"\nimports = [\"more-*.toml\", \"config.toml\"]\ndisabled_plugins = [\"io.containerd.a.v1.a\"]\n\
             [grpc]\nuid = 1\n[plugins.\"io.containerd.gc.v1.scheduler\"]\nstartup_delay = \"1s\"\n",
        ),
        (
            "more-1.toml",
            "version = 2\nroot = \"/b\"\ndisabled_plugins = [\"io.containerd.b.v1.b\"]\n[grpc]\ngid = 2\n",
        ),
        (
            "more-2.toml",
            "version = 2\nroot = \"\"\n[plugins.\"io.containerd.gc.v1.scheduler\"]\nodd = 1\n",
        ),
    ]);
    let given = read(&path).expect("read");
    assert_eq!(given.given["data-root"], "/b");
    assert_eq!(
        (&given.given["address-uid"], &given.given["address-gid"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(given.tuning.disabled, ["io.containerd.a.v1.a", "io.containerd.b.v1.b"]);
    // The section of a plugin is replaced as a whole.
    assert_eq!(given.tuning.first_collection, Tuning::default().first_collection);
    assert!(given.warnings[0].contains("more-2.toml:4"), "{:?}", given.warnings);
    let missing = place(&[("config.toml", "version = 2\nimports = [\"absent.toml\"]\n")]);
    assert!(read(&missing.1).is_err_and(|error| error.to_string().contains("absent.toml")));
}

#[test]
fn the_default_is_heeded_to_the_last_key_and_dumped() {
    let (_dir, path) = place(&[("config.toml", &default_text())]);
    let settings = load_containerd(Map::new(), Some(&path)).expect("settings");
    assert_eq!(settings.warnings, Vec::<String>::new());
    let plain = load_containerd(Map::new(), None).expect("settings");
    assert_eq!(
        (&settings.data_root, &settings.exec_root),
        (&plain.data_root, &plain.exec_root)
    );
    assert_eq!(
        (&settings.address, &settings.tuning.opt),
        (&plain.address, &plain.tuning.opt)
    );
    let dumped = dump(Some(&path)).expect("dump");
    assert_eq!(dumped, default_text(), "it is as new as can be");
    let (_dir, again) = place(&[("config.toml", &dumped)]);
    assert_eq!(read(&again).expect("read").warnings, Vec::<String>::new());
    assert!(known().contains_key("timeouts"));
}

#[test]
fn two_files_must_not_differ() {
    let text = with("version = 2\nroot = \"/srv/data\"\n", r#"{"data-root": "/else"}"#, &[]);
    let text = text.expect_err("conflict").to_string();
    assert!(text.contains("/else") && text.contains("/srv/data"), "{text}");
}
