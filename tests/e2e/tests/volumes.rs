//! Volumes and mounts over real containers, and what a kill of the daemon leaves of them.

use gantry_e2e::{House, PATIENCE, eventually};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

fn sh(house: &House, flags: &[&str], script: &str) -> gantry_e2e::Output {
    let mut args = vec!["run", "--rm"];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", script]);
    house.gantry().run(&args)
}

fn place(house: &House, volume: &str) -> PathBuf {
    PathBuf::from(
        house
            .gantry()
            .ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", volume]),
    )
}

fn mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc/mounts");
    mounts.contains(&format!(" {} ", path.display()))
}

fn volumes(house: &House) -> Vec<String> {
    let names = house.gantry().ok(&["volume", "ls", "-q"]);
    names.lines().map(str::to_owned).collect()
}

#[test]
fn an_empty_volume_is_filled_from_the_image_once() {
    let house = House::new();
    let gantry = house.gantry();
    // An image with something particular in it.
    let script = "mkdir -p /seed/sub; echo text >/seed/sub/file; chown 1000:2000 /seed/sub/file; chmod 2750 /seed/sub; \
                  ln -s sub/file /seed/link; chown 1000:1000 /seed";
    gantry.ok(&["run", "--name", "maker", "busybox", "sh", "-c", script]);
    gantry.ok(&["commit", "-c", "VOLUME /seed", "maker", "seeded:1"]);
    gantry.ok(&["rm", "maker"]);

    let seen = "cat /seed/link; stat -c '%u:%g %a' /seed/sub /seed/sub/file | tr '\\n' ' '; stat -c %u /seed";
    let run = |flags: &[&str], script: &str| {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend(["seeded:1", "sh", "-c", script]);
        gantry.ok(&args)
    };
    let expected = "text\n0:0 2750 1000:2000 644 1000";
    assert_eq!(run(&["-v", "named:/seed"], seen), expected);
    run(&["-v", "named:/seed"], "echo more >>/seed/sub/file");
    assert_eq!(
        run(&["-v", "named:/seed"], "cat /seed/link"),
        "text\nmore",
        "it is not filled again"
    );
    assert_eq!(run(&["-v", "bare:/seed:nocopy"], "ls /seed"), "");
    // A volume that was there, empty, and is used by nobody.
    gantry.ok(&["volume", "create", "there"]);
    assert_eq!(run(&["-v", "there:/seed"], seen), expected);
    assert_eq!(
        fs::read_dir(place(&house, "there").parent().unwrap()).unwrap().count(),
        1
    );
    // The image's own volume is anonymous and goes with --rm.
    let before = volumes(&house);
    assert_eq!(run(&[], seen), expected);
    assert_eq!(volumes(&house), before);

    gantry.ok(&["run", "--name", "keeps", "seeded:1", "true"]);
    gantry.ok(&["run", "--name", "takes", "seeded:1", "true"]);
    assert_eq!(volumes(&house).len(), before.len() + 2);
    gantry.ok(&["rm", "keeps"]);
    gantry.ok(&["rm", "-v", "takes"]);
    assert_eq!(volumes(&house).len(), before.len() + 1);
    gantry.ok(&["volume", "prune", "-f"]);
    assert_eq!(volumes(&house), before);
    gantry.ok(&["volume", "rm", "named", "bare", "there"]);
    gantry.ok(&["rmi", "seeded:1"]);
}

#[test]
fn a_volume_in_use_stays_and_says_by_whom() {
    let house = House::new();
    let gantry = house.gantry();
    let id = gantry.ok(&["create", "--name", "user", "-v", "data:/d", "busybox", "true"]);
    gantry
        .run(&["volume", "rm", "data"])
        .exits(1)
        .says(&format!("remove data: volume is in use - [{id}]"));
    assert_eq!(gantry.ok(&["ps", "-aq", "--no-trunc", "-f", "volume=data"]), id);
    gantry.ok(&["volume", "prune", "-af"]);
    assert_eq!(volumes(&house), ["data"]);
    // Copying into a container that does not run reaches the volume.
    let file = house.root().join("note");
    fs::write(&file, "here").unwrap();
    gantry.ok(&["start", "-a", "user"]);
    gantry.ok(&["cp", file.to_str().unwrap(), "user:/d/note"]);
    assert_eq!(fs::read_to_string(place(&house, "data").join("note")).unwrap(), "here");
    gantry.ok(&["rm", "-v", "user"]);
    assert_eq!(volumes(&house), ["data"], "rm -v takes anonymous ones only");
    gantry.ok(&["volume", "rm", "data"]);
}

