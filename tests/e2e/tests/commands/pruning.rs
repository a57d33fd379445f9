//! Commands that clean up, that change a container, and that make something else of it.

use crate::stage::{Case, DONE, IMAGE, LIMIT, Stage, UP, bad, good};
use gantry_e2e::eventually;

const BOOL: &str = "strconv.ParseBool: parsing \"x\": invalid syntax";
const INT: &str = "strconv.ParseInt: parsing \"x\": invalid syntax";
const SIZE: &str = "invalid size: 'x'";
const NONE: &str = "No such container: nope";
const ARGS: &str = "accepts no arguments";

pub fn cases() -> Vec<Case> {
    let mut cases = containers();
    cases.extend(images());
    cases.extend(system());
    cases.extend(update());
    cases.extend(commit());
    cases
}

/// A container that has ended, with a label to find it by.
fn ended(stage: &Stage, label: &str) -> String {
    let (name, label) = (stage.name(), format!("prune={label}"));
    stage
        .gantry
        .ok(&["run", "--name", &name, "--label", &label, IMAGE, "true"]);
    stage.look(&name, "{{.Id}}")
}

fn containers() -> Vec<Case> {
    vec![
        good("container prune", "", |s| {
            let id = ended(s, "plain");
            let output = s
                .gantry
                .feed(&["container", "prune", "--filter", "label=prune=plain"], b"y\n")
                .exits(0);
            assert!(output.stdout.contains(&id), "{}", output.stdout);
        }),
        bad("container prune", "", &["container", "prune", "x"], 1, ARGS),
        good("container prune", "filter", |s| {
            let (mine, other) = (ended(s, "mine"), ended(s, "other"));
            let text = s
                .gantry
                .ok(&["container", "prune", "-f", "--filter", "label=prune=mine"]);
            assert!(text.contains(&mine) && !text.contains(&other), "{text}");
            s.gone(&other);
        }),
        bad(
            "container prune",
            "filter",
            &["container", "prune", "-f", "--filter", "x=y"],
            1,
            "invalid filter 'x'",
        ),
        good("container prune", "force", |s| {
            let id = ended(s, "force");
            let text = s
                .gantry
                .ok(&["container", "prune", "--force", "--filter", "label=prune=force"]);
            assert!(text.contains(&id) && text.contains("Total reclaimed space: "), "{text}");
        }),
        bad("container prune", "force", &["container", "prune", "-f=x"], 125, BOOL),
        good("wait", "condition", |s| {
            let name = s.up(&["--rm"], "sleep 5; exit 4");
            assert_eq!(s.gantry.ok(&["wait", "--condition", "removed", &name]), "4");
        }),
        bad(
            "wait",
            "condition",
            &["wait", "--condition", "x", DONE],
            1,
            "invalid condition: \"x\"",
        ),
    ]
}

/// An image of the case's own, with a label.
fn labelled(stage: &Stage, label: &str) -> String {
    let name = format!("pruned:{}", stage.name());
    let change = format!("LABEL prune={label}");
    stage.gantry.ok(&["commit", "-c", &change, DONE, &name]);
    name
}

fn images() -> Vec<Case> {
    vec![
        good("image prune", "", |s| {
            let _alone = s.alone();
            let id = s.gantry.ok(&["commit", "-c", "LABEL prune=nameless", DONE]);
            let output = s
                .gantry
                .feed(&["image", "prune", "--filter", "label=prune=nameless"], b"y\n")
                .exits(0);
            assert!(output.stdout.contains(&format!("deleted: {id}")), "{}", output.stdout);
        }),
        bad("image prune", "", &["image", "prune", "x"], 1, ARGS),
        good("image prune", "all", |s| {
            let _alone = s.alone();
            let name = labelled(s, "every");
            let prune = ["image", "prune", "-f", "--filter", "label=prune=every"];
            assert!(!s.gantry.ok(&prune).contains(&name));
            let text = s.gantry.ok(&[&prune[..], &["-a"]].concat());
            assert!(text.contains(&format!("untagged: {name}")), "{text}");
        }),
        bad("image prune", "all", &["image", "prune", "-a=x"], 125, BOOL),
        good("image prune", "filter", |s| {
            let _alone = s.alone();
            let (mine, other) = (labelled(s, "mine"), labelled(s, "other"));
            let text = s.gantry.ok(&["image", "prune", "-af", "--filter", "label=prune=mine"]);
            assert!(text.contains(&mine) && !text.contains(&other), "{text}");
            s.gantry.ok(&["rmi", &other]);
        }),
        bad(
            "image prune",
            "filter",
            &["image", "prune", "-f", "--filter", "x=y"],
            1,
            "invalid filter 'x'",
        ),
        good("image prune", "force", |s| {
            let _alone = s.alone();
            let name = labelled(s, "force");
            let text = s
                .gantry
                .ok(&["image", "prune", "--force", "-a", "--filter", "label=prune=force"]);
            assert!(text.contains(&name), "{text}");
        }),
        bad("image prune", "force", &["image", "prune", "-f=x"], 125, BOOL),
    ]
}

