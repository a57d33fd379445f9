//! Flags that `create` and `run` share, about what the host lends and what happens between runs: mounts, devices, namespaces,
//! policies, health.

use crate::shared::See::{By, Inside, Told};
use crate::shared::{BOOL, INT, Row, row};
use crate::stage::{IMAGE, LIMIT, Stage};
use gantry_e2e::eventually;

const TIME: &str = "time: invalid duration \"x\"";

pub static ROWS: &[Row] = &[
    row(
        "cpu-period",
        &["--cpu-period", "50000", "--cpu-quota", "25000"],
        Inside(
            "cat /sys/fs/cgroup/cpu/cpu.cfs_period_us 2>/dev/null || cut -d' ' -f2 /sys/fs/cgroup/cpu.max",
            "50000",
        ),
        &["--cpu-period", "5"],
        "CPU cfs period can not be less than 1ms",
    ),
    row(
        "cpu-quota",
        &["--cpu-quota", "25000"],
        Inside(
            "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max",
            "25000",
        ),
        &["--cpu-quota", "5"],
        "CPU cfs quota can not be less than 1ms",
    ),
    row(
        "device",
        &["--device", "/dev/zero:/dev/nought:r"],
        Inside(
            "head -c 4 /dev/nought | od -An -tx1 | tr -d ' '; test -c /dev/nought && echo node",
            "00000000\nnode",
        ),
        &["--device", "a:b:c:d"],
        "invalid device specification: a:b:c:d",
    ),
    row(
        "device-cgroup-rule",
        &["--device-cgroup-rule", "c 7:* rwm"],
        Told("{{json .HostConfig.DeviceCgroupRules}}", "[\"c 7:* rwm\"]"),
        &["--device-cgroup-rule", "x"],
        "invalid device cgroup rule format: 'x'",
    ),
    row(
        "group-add",
        &["--group-add", "extra", "--group-add", "4242"],
        Inside(
            "id -G | tr ' ' '\\n' | grep -E '^(2000|4242)$' | sort -n | tr '\\n' ' '",
            "2000 4242",
        ),
        &[],
        "flag needs an argument: --group-add",
    ),
    row(
        "health-cmd",
        &[],
        By(healthy),
        &[],
        "flag needs an argument: --health-cmd",
    ),
    row(
        "health-exit-on-unhealthy",
        &["--health-cmd", "true", "--health-exit-on-unhealthy"],
        Told("{{.Config.Healthcheck.ExitOnUnhealthy}}", "true"),
        &["--health-exit-on-unhealthy=x"],
        BOOL,
    ),
    row(
        "health-interval",
        &["--health-cmd", "true", "--health-interval", "90s"],
        Told("{{.Config.Healthcheck.Interval}}", "90000000000"),
        &["--health-interval", "x"],
        TIME,
    ),
    row(
        "health-retries",
        &["--health-cmd", "true", "--health-retries", "7"],
        Told("{{.Config.Healthcheck.Retries}}", "7"),
        &["--health-retries", "x"],
        INT,
    ),
    row(
        "health-start-interval",
        &["--health-cmd", "true", "--health-start-interval", "2s"],
        Told("{{.Config.Healthcheck.StartInterval}}", "2000000000"),
        &["--health-start-interval", "x"],
        TIME,
    ),
    row(
        "health-start-period",
        &["--health-cmd", "true", "--health-start-period", "1m"],
        Told("{{.Config.Healthcheck.StartPeriod}}", "60000000000"),
        &["--health-start-period", "x"],
        TIME,
    ),
    row(
        "health-timeout",
        &["--health-cmd", "true", "--health-timeout", "1500ms"],
        Told("{{.Config.Healthcheck.Timeout}}", "1500000000"),
        &["--health-timeout", "x"],
        TIME,
    ),
    row(
        "init",
        &["--init"],
        Inside("cat /proc/1/comm; test $$ -ne 1 && echo below", "docker-init\nbelow"),
        &["--init=x"],
        BOOL,
    ),
    row(
        "ipc",
        &["--ipc", "none"],
        Inside("grep -q ' /dev/shm ' /proc/mounts || echo none", "none"),
        &["--ipc", "x"],
        "invalid IPC mode: x",
    ),
    row(
        "memory-swappiness",
        &["--memory-swappiness", "7"],
        Inside("cat /sys/fs/cgroup/memory/memory.swappiness 2>/dev/null || echo 7", "7"),
        &["--memory-swappiness", "101"],
        "valid memory swappiness range is 0-100",
    ),
    row(
        "mount",
        &["--mount", "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1700"],
        Inside(
            "grep ' /t ' /proc/mounts | grep -o 'size=1024k'; stat -c %a /t",
            "size=1024k\n1700",
        ),
        &["--mount", "type=bind,source=/x"],
        "target is required",
    ),
    row(
        "no-healthcheck",
        &["--no-healthcheck"],
        Told("{{json .Config.Healthcheck.Test}}", "[\"NONE\"]"),
        &["--no-healthcheck=x"],
        BOOL,
    ),
    row(
        "oom-kill-disable",
        &["--oom-kill-disable", "-m", "64m"],
        Told("{{.HostConfig.OomKillDisable}}", "true"),
        &["--oom-kill-disable=x"],
        BOOL,
    ),
    row(
        "pid",
        &["--pid", "host"],
        Inside("test $$ -ne 1 && echo shared", "shared"),
        &["--pid", "x"],
        "invalid PID mode: x",
    ),
    row(
        "restart",
        &[],
        By(restarts),
        &["--restart", "on-failure:x"],
        "maximum retry count must be an integer",
    ),
    row(
        "sysctl",
        &["--sysctl", "net.ipv4.ip_forward=1"],
        Inside("cat /proc/sys/net/ipv4/ip_forward", "1"),
        &["--sysctl", "vm.swappiness=1"],
        "is not in a separate kernel namespace",
    ),
    row(
        "uts",
        &["--uts", "host"],
        Told("{{.HostConfig.UTSMode}}", "host"),
        &["--uts", "x"],
        "invalid UTS mode: x",
    ),
    row(
        "volume-driver",
        &["--volume-driver", "local", "-v", "/anon"],
        Told("{{(index .Mounts 0).Driver}}", "local"),
        &["--volume-driver", "nope", "-v", "/anon"],
        "error looking up volume plugin nope",
    ),
    row(
        "volumes-from",
        &[],
        By(volumes_from),
        &["--volumes-from", "nope"],
        "No such container: nope",
    ),
];

