//! Commands of volumes.

use crate::stage::{Case, IMAGE, Stage, bad, good};
use std::path::Path;

const OPEN: &str = "unclosed action";
const BOOL: &str = "strconv.ParseBool: parsing \"x\": invalid syntax";
const NONE: &str = "get nope: no such volume";

/// A volume of the case's own.
fn made(stage: &Stage, flags: &[&str]) -> String {
    let name = stage.name();
    let mut args = vec!["volume", "create"];
    args.extend(flags);
    args.push(&name);
    assert_eq!(stage.gantry.ok(&args), name);
    name
}

fn look(stage: &Stage, name: &str, template: &str) -> String {
    stage.gantry.ok(&["volume", "inspect", "-f", template, name])
}

fn drop_it(stage: &Stage, name: &str) {
    assert_eq!(stage.gantry.ok(&["volume", "rm", name]), name);
}

pub fn cases() -> Vec<Case> {
    let mut cases = making();
    cases.extend(looking());
    cases.extend(removing());
    cases
}

fn making() -> Vec<Case> {
    vec![
        good("volume create", "", |s| {
            let name = made(s, &[]);
            assert!(Path::new(&look(s, &name, "{{.Mountpoint}}")).is_dir());
            drop_it(s, &name);
            let anonymous = s.gantry.ok(&["volume", "create"]);
            assert_eq!(anonymous.len(), 64, "{anonymous}");
            drop_it(s, &anonymous);
        }),
        bad(
            "volume create",
            "",
            &["volume", "create", "a/b"],
            1,
            "includes invalid characters for a local volume name",
        ),
        good("volume create", "driver", |s| {
            let name = made(s, &["-d", "local"]);
            assert_eq!(look(s, &name, "{{.Driver}}"), "local");
            drop_it(s, &name);
        }),
        bad(
            "volume create",
            "driver",
            &["volume", "create", "-d", "nope", "any"],
            1,
            "error looking up volume plugin nope",
        ),
        good("volume create", "label", |s| {
            let name = made(s, &["--label", "a=b"]);
            assert_eq!(look(s, &name, "{{.Labels.a}}"), "b");
            drop_it(s, &name);
        }),
        bad(
            "volume create",
            "label",
            &["volume", "create", "--label", "=x"],
            125,
            "invalid label",
        ),
        good("volume create", "name", |s| {
            let name = s.name();
            assert_eq!(s.gantry.ok(&["volume", "create", "--name", &name]), name);
            drop_it(s, &name);
        }),
        bad(
            "volume create",
            "name",
            &["volume", "create", "--name", "one", "two"],
            1,
            "through both --name and as a positional arg",
        ),
        good("volume create", "opt", |s| {
            let flags = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m"];
            let name = made(s, &flags);
            let mount = format!("{name}:/v");
            let script = "grep ' /v ' /proc/mounts | grep -o 'tmpfs.*size=1024k' | cut -d' ' -f1";
            let seen = s.gantry.ok(&["run", "--rm", "-v", &mount, IMAGE, "sh", "-c", script]);
            assert_eq!(seen, "tmpfs");
            drop_it(s, &name);
        }),
        bad(
            "volume create",
            "opt",
            &["volume", "create", "-o", "colour=red", "any"],
            1,
            "invalid option: \"colour\"",
        ),
    ]
}