/// Of everything, but only what bears a label, for other cases are at work beside this.
fn system() -> Vec<Case> {
    vec![
        good("system df", "", |s| {
            let text = s.gantry.ok(&["system", "df"]);
            for word in ["TYPE", "Images", "Containers", "Local Volumes", "RECLAIMABLE"] {
                assert!(text.contains(word), "{text}");
            }
        }),
        bad("system df", "", &["system", "df", "x"], 1, ARGS),
        good("system df", "format", |s| {
            let text = s.gantry.ok(&["system", "df", "--format", "{{.Type}}={{.TotalCount}}"]);
            assert!(text.contains("Build Cache=0"), "{text}");
        }),
        bad(
            "system df",
            "format",
            &["system", "df", "--format", "{{"],
            1,
            "unclosed action",
        ),
        good("system df", "verbose", |s| {
            let text = s.gantry.ok(&["system", "df", "-v"]);
            assert!(
                text.contains("Local Volumes space usage:") && text.contains(UP),
                "{text}"
            );
        }),
        bad("system df", "verbose", &["system", "df", "-v=x"], 125, BOOL),
        good("system prune", "", |s| {
            let id = ended(s, "whole");
            let output = s
                .gantry
                .feed(&["system", "prune", "--filter", "label=prune=whole"], b"y\n")
                .exits(0);
            assert!(output.stdout.contains(&id), "{}", output.stdout);
        }),
        bad("system prune", "", &["system", "prune", "x"], 1, ARGS),
        good("system prune", "all", |s| {
            let _alone = s.alone();
            let name = labelled(s, "whole-image");
            let text = s
                .gantry
                .ok(&["system", "prune", "-af", "--filter", "label=prune=whole-image"]);
            assert!(text.contains(&name), "{text}");
        }),
        bad("system prune", "all", &["system", "prune", "-a=x"], 125, BOOL),
        good("system prune", "filter", |s| {
            let (mine, other) = (ended(s, "whole-mine"), ended(s, "whole-other"));
            let text = s
                .gantry
                .ok(&["system", "prune", "-f", "--filter", "label=prune=whole-mine"]);
            assert!(text.contains(&mine) && !text.contains(&other), "{text}");
            s.gone(&other);
        }),
        bad(
            "system prune",
            "filter",
            &["system", "prune", "-f", "--filter", "x=y"],
            1,
            "invalid filter 'x'",
        ),
        good("system prune", "force", |s| {
            let id = ended(s, "whole-force");
            let text = s
                .gantry
                .ok(&["system", "prune", "--force", "--filter", "label=prune=whole-force"]);
            assert!(text.contains(&id), "{text}");
        }),
        bad("system prune", "force", &["system", "prune", "-f=x"], 125, BOOL),
        good("system prune", "volumes", |s| {
            let name = s.gantry.ok(&["volume", "create", "--label", "prune=whole-volume"]);
            let filter = "label=prune=whole-volume";
            let text = s.gantry.ok(&["system", "prune", "-f", "--volumes", "--filter", filter]);
            assert!(text.contains(&name), "{text}");
        }),
        bad(
            "system prune",
            "volumes",
            &["system", "prune", "--volumes=x"],
            125,
            BOOL,
        ),
    ]
}