#[test]
fn files_go_into_volumes_before_the_first_start() {
    let house = House::new();
    let gantry = house.gantry();
    let (file, bound) = (house.root().join("note"), house.root().join("bound"));
    fs::write(&file, "here").unwrap();
    fs::write(&bound, "").unwrap();
    let bind = format!("{}:/made/too/file", bound.display());
    let script = "cat /new/place/note /made/too/file";
    gantry.ok(&[
        "create",
        "--name",
        "later",
        "-v",
        "data:/new/place",
        "-v",
        &bind,
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    gantry.ok(&["cp", file.to_str().unwrap(), "later:/new/place"]);
    assert_eq!(fs::read_to_string(place(&house, "data").join("note")).unwrap(), "here");
    assert_eq!(gantry.ok(&["start", "-a", "later"]), "here");
    gantry.ok(&["rm", "later"]);
}

#[test]
fn binds_are_made_refused_and_read_only() {
    let house = House::new();
    let gantry = house.gantry();
    let missing = house.root().join("made/for/me");
    let bind = format!("{}:/b", missing.display());
    sh(&house, &["-v", &bind], "echo x >/b/file").exits(0);
    assert_eq!(fs::read_to_string(missing.join("file")).unwrap(), "x\n");
    let mount = format!("type=bind,source={}/none,target=/b", missing.display());
    sh(&house, &["--mount", &mount], "true")
        .exits(125)
        .says("bind source path does not exist: ");
    sh(&house, &["-v", &format!("{bind}:ro")], "echo x >/b/other")
        .exits(1)
        .says("Read-only file system");
    sh(&house, &["-v", &bind, "--mount", "type=tmpfs,target=/b"], "true")
        .exits(125)
        .says("Duplicate mount point: /b");
    gantry.ok(&[
        "create",
        "--name",
        "told",
        "-v",
        &format!("{bind}:rslave"),
        "busybox",
        "true",
    ]);
    let told = gantry.ok(&["inspect", "-f", "{{(index .Mounts 0).Propagation}}", "told"]);
    assert_eq!(told, "rslave");
    gantry.ok(&["rm", "told"]);
}

#[test]
fn a_subpath_leads_nowhere_else() {
    let house = House::new();
    let gantry = house.gantry();
    let script = "mkdir -p /v/in/side; echo deep >/v/in/side/file; ln -s /etc /v/out; ln -s ../../.. /v/up";
    sh(&house, &["-v", "tree:/v"], script).exits(0);
    let mount = |sub: &str| format!("type=volume,source=tree,target=/s,volume-subpath={sub}");
    let seen = sh(&house, &["--mount", &mount("in/side")], "cat /s/file").exits(0);
    assert_eq!(seen.line(), "deep");
    // A link is followed within the volume only, where there is no /etc.
    for sub in ["out", "up/etc", "none"] {
        sh(&house, &["--mount", &mount(sub)], "true")
            .exits(125)
            .says("cannot access path");
    }
    sh(&house, &["--mount", &mount("../tree")], "true")
        .exits(125)
        .says("subpath must be a relative path within the volume");
    eventually("no place is left", PATIENCE, || {
        fs::read_dir(house.exec_root().join("places")).map_or(0, Iterator::count) == 0
    });
    gantry.ok(&["volume", "rm", "tree"]);
}

#[test]
fn a_device_is_shared_and_goes_with_its_last_user_whatever_dies() {
    let mut house = House::new();
    let gantry = house.gantry();
    let options = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m"];
    gantry.ok(&[&["volume", "create"], &options[..], &["memory"]].concat());
    for name in ["one", "two"] {
        gantry.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "-v",
            "memory:/m",
            "busybox",
            "sleep",
            "1000",
        ]);
    }
    gantry.ok(&["exec", "one", "sh", "-c", "echo hello >/m/file"]);
    assert_eq!(gantry.ok(&["exec", "two", "cat", "/m/file"]), "hello");
    let data = place(&house, "memory");
    assert!(mounted(&data));
    gantry.ok(&["rm", "-f", "one"]);
    house.restart_hard();
    assert_eq!(gantry.ok(&["exec", "two", "cat", "/m/file"]), "hello");
    assert!(mounted(&data), "it is still used");
    gantry.ok(&["stop", "-t", "0", "two"]);
    eventually("its last user is gone", PATIENCE, || !mounted(&data));

    // A user that dies while no daemon runs.
    gantry.ok(&["start", "two"]);
    let pid = gantry.ok(&["inspect", "-f", "{{.State.Pid}}", "two"]);
    house.kill_daemon();
    let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    house.start();
    eventually("its last user is gone", PATIENCE, || !mounted(&data));
    gantry.ok(&["wait", "two"]);
    gantry.ok(&["rm", "two"]);
    gantry.ok(&["volume", "rm", "memory"]);

    // What cannot be mounted is no container's fault but the volume's.
    let bad = ["-o", "type=none", "-o", "o=bind", "-o", "device=/no/such/dir"];
    gantry.ok(&[&["volume", "create"], &bad[..], &["broken"]].concat());
    let failed = sh(&house, &["-v", "broken:/b:nocopy"], "true").exits(125);
    assert!(
        failed.stderr.contains("failed to mount local volume"),
        "{}",
        failed.stderr
    );
    gantry.ok(&["volume", "rm", "broken"]);
}

#[test]
fn others_mounts_are_taken_along() {
    let house = House::new();
    let gantry = house.gantry();
    let host = house.root().join("host");
    fs::create_dir(&host).unwrap();
    let bind = format!("{}:/b", host.display());
    gantry.ok(&[
        "create",
        "--name",
        "donor",
        "-v",
        &bind,
        "-v",
        "named:/n",
        "-v",
        "/anonymous",
        "busybox",
        "true",
    ]);
    let script = "touch /b/b /n/n /anonymous/a && echo all";
    assert_eq!(sh(&house, &["--volumes-from", "donor"], script).line(), "all");
    sh(&house, &["--volumes-from", "donor:ro"], "touch /n/other")
        .exits(1)
        .says("Read-only file system");
    assert!(place(&house, "named").join("n").exists() && host.join("b").exists());
    assert_eq!(fs::metadata(host.join("b")).unwrap().uid(), 0);
    assert_eq!(volumes(&house).len(), 2, "a user that is gone takes nothing away");
    gantry.ok(&["rm", "-v", "donor"]);
    assert_eq!(volumes(&house), ["named"]);
    gantry.ok(&["volume", "rm", "named"]);
}

#[test]
fn files_that_no_record_names_are_kept() {
    let mut house = House::new();
    let gantry = house.gantry();
    house.stop_daemon();
    let data = house.data_root().join("volumes/found/_data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("precious"), "x").unwrap();
    house.start();
    assert_eq!(sh(&house, &["-v", "found:/f"], "cat /f/precious").line(), "x");
    gantry.ok(&["volume", "rm", "found"]);
    assert!(!data.exists());
}
