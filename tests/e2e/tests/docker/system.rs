//! The daemon itself, and what is absent.

use crate::sides::{IMAGE, Sides};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[test]
fn the_daemon_answers_alike() {
    let s = &Sides::new();
    s.code(&["version"]);
    s.same(&[
        "version",
        "-f",
        "{{.Server.Os}} {{.Server.Arch}} {{.Server.KernelVersion}} {{.Server.Experimental}}",
    ]);
    s.same(&[
        "info",
        "-f",
        "{{.OSType}} {{.Architecture}} {{.NCPU}} {{.MemTotal}} {{.Name}} {{.KernelVersion}} {{.OperatingSystem}}",
    ]);
    s.same(&[
        "info",
        "-f",
        "{{.Containers}} {{.Images}} {{.LoggingDriver}} {{.CgroupDriver}} {{.CgroupVersion}} {{.Debug}}",
    ]);
    s.same(&[
        "info",
        "-f",
        "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.ExperimentalBuild}} {{.OomKillDisable}}",
    ]);
    s.same(&[
        "info",
        "-f",
        "{{.MemoryLimit}} {{.SwapLimit}} {{.CPUShares}} {{.CPUSet}} {{.PidsLimit}} {{.IndexServerAddress}}",
    ]);
    s.code(&["info"]);
    s.same(&["node", "ls"]);
    s.same(&["service", "ls"]);
    s.same(&["stack", "ls"]);
    s.same(&["secret", "ls"]);
    s.same(&["config", "ls"]);
    s.same(&["swarm", "leave"]);
    s.same(&["swarm", "ca"]);
    s.same(&["plugin", "ls"]);
    s.same(&["plugin", "inspect", "nothing"]);
    s.same(&["volume", "ls"]);
    s.same(&["volume", "inspect", "nothing"]);
    s.same(&["inspect", "nothing-of-any-kind"]);
    s.same(&["checkpoint", "ls", "nothing"]);
    s.same(&["events", "--since", "20", "--until", "10"]);
    s.both(&["run", "--name", "told", IMAGE, "true"]);
    s.both(&["rm", "told"]);
    let soon = (SystemTime::now() + Duration::from_secs(2)).duration_since(UNIX_EPOCH);
    let soon = soon.expect("a time after 1970").as_secs().to_string();
    let shown = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.image}} {{.Actor.Attributes.exitCode}}";
    let mut told = vec!["events", "--since", "1h", "--until", &soon, "--format", shown];
    told.extend(["--filter", "container=told", "--filter", "type=container"]);
    s.same(&told);
    s.same(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
}

#[test]
fn what_is_done_is_told_alike() {
    let s = &Sides::new();
    let copied = s.path("copied");
    s.both(&["run", "-d", "--name", "told", IMAGE, "sleep", "1000"]);
    s.both(&["exec", "told", "true"]);
    s.both(&["exec", "told", "no-such-program"]);
    s.both(&["top", "told"]);
    s.both(&["cp", "told:/etc/passwd", &copied]);
    s.both(&["cp", &copied, "told:/tmp"]);
    s.both(&["commit", "-m", "why", "told", "committed:1"]);
    s.both(&["rm", "-f", "told"]);
    // What never ran does not die.
    s.both(&["run", "--rm", "--name", "fails", IMAGE, "no-such-program"]);
    let soon = (SystemTime::now() + Duration::from_secs(5)).duration_since(UNIX_EPOCH);
    let soon = soon.expect("a time after 1970").as_secs().to_string();
    let shown = "{{.Action}} {{.Actor.Attributes.comment}} {{.Actor.Attributes.exitCode}}.";
    for (of, kind) in [("container=told", "type=container"), ("container=fails", "event=die")] {
        let mut told = vec!["events", "--since", "1h", "--until", &soon, "--format", shown];
        told.extend(["--filter", of, "--filter", kind]);
        s.sorted(&told);
    }
}