fn update() -> Vec<Case> {
    let changes = |flag, set: &'static [&'static str], template: &'static str, expected: &'static str| {
        good("update", flag, move |stage| {
            let name = stage.up(&["-m", "64m", "--memory-swap", "128m"], "exec sleep 1000");
            let mut args = vec!["update"];
            args.extend(set);
            args.push(&name);
            assert_eq!(stage.gantry.ok(&args), name);
            assert_eq!(stage.look(&name, template), expected, "{set:?}");
            stage.gone(&name);
        })
    };
    vec![
        good("update", "", |s| {
            let name = s.up(&["-m", "64m"], "exec sleep 1000");
            s.gantry.ok(&["update", "-m", "96m", "--memory-swap", "192m", &name]);
            let files = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
            assert_eq!(s.gantry.ok(&["exec", &name, "sh", "-c", files]), "100663296");
            s.gone(&name);
        }),
        bad("update", "", &["update", "-m", "96m", "nope"], 1, NONE),
        changes(
            "blkio-weight",
            &["--blkio-weight", "400"],
            "{{.HostConfig.BlkioWeight}}",
            "400",
        ),
        bad(
            "update",
            "blkio-weight",
            &["update", "--blkio-weight", "1001", UP],
            1,
            "Range of blkio weight is from 10 to 1000",
        ),
        changes(
            "cpu-rt-period",
            &["--cpu-rt-period", "900000"],
            "{{.HostConfig.CpuRealtimePeriod}}",
            "900000",
        ),
        bad(
            "update",
            "cpu-rt-period",
            &["update", "--cpu-rt-period", "x", UP],
            125,
            INT,
        ),
        changes(
            "cpu-rt-runtime",
            &["--cpu-rt-runtime", "0"],
            "{{.HostConfig.CpuRealtimeRuntime}}",
            "0",
        ),
        bad(
            "update",
            "cpu-rt-runtime",
            &["update", "--cpu-rt-runtime", "10000", UP],
            1,
            "--cpu-rt-runtime",
        ),
        changes(
            "cpu-period",
            &["--cpu-period", "50000"],
            "{{.HostConfig.CpuPeriod}}",
            "50000",
        ),
        bad("update", "cpu-period", &["update", "--cpu-period", "x", UP], 125, INT),
        changes(
            "cpu-quota",
            &["--cpu-quota", "25000"],
            "{{.HostConfig.CpuQuota}}",
            "25000",
        ),
        bad("update", "cpu-quota", &["update", "--cpu-quota", "x", UP], 125, INT),
        changes("cpu-shares", &["-c", "512"], "{{.HostConfig.CpuShares}}", "512"),
        bad("update", "cpu-shares", &["update", "-c", "x", UP], 125, INT),
        changes("cpus", &["--cpus", "0.5"], "{{.HostConfig.NanoCpus}}", "500000000"),
        bad(
            "update",
            "cpus",
            &["update", "--cpus", "x", UP],
            125,
            "as a rational number",
        ),
        changes(
            "cpuset-cpus",
            &["--cpuset-cpus", "0"],
            "{{.HostConfig.CpusetCpus}}",
            "0",
        ),
        bad(
            "update",
            "cpuset-cpus",
            &["update", "--cpuset-cpus", "999", UP],
            1,
            "Requested CPUs are not available",
        ),
        changes(
            "cpuset-mems",
            &["--cpuset-mems", "0"],
            "{{.HostConfig.CpusetMems}}",
            "0",
        ),
        bad(
            "update",
            "cpuset-mems",
            &["update", "--cpuset-mems", "999", UP],
            1,
            "Requested memory nodes are not available",
        ),
        changes("memory", &["-m", "96m"], "{{.HostConfig.Memory}}", "100663296"),
        bad("update", "memory", &["update", "-m", "x", UP], 125, SIZE),
        changes(
            "memory-reservation",
            &["--memory-reservation", "32m"],
            "{{.HostConfig.MemoryReservation}}",
            "33554432",
        ),
        bad(
            "update",
            "memory-reservation",
            &["update", "--memory-reservation", "x", UP],
            125,
            SIZE,
        ),
        changes(
            "memory-swap",
            &["--memory-swap", "96m"],
            "{{.HostConfig.MemorySwap}}",
            "100663296",
        ),
        bad(
            "update",
            "memory-swap",
            &["update", "--memory-swap", "x", UP],
            125,
            SIZE,
        ),
        changes("pids-limit", &["--pids-limit", "64"], "{{.HostConfig.PidsLimit}}", "64"),
        bad("update", "pids-limit", &["update", "--pids-limit", "x", UP], 125, INT),
        good("update", "restart", |s| {
            let name = s.up(&[], "sleep 0.2; exit 3");
            s.gantry.ok(&["update", "--restart", "on-failure:1", &name]);
            eventually("it is run again once, or had ended before", LIMIT, || {
                s.look(&name, "{{.State.Status}}") == "exited"
            });
            assert_eq!(
                s.look(
                    &name,
                    "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"
                ),
                "on-failure 1"
            );
            s.gone(&name);
        }),
        bad(
            "update",
            "restart",
            &["update", "--restart", "sometimes", UP],
            1,
            "unknown policy 'sometimes'",
        ),
    ]
}

