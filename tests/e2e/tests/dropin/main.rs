//! gantryd called by the name `containerd`, with that program's flags, `config.toml` and client: Debian's `ctr`.

mod kept;
mod left;
mod stand;

use gantry_e2e::eventually;
use sha2::Digest;
use stand::{LIMIT, Stand, containerd, run};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

const SHIMS: [(&str, &str); 2] = [("own", "io.containerd.gantry.v1"), ("foreign", "io.containerd.runc.v2")];

#[test]
fn the_file_says_where_everything_is_and_flags_win() {
    let mut stand = Stand::new("oom_score = 100\n");
    let flagged = stand.path("flag.sock");
    stand.start(&["--address", &stand.text("flag.sock"), "--log-level", "debug"]);
    let version = stand.ctr_at(&flagged, &["version"]);
    assert!(version.done && version.text.contains("Server:"), "{}", version.text);
    assert!(stand.path("root/store").is_dir(), "the root of the file is taken");
    assert!(
        stand.path("state/gantryd.lock").is_file(),
        "the state of the file is taken"
    );
    assert!(!stand.path("c.sock").exists(), "the address of the flag wins");
    assert!(
        stand.path("flag.sock.ttrpc").exists(),
        "shims find their socket beside it"
    );
    let mode = fs::metadata(&flagged).expect("a socket").mode() & 0o7777;
    assert_eq!(mode, 0o660);
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", stand.pid())).expect("the daemon runs");
    assert_eq!(score.trim(), "100");
    let docker = Command::new("find")
        .arg(stand.path(""))
        .args(["-name", "docker*"])
        .output();
    assert!(
        docker.expect("find runs").stdout.is_empty(),
        "no socket of Docker's is opened"
    );
    let listed = stand.ctr_at(&flagged, &["plugins", "ls"]).text;
    assert!(listed.contains("overlayfs") && !listed.contains("error"), "{listed}");
    assert!(
        !listed.contains("native"),
        "what the file switches off is not there: {listed}"
    );
    // A second one on the same root is refused, and says why.
    let second = run(stand.command(&["--address", &stand.text("second.sock")]));
    assert!(
        second.code == 1 && second.text.contains("another gantryd"),
        "{}",
        second.text
    );
    stand.stop();
    assert!(!flagged.exists() && !stand.path("flag.sock.ttrpc").exists());
}

#[test]
fn containers_of_both_shims_live_on_and_are_found_again() {
    let mut stand = Stand::new("");
    stand.start(&[]);
    let rootfs = stand.rootfs();
    for (name, runtime) in SHIMS {
        stand.run(&rootfs, runtime, name, &["/bin/sleep", "1000"]);
    }
    let before = stand.tasks();
    assert_eq!(
        before.iter().filter(|line| line.ends_with("RUNNING")).count(),
        2,
        "{before:?}"
    );
    stand.stop();
    stand.start(&[]);
    assert_eq!(stand.tasks(), before, "after SIGTERM");
    stand.kill();
    stand.start(&[]);
    assert_eq!(stand.tasks(), before, "after SIGKILL");
    for (name, _) in SHIMS {
        assert_eq!(
            stand.ok(&["tasks", "exec", "--exec-id", "e", name, "/bin/echo", name]),
            format!("{name}\n")
        );
    }
    // One ends while nobody looks; the other is ended by its client.
    stand.kill();
    let pid = before[0]
        .split_whitespace()
        .nth(1)
        .expect("a pid")
        .parse()
        .expect("a number");
    let kill = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    kill.expect("the container can be killed");
    stand.start(&[]);
    for (name, _) in SHIMS {
        // Of the two, one has ended already.
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
    stand.stop();
}

/// A shim as any other, which writes down how it was called, where clients install programs.
fn install_watched_shim(stand: &Stand) {
    fs::create_dir_all(stand.path("opt/bin")).expect("a directory");
    let path = stand.path("opt/bin/containerd-shim-watched-v2");
    let text = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > {0}/called.$$\nenv > {0}/env.$$\nmv {0}/env.$$ {0}/env\nmv {0}/called.$$ {0}/called\n\
         exec containerd-shim-runc-v2 \"$@\"\n",
        stand.text("")
    );
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// A protobuf Any: field 1 its type, field 2 its value.
fn any(kind: &str, value: &[u8]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).expect("short");
        [&[number << 3 | 2, length], bytes].concat()
    };
    [field(1, kind.as_bytes()), field(2, value)].concat()
}

