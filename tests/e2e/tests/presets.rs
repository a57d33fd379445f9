//! What the daemon's configuration presets for containers, and fields of the Docker API that no client has a flag for.

use gantry_e2e::House;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// A house whose daemon reads this configuration.
fn house(config: &Value) -> House {
    let mut house = House::new();
    house.stop_daemon();
    std::fs::write(house.root().join("daemon.json"), config.to_string()).expect("a configuration file");
    house.start();
    house
}

/// Asks the Docker API; the status and the answer.
fn ask(house: &House, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(house.exec_root().join("docker.sock")).expect("the socket answers");
    stream.set_read_timeout(Some(gantry_e2e::PATIENCE)).expect("a limit");
    let body = body.to_string();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all((head + &body).as_bytes())
        .expect("the request is taken");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("a status");
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn containers_that_do_not_say_have_what_the_daemon_presets() {
    let house = house(&json!({
        "init": true, "default-ipc-mode": "shareable", "default-cgroupns-mode": "private", "default-shm-size": "8m",
        "default-ulimits": { "nofile": { "Name": "nofile", "Soft": 55, "Hard": 66 } },
        "log-driver": "local", "log-opts": { "max-size": "1m" },
    }));
    let gantry = house.gantry();
    let script = "cat /proc/1/comm; ulimit -n; grep ' /dev/shm ' /proc/mounts | grep -o 'size=[0-9]*k'; cut -d: -f3 /proc/self/cgroup | sort -u";
    let seen = gantry.ok(&["run", "--name", "box", "busybox", "sh", "-c", script]);
    assert_eq!(seen, "docker-init\n55\nsize=8192k\n/");
    let look = |template: &str| gantry.ok(&["inspect", "-f", template, "box"]);
    assert_eq!(
        look("{{.HostConfig.IpcMode}} {{.HostConfig.CgroupnsMode}}"),
        "shareable private"
    );
    assert_eq!(look("{{.HostConfig.LogConfig.Type}}"), "local");
    // Who says otherwise has his way.
    let flags = [
        "--init=false",
        "--ipc",
        "private",
        "--cgroupns",
        "host",
        "--shm-size",
        "4m",
        "--ulimit",
        "nofile=44:44",
    ];
    let mut args = vec!["run", "--rm"];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", script]);
    let seen = gantry.ok(&args);
    assert!(seen.starts_with("sh\n44\nsize=4096k\n/"), "{seen}");
    assert!(
        seen.contains("/gantry-"),
        "the cgroup is seen from the host's root: {seen}"
    );
    // One that lives in another's pid namespace has no first process of its own.
    gantry.ok(&["run", "-d", "--name", "owner", "busybox", "sleep", "1000"]);
    let guest = gantry.ok(&[
        "run",
        "--rm",
        "--pid",
        "container:owner",
        "busybox",
        "cat",
        "/proc/1/comm",
    ]);
    assert_eq!(guest, "docker-init");
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_by_name() {
    for (config, says) in [
        (json!({ "init-path": "tini" }), "init-path"),
        (json!({ "default-ipc-mode": "host" }), "default-ipc-mode"),
        (json!({ "default-cgroupns-mode": "x" }), "default-cgroupns-mode"),
        (json!({ "cpu-rt-period": 10, "cpu-rt-runtime": 20 }), "cpu-rt-runtime"),
        (json!({ "userns-remap": "default" }), "userns-remap"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("daemon.json");
        std::fs::write(&file, config.to_string()).expect("a file");
        let output = std::process::Command::new(gantry_e2e::program("gantryd"))
            .args(["--validate", "--config-file"])
            .arg(&file)
            .output()
            .expect("gantryd runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(says), "{config}: {told}");
    }
}

#[test]
fn hidden_paths_of_the_docker_api_are_obeyed() {
    let house = House::new();
    let gantry = house.gantry();
    let make = |name: &str, host: Value, script: &str| {
        let body = json!({ "Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host });
        let (status, answer) = ask(&house, "POST", &format!("/v1.51/containers/create?name={name}"), &body);
        assert_eq!(status, 201, "{answer}");
    };
    let script = "head -c 1 /proc/version | wc -c; echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_default_ttl && echo open; \
                  touch /etc/x 2>/dev/null || echo closed";
    make("usual", json!({}), script);
    assert_eq!(gantry.ok(&["start", "-a", "usual"]), "1");
    let host = json!({ "MaskedPaths": ["/proc/version"], "ReadonlyPaths": ["/etc"], "CapAdd": ["NET_ADMIN"] });
    make("asked", host.clone(), script);
    assert_eq!(gantry.ok(&["start", "-a", "asked"]), "0\nopen\nclosed");
    let (_, told) = ask(&house, "GET", "/v1.51/containers/asked/json", &json!({}));
    for field in ["MaskedPaths", "ReadonlyPaths"] {
        assert_eq!(told["HostConfig"][field], host[field], "{field}");
    }
    make(
        "none",
        json!({ "MaskedPaths": [], "ReadonlyPaths": [] }),
        "echo 1 >/proc/sys/net/ipv4/ip_default_ttl && echo open",
    );
    assert_eq!(gantry.ok(&["start", "-a", "none"]), "open");
}

#[test]
fn what_is_not_obeyed_is_refused_by_its_name() {
    let house = House::new();
    let create = |host: Value| {
        let body = json!({ "Image": "busybox", "Cmd": ["true"], "HostConfig": host });
        ask(&house, "POST", "/v1.51/containers/create", &body)
    };
    for (field, value) in [
        ("Cgroup", json!("container:x")),
        ("StorageOpt", json!({ "size": "1g" })),
        ("UsernsMode", json!("private")),
        ("Isolation", json!("hyperv")),
        ("DeviceRequests", json!([{ "Count": -1, "Capabilities": [["gpu"]] }])),
        ("KernelMemoryTCP", json!(1 << 24)),
        ("CpuCount", json!(1)),
        ("CpuPercent", json!(10)),
        ("IOMaximumIOps", json!(10)),
        ("IOMaximumBandwidth", json!(10)),
        ("Runtime", json!("nope")),
    ] {
        let (status, answer) = create(json!({ field: value }));
        let told = answer["message"].as_str().unwrap_or_default();
        let named = told.to_ascii_lowercase().contains(&field.to_ascii_lowercase());
        assert!((400..500).contains(&status) && named, "{field}: {status} {answer}");
    }
    let (status, told) = create(json!({ "BlkioWeight": 5 }));
    assert_eq!(status, 400, "{told}");
    // And what is obeyed is shown as it was asked.
    let mut asked = json!({
        "UsernsMode": "host", "CgroupParent": "/e2e-presets", "BlkioDeviceReadBps": [], "ConsoleSize": [40, 100],
        "ContainerIDFile": "/tmp/id", "Isolation": "default",
    });
    // Not every kernel has these.
    for (field, value) in [("BlkioWeight", 200), ("CpuRealtimePeriod", 900_000)] {
        let (status, told) = create(json!({ field: value }));
        match status {
            201 => asked[field] = json!(value),
            _ => {
                let told = told["message"].as_str().unwrap_or_default();
                assert!(
                    told.contains("Your kernel does not support"),
                    "{field}: {status} {told}"
                );
                eprintln!("without {field}: {told}");
            }
        }
    }
    let (status, made) = create(asked.clone());
    assert_eq!(status, 201, "{made}");
    let id = made["Id"].as_str().expect("an id");
    let (_, told) = ask(&house, "GET", &format!("/v1.51/containers/{id}/json"), &json!({}));
    for (field, value) in asked.as_object().expect("an object") {
        assert_eq!(&told["HostConfig"][field], value, "{field}");
    }
    let (status, answer) = ask(
        &house,
        "POST",
        &format!("/v1.51/containers/{id}/update"),
        &json!({ "CgroupParent": "/x" }),
    );
    assert_eq!(status, 400, "{answer}");
    let (status, answer) = ask(
        &house,
        "POST",
        &format!("/v1.51/containers/{id}/update"),
        &json!({ "CpuShares": 300 }),
    );
    assert_eq!(status, 200, "{answer}");
    let (_, told) = ask(&house, "GET", &format!("/v1.51/containers/{id}/json"), &json!({}));
    assert_eq!(told["HostConfig"]["CpuShares"], 300);
}

/// The size that the client's terminal has is there before the program is.
#[test]
fn a_terminal_begins_with_its_size() {
    let house = House::new();
    let body =
        json!({ "Image": "busybox", "Cmd": ["stty", "size"], "Tty": true, "HostConfig": { "ConsoleSize": [37, 91] } });
    let (status, made) = ask(&house, "POST", "/v1.51/containers/create?name=sized", &body);
    assert_eq!(status, 201, "{made}");
    assert_eq!(house.gantry().ok(&["start", "-a", "sized"]).trim(), "37 91");
}

#[test]
fn options_of_logs_are_dockers() {
    let house = House::new();
    let gantry = house.gantry();
    let run = |name: &str, options: &[&str]| {
        let mut args = vec![
            "run",
            "--name",
            name,
            "--label",
            "team=red",
            "--label",
            "other=x",
            "-e",
            "STAGE=test",
        ];
        options.iter().for_each(|option| args.extend(["--log-opt", option]));
        args.extend(["busybox", "echo", "line"]);
        gantry.run(&args)
    };
    run(
        "box",
        &[
            "labels=team",
            "env-regex=^STA",
            "tag={{.Name}}/{{.ID}}",
            "mode=blocking",
        ],
    )
    .exits(0);
    let id = gantry.ok(&["inspect", "-f", "{{.Id}}", "box"]);
    let path = gantry.ok(&["inspect", "-f", "{{.LogPath}}", "box"]);
    let line = std::fs::read_to_string(path).expect("the log");
    let line: Value = serde_json::from_str(line.lines().next().expect("a line")).expect("JSON");
    let expected = json!({ "team": "red", "STAGE": "test", "tag": format!("box/{}", &id[..12]) });
    assert_eq!(line["attrs"], expected);
    for (option, says) in [
        ("mode=non-blocking", "mode=non-blocking is refused"),
        ("max-buffer-size=1m", "only supported with 'mode=non-blocking'"),
        ("tag={{.Nope}}", ".Nope"),
        ("nope=1", "unknown log opt 'nope'"),
    ] {
        let refused = run("bad", &[option]).says(says);
        assert_ne!(refused.code, 0);
    }
}

/// What a start made to mount on is nobody's change.
#[test]
fn a_commit_has_the_containers_own_changes_alone() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "run",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "mkdir -p /own/dir && echo text >/own/file",
    ]);
    gantry.ok(&["commit", "box", "made:1"]);
    let tar = house.root().join("made.tar");
    gantry.ok(&["save", "-o", tar.to_str().expect("ASCII"), "made:1"]);
    let file = std::fs::File::open(&tar).expect("the archive");
    let mut names = Vec::new();
    for entry in tar::Archive::new(file).entries().expect("a tape") {
        let mut entry = entry.expect("an entry");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its content");
        // A layer is a tape, compressed or not; what is none has no names.
        let layer = house.root().join("layer");
        std::fs::write(&layer, &bytes).expect("a file");
        let listed = std::process::Command::new("tar")
            .arg("-tf")
            .arg(&layer)
            .output()
            .expect("tar");
        let inner: Vec<String> = String::from_utf8_lossy(&listed.stdout)
            .lines()
            .map(str::to_owned)
            .collect();
        if inner.iter().any(|name| name.starts_with("own")) {
            names = inner;
        }
    }
    assert!(names.iter().any(|name| name == "own/file"), "{names:?}");
    for made in ["dev", "proc", "sys", "etc"] {
        let found = names
            .iter()
            .find(|name| name.trim_start_matches("./").trim_end_matches('/') == made);
        assert_eq!(found, None, "{names:?}");
    }
    assert_eq!(gantry.ok(&["run", "--rm", "made:1", "cat", "/own/file"]), "text");
}