fn commit() -> Vec<Case> {
    let made = |flag, set: &'static [&'static str], template: &'static str, expected: &'static str| {
        good("commit", flag, move |stage| {
            let _alone = stage.alone();
            let name = format!("committed:{}", stage.name());
            let mut args = vec!["commit"];
            args.extend(set);
            args.extend([UP, &name]);
            stage.gantry.ok(&args);
            let told = stage.gantry.ok(&["image", "inspect", "-f", template, &name]);
            assert_eq!(told, expected, "{set:?}");
            stage.gantry.ok(&["rmi", &name]);
        })
    };
    vec![
        good("commit", "", |s| {
            let _alone = s.alone();
            let name = format!("committed:{}", s.name());
            let id = s.gantry.ok(&["commit", UP, &name]);
            assert!(id.starts_with("sha256:"), "{id}");
            assert_eq!(s.gantry.ok(&["run", "--rm", &name, "cat", "/file"]), "x");
            s.gantry.ok(&["rmi", &name]);
        }),
        bad("commit", "", &["commit", "nope"], 1, NONE),
        made("author", &["-a", "me"], "{{.Author}}", "me"),
        bad(
            "commit",
            "author",
            &["commit", "--author"],
            125,
            "flag needs an argument: --author",
        ),
        made("change", &["-c", "ENV A=b"], "{{index .Config.Env 0}}", "A=b"),
        bad("commit", "change", &["commit", "-c", "RUN x", DONE], 1, "RUN"),
        made("message", &["-m", "why"], "{{.Comment}}", "why"),
        bad(
            "commit",
            "message",
            &["commit", "--message"],
            125,
            "flag needs an argument: --message",
        ),
        made("pause", &["-p=false"], "{{.Os}}", "linux"),
        bad("commit", "pause", &["commit", "-p=x", UP], 125, BOOL),
        good("export", "", |s| {
            let tar = s.gantry.run(&["export", UP]).exits(0).bytes;
            let mut archive = tar::Archive::new(tar.as_slice());
            let entries = archive.entries().expect("a tar");
            let paths: Vec<String> = entries
                .map(|entry| {
                    let entry = entry.expect("an entry");
                    entry.path().expect("a path").to_string_lossy().into_owned()
                })
                .collect();
            assert!(paths.iter().any(|path| path.ends_with("file")), "{paths:?}");
            assert!(!paths.iter().any(|path| path.contains("proc/self")), "{paths:?}");
        }),
        bad("export", "", &["export", "nope"], 1, NONE),
        good("export", "output", |s| {
            let path = s.path("exported.tar");
            s.gantry.ok(&["export", "-o", path.to_str().expect("text"), DONE]);
            assert!(path.metadata().expect("a file").len() > 1 << 20);
        }),
        bad(
            "export",
            "output",
            &["export", "-o", "/no/such/dir/a.tar", UP],
            1,
            "create /no/such/dir/a.tar",
        ),
    ]
}