#[test]
fn shims_are_told_how_to_publish_and_can() {
    let mut stand = Stand::new(
        "[ttrpc]\naddress = \"@/elsewhere.ttrpc\"\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = \"@/opt\"\n",
    );
    stand.start(&[]);
    install_watched_shim(&stand);
    let shim = "io.containerd.watched.v2";
    let rootfs = stand.rootfs();
    stand.ok(&[
        "run",
        "--rm",
        "--runtime",
        shim,
        "--rootfs",
        &rootfs,
        "once",
        "/bin/true",
    ]);
    // `delete` came last; it is called alike.
    let called = fs::read_to_string(stand.path("called")).expect("the shim was called");
    let after = |flag: &str| {
        let mut words = called.lines().skip_while(|word| *word != flag);
        words.nth(1).unwrap_or_else(|| panic!("{flag} in {called}")).to_owned()
    };
    assert_eq!(after("-address"), stand.text("c.sock"));
    let env = fs::read_to_string(stand.path("env")).expect("its environment");
    assert!(
        env.lines()
            .any(|line| line == format!("TTRPC_ADDRESS={}", stand.text("elsewhere.ttrpc"))),
        "{env}"
    );
    assert!(
        env.lines()
            .any(|line| line == format!("GRPC_ADDRESS={}", stand.text("c.sock"))),
        "{env}"
    );
    let mut heard = stand.listen();
    let publish = |args: &[&str], told: bool| {
        let mut command = Command::new(after("-publish-binary"));
        command
            .args(args)
            .env_remove("TTRPC_ADDRESS")
            .env_remove("GRPC_ADDRESS");
        if told {
            command.env("TTRPC_ADDRESS", stand.text("elsewhere.ttrpc"));
        }
        // containerd.events.TaskOOM { container_id: "once" }
        stand::feed(command, &any("containerd.events.TaskOOM", b"\x0a\x04once"))
    };
    let address = stand.text("c.sock");
    let first = publish(
        &[
            "--address",
            &address,
            "publish",
            "--topic",
            "/tasks/oom",
            "--namespace",
            "first",
        ],
        true,
    );
    assert_eq!(first.code, 0, "{}", first.text);
    let second = publish(&["publish", "--topic", "/tasks/oom", "--namespace", "second"], true);
    assert_eq!(second.code, 0, "{}", second.text);
    eventually("both events are heard", LIMIT, || {
        let text = heard.text();
        ["first", "second"].iter().all(|ns| {
            text.lines()
                .any(|line| line.contains(ns) && line.contains("/tasks/oom") && line.contains("once"))
        })
    });
    heard.end();
    for (args, word) in [
        (&["publish", "--namespace", "x"][..], "topic required"),
        (&["publish", "--topic", "/t"], "namespace"),
        (&["publish", "--topic", "bad", "--namespace", "x"], "bad"),
    ] {
        let refused = publish(args, true);
        assert!(
            refused.code == 1 && refused.text.contains(word),
            "{args:?}: {}",
            refused.text
        );
    }
    let nobody = publish(
        &[
            "--address",
            "/nonexistent.sock",
            "publish",
            "--topic",
            "/t",
            "--namespace",
            "x",
        ],
        false,
    );
    assert!(
        nobody.code == 1 && nobody.text.contains("/nonexistent.sock"),
        "{}",
        nobody.text
    );
    stand.stop();
}

#[test]
fn the_default_configuration_serves_both_daemons() {
    let mut stand = Stand::new("");
    let ours = run(stand.bare(&["config", "default"]));
    assert_eq!(ours.code, 0, "{}", ours.text);
    fs::write(stand.path("default.toml"), &ours.text).expect("a file");
    let file = stand.text("default.toml");
    let dumped = run(stand.bare(&["--config", &file, "config", "dump"]));
    assert!(
        dumped.code == 0 && dumped.text.contains("content_sharing_policy = \"shared\""),
        "{}",
        dumped.text
    );
    let theirs = run(containerd(&["--config", &file, "config", "dump"]));
    assert_eq!(theirs.code, 0, "Debian's containerd reads it: {}", theirs.text);
    let flags = [
        "--config",
        &file,
        "--root",
        &stand.text("root"),
        "--state",
        &stand.text("state"),
    ]
    .map(str::to_owned);
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["-a"]).collect();
    let address = stand.text("c.sock");
    let flags = [&flags[..], &[&address]].concat();
    stand.start_with(stand.bare(&flags));
    assert!(stand.ctr(&["version"]).done);
    let log = stand.log();
    assert!(!log.contains("does nothing"), "nothing of it is unknown: {log}");
    stand.stop();
    // Debian's own, with what is shared: on other roots, for it would not know what is in ours.
    let mut other = Stand::new("");
    let theirs = [
        "--config",
        &file,
        "--root",
        &other.text("root"),
        "--state",
        &other.text("state"),
        "-a",
        &other.text("c.sock"),
    ]
    .map(str::to_owned);
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    other.start_with(containerd(&theirs));
    assert!(other.ctr(&["version"]).done);
    other.stop();
    // And the other way round: all that Debian's states is read, and only its CRI is worth a word.
    let text = run(containerd(&["config", "default"])).text;
    fs::write(stand.path("debian.toml"), text).expect("a file");
    let mut validate = Command::new(gantry_e2e::program("gantryd"));
    validate.args([
        "--config-file",
        &stand.text("daemon.json"),
        "--validate",
        "-c",
        &stand.text("debian.toml"),
    ]);
    fs::write(stand.path("daemon.json"), "{}").expect("a file");
    let said = run(validate);
    assert!(
        said.code == 0 && said.text.contains("configuration OK"),
        "{}",
        said.text
    );
    let warnings: Vec<&str> = said.text.lines().filter(|line| line.starts_with("warning")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("cri"), "{warnings:?}");
}