fn looking() -> Vec<Case> {
    vec![
        good("volume inspect", "", |s| {
            let name = made(s, &[]);
            let text = s.gantry.ok(&["volume", "inspect", &name]);
            assert!(text.contains("\"Scope\": \"local\""), "{text}");
            assert!(s.gantry.ok(&["inspect", &name]).contains("\"Mountpoint\""));
            drop_it(s, &name);
        }),
        bad("volume inspect", "", &["volume", "inspect", "nope"], 1, NONE),
        good("volume inspect", "format", |s| {
            let name = made(s, &[]);
            assert_eq!(look(s, &name, "{{.Name}} {{.Scope}}"), format!("{name} local"));
            drop_it(s, &name);
        }),
        bad(
            "volume inspect",
            "format",
            &["volume", "inspect", "-f", "{{", "x"],
            1,
            OPEN,
        ),
        good("volume ls", "", |s| {
            let name = made(s, &[]);
            let text = s.gantry.ok(&["volume", "ls"]);
            assert!(
                text.starts_with("DRIVER    VOLUME NAME") && text.contains(&name),
                "{text}"
            );
            drop_it(s, &name);
        }),
        bad("volume ls", "", &["volume", "ls", "x"], 1, "accepts no arguments"),
        good("volume ls", "filter", |s| {
            let name = made(s, &["--label", "kind=sought"]);
            let found = s
                .gantry
                .ok(&["volume", "ls", "-q", "-f", "label=kind=sought", "-f", "dangling=true"]);
            assert_eq!(found, name);
            drop_it(s, &name);
        }),
        bad(
            "volume ls",
            "filter",
            &["volume", "ls", "-f", "x=y"],
            1,
            "invalid filter 'x'",
        ),
        good("volume ls", "format", |s| {
            let name = made(s, &[]);
            let text = s.gantry.ok(&["volume", "ls", "--format", "{{.Name}}/{{.Driver}}"]);
            assert!(text.contains(&format!("{name}/local")), "{text}");
            drop_it(s, &name);
        }),
        bad("volume ls", "format", &["volume", "ls", "--format", "{{"], 1, OPEN),
        good("volume ls", "quiet", |s| {
            let name = made(s, &[]);
            assert!(s.gantry.ok(&["volume", "ls", "-q"]).lines().any(|line| line == name));
            drop_it(s, &name);
        }),
        bad("volume ls", "quiet", &["volume", "ls", "-q=x"], 125, BOOL),
    ]
}

fn removing() -> Vec<Case> {
    vec![
        good("volume rm", "", |s| {
            let name = made(s, &[]);
            let place = look(s, &name, "{{.Mountpoint}}");
            drop_it(s, &name);
            assert!(!Path::new(&place).exists());
        }),
        bad("volume rm", "", &["volume", "rm", "nope"], 1, NONE),
        good("volume rm", "force", |s| {
            s.gantry.run(&["volume", "rm", "-f", "never-was"]).exits(0);
        }),
        bad("volume rm", "force", &["volume", "rm", "-f=x", "nope"], 125, BOOL),
        good("volume prune", "", |s| {
            let name = s.gantry.ok(&["volume", "create", "--label", "prune=plain"]);
            let output = s
                .gantry
                .feed(&["volume", "prune", "--filter", "label=prune=plain"], b"y\n")
                .exits(0);
            assert!(output.stdout.contains(&name), "{}", output.stdout);
        }),
        bad("volume prune", "", &["volume", "prune", "x"], 1, "accepts no arguments"),
        good("volume prune", "all", |s| {
            let name = made(s, &["--label", "prune=all"]);
            let prune = ["volume", "prune", "-f", "--filter", "label=prune=all"];
            assert!(!s.gantry.ok(&prune).contains(&name));
            let text = s.gantry.ok(&[&prune[..], &["-a"]].concat());
            assert!(
                text.contains(&name) && text.contains("Total reclaimed space: "),
                "{text}"
            );
        }),
        bad("volume prune", "all", &["volume", "prune", "-a=x"], 125, BOOL),
        good("volume prune", "filter", |s| {
            let (mine, other) = (
                made(s, &["--label", "prune=mine"]),
                made(s, &["--label", "prune=other"]),
            );
            let text = s.gantry.ok(&["volume", "prune", "-af", "--filter", "label=prune=mine"]);
            assert!(text.contains(&mine) && !text.contains(&other), "{text}");
            drop_it(s, &other);
        }),
        bad(
            "volume prune",
            "filter",
            &["volume", "prune", "-f", "--filter", "x=y"],
            1,
            "invalid filter 'x'",
        ),
        good("volume prune", "force", |s| {
            let name = made(s, &["--label", "prune=force"]);
            let text = s
                .gantry
                .ok(&["volume", "prune", "--force", "-a", "--filter", "label=prune=force"]);
            assert!(text.contains(&name), "{text}");
        }),
        bad("volume prune", "force", &["volume", "prune", "-f=x"], 125, BOOL),
    ]
}