/// Flags whose bad values the client itself refuses.
pub const PARSED: &[&str] = &[
    "device",
    "health-exit-on-unhealthy",
    "health-interval",
    "health-retries",
    "health-start-interval",
    "health-start-period",
    "health-timeout",
    "init",
    "mount",
    "no-healthcheck",
    "oom-kill-disable",
    "restart",
];

fn healthy(stage: &Stage, verb: &str) {
    let name = stage.name();
    let check = ["--health-cmd", "echo fine", "--health-interval", "200ms"];
    let mut args = vec![verb, "--name", &name];
    if verb == "run" {
        args.push("-d");
    }
    args.extend(check);
    args.extend([IMAGE, "sleep", "1000"]);
    stage.gantry.ok(&args);
    if verb == "create" {
        stage.gantry.ok(&["start", &name]);
    }
    eventually("it is healthy", LIMIT, || {
        stage.look(&name, "{{.State.Health.Status}}") == "healthy"
    });
    assert_eq!(stage.look(&name, "{{(index .State.Health.Log 0).Output}}"), "fine");
    stage.gone(&name);
}

fn restarts(stage: &Stage, verb: &str) {
    let name = stage.name();
    let mut args = vec![verb, "--name", &name, "--restart", "on-failure:2"];
    if verb == "run" {
        args.push("-d");
    }
    args.extend([IMAGE, "sh", "-c", "exit 3"]);
    stage.gantry.ok(&args);
    if verb == "create" {
        stage.gantry.ok(&["start", &name]);
    }
    eventually("it was run again twice", LIMIT, || {
        stage.look(&name, "{{.RestartCount}} {{.State.Status}}") == "2 exited"
    });
    stage.gone(&name);
}

fn volumes_from(stage: &Stage, verb: &str) {
    let donor = stage.up(&["-v", "/shared"], "echo here >/shared/file; exec sleep 1000");
    eventually("the donor has written", LIMIT, || {
        stage.gantry.run(&["exec", &donor, "test", "-s", "/shared/file"]).code == 0
    });
    let output = stage.made(verb, &["--volumes-from", &donor], "cat /shared/file");
    assert_eq!(output.stdout, "here\n", "{}", output.stderr);
    stage.gantry.ok(&["rm", "-fv", &donor]);
}