#[test]
fn flags_and_mistakes_end_as_they_do_there() {
    let stand = Stand::new("");
    fs::write(stand.path("type.toml"), "version = 2\n\nroot = 3\n").expect("a file");
    fs::write(stand.path("bad.toml"), "version = 2\nroot = \n").expect("a file");
    let (typed, bad) = (stand.text("type.toml"), stand.text("bad.toml"));
    for args in [
        &["--help"][..],
        &["--version"],
        &["-v"],
        &["config", "default"],
        &["config", "--help"],
        &["publish", "--help"],
        &["--nope"],
        &["-nope"],
        &["--root"],
        &["config", "nope"],
        &["publish"],
        &["publish", "--nope"],
        &["--config", "/nonexistent/config.toml"],
        &["--config", &typed],
        &["--config", &bad],
        &["--config", &bad, "config", "dump"],
    ] {
        let (ours, theirs) = (run(stand.bare(args)), run(containerd(args)));
        assert_eq!(ours.code, theirs.code, "{args:?}: {}\n---\n{}", ours.text, theirs.text);
    }
    let wrong = run(stand.bare(&["--config", &typed])).text;
    assert!(wrong.contains("type.toml, line 3: key root"), "{wrong}");
    let wrong = run(stand.bare(&["--config", &bad])).text;
    assert!(wrong.contains("bad.toml") && wrong.contains("line 2"), "{wrong}");
    let (ours, theirs) = (run(stand.bare(&["-v"])).text, run(containerd(&["-v"])).text);
    assert_eq!(ours.split_whitespace().next(), theirs.split_whitespace().next());
    assert_eq!(
        ours.split_whitespace().count(),
        theirs.split_whitespace().count(),
        "{ours}"
    );
    let loud = run(stand.command(&["--log-level", "loud"]));
    assert!(loud.code == 1 && loud.text.contains("loud"), "{}", loud.text);
}

#[test]
fn a_required_plugin_must_be_here() {
    let mut stand = Stand::new("");
    stand.add("required_plugins = [\"io.containerd.snapshotter.v1.nosuch\"]\n");
    let refused = run(stand.command(&[]));
    assert!(
        refused.code == 1 && refused.text.contains("io.containerd.snapshotter.v1.nosuch"),
        "{}",
        refused.text
    );
    stand.clear();
    stand.add("required_plugins = [\"io.containerd.snapshotter.v1.overlayfs\", \"io.containerd.metadata.v1.bolt\"]\n");
    stand.start(&[]);
    assert!(stand.ctr(&["version"]).done);
    stand.stop();
}

/// Bytes that one namespace has. Where content is shared, another that names their digest need not send them: what it sends in
/// their place is not looked at.
#[test]
fn isolated_content_is_sent_again() {
    let bytes = b"what one namespace has, another must send";
    let digest = format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)));
    let wrong = vec![b'x'; bytes.len()];
    for (policy, is_taken) in [("shared", true), ("isolated", false)] {
        let mut stand = Stand::new(&format!(
            "[plugins.\"io.containerd.metadata.v1.bolt\"]\ncontent_sharing_policy = \"{policy}\"\n"
        ));
        stand.start(&[]);
        let ingest = |ns: &str, bytes: &[u8]| {
            // It seeks in what it sends.
            fs::write(stand.path("sent"), bytes).expect("a file");
            let script = "exec ctr -a \"$1\" -n \"$2\" content ingest --expected-digest \"$3\" ref < \"$4\"";
            let mut command = Command::new("sh");
            command.args([
                "-c",
                script,
                "sh",
                &stand.text("c.sock"),
                ns,
                &digest,
                &stand.text("sent"),
            ]);
            run(command)
        };
        let made = ingest("one", bytes);
        assert!(made.done, "{}", made.text);
        let second = ingest("two", &wrong);
        assert_eq!(second.done, is_taken, "{policy}: {}", second.text);
        stand.stop();
    }
}
