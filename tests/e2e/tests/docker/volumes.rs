//! Volumes and mounts, what runs by itself, limits.

use crate::sides::{IMAGE, Sides};
use gantry_e2e::{PATIENCE, eventually};

#[test]
fn volumes_answer_alike() {
    let s = &Sides::new();
    s.same(&["volume", "create", "one"]);
    s.same(&["volume", "create", "one"]);
    s.same(&["volume", "create", "--label", "a=b", "two"]);
    s.same(&["volume", "create", "a b"]);
    s.code(&["volume", "create", "--driver", "none", "three"]);
    s.same(&["volume", "create"]);
    s.sorted(&["volume", "ls", "--format", "{{.Driver}} {{.Name}} {{.Scope}}"]);
    s.same(&["volume", "ls", "-q", "--filter", "name=one"]);
    s.same(&["volume", "ls", "-q", "--filter", "label=a"]);
    s.same(&["volume", "ls", "--filter", "odd=1"]);
    s.json(&["volume", "inspect", "two"]);
    s.same(&[
        "run",
        "--rm",
        "-v",
        "one:/data",
        IMAGE,
        "sh",
        "-c",
        "echo kept > /data/file",
    ]);
    s.same(&["run", "--rm", "-v", "one:/data:ro", IMAGE, "cat", "/data/file"]);
    s.same(&["run", "--rm", "-v", "one:/data:ro", IMAGE, "touch", "/data/other"]);
    s.same(&[
        "run",
        "--rm",
        "--mount",
        "type=volume,source=one,target=/m,readonly",
        IMAGE,
        "cat",
        "/m/file",
    ]);
    s.same(&[
        "run",
        "--rm",
        "--mount",
        "type=tmpfs,target=/m,tmpfs-size=1m",
        IMAGE,
        "sh",
        "-c",
        "grep -c ' /m tmpfs' /proc/mounts",
    ]);
    s.code(&[
        "run",
        "--rm",
        "--mount",
        "type=bind,source=/nothing-there,target=/m",
        IMAGE,
        "true",
    ]);
    s.same(&[
        "create",
        "--name",
        "user",
        "-v",
        "one:/data",
        "-v",
        "/anonymous",
        IMAGE,
        "sleep",
        "1000",
    ]);
    s.code(&["volume", "rm", "one"]);
    let mut written = vec!["create", "--name", "written"];
    for bind in [
        "/etc:/a:rw",
        "/etc:/b:ro",
        "one:/c:rw",
        "/etc:/d:rw,z",
        "/etc:/e:rslave,ro",
        "/etc:/f",
    ] {
        written.extend(["-v", bind]);
    }
    written.push(IMAGE);
    s.code(&written);
    s.json(&["inspect", "-f", "{{json .HostConfig.Binds}}", "written"]);
    s.same(&["rm", "written"]);
    // The peer shows them in any order.
    for destination in ["/data", "/anonymous"] {
        let of = format!("{{{{range .Mounts}}}}{{{{if eq .Destination {destination:?}}}}}");
        let shown = format!("{of}{{{{.Type}}}} {{{{.Destination}}}} {{{{.RW}}}} {{{{.Driver}}}}{{{{end}}}}{{{{end}}}}");
        s.same(&["inspect", "-f", &shown, "user"]);
    }
    s.same(&["run", "--rm", "--volumes-from", "user", IMAGE, "cat", "/data/file"]);
    s.same(&["rm", "-v", "user"]);
    s.same(&["volume", "rm", "one"]);
    s.same(&["volume", "rm", "one"]);
    s.same(&["volume", "rm", "-f", "one"]);
    s.same(&["volume", "inspect", "one"]);
    s.code(&["volume", "prune", "-f"]);
    s.same(&["volume", "ls", "-q"]);
}

#[test]
fn what_runs_by_itself_answers_alike() {
    let s = &Sides::new();
    s.same(&[
        "run",
        "-d",
        "--name",
        "again",
        "--restart",
        "on-failure:2",
        IMAGE,
        "sh",
        "-c",
        "echo run; exit 3",
    ]);
    for side in [&s.ours, &s.theirs] {
        eventually("it has given up", PATIENCE, || {
            let shown = side.run(&["inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "again"]);
            String::from_utf8_lossy(&shown.stdout).trim() == "2 exited"
        });
    }
    s.same(&["logs", "again"]);
    s.json(&["inspect", "-f", "{{json .HostConfig.RestartPolicy}}", "again"]);
    s.code(&["run", "--rm", "--restart", "always", IMAGE, "true"]);
    s.same(&[
        "run",
        "-d",
        "--name",
        "well",
        "--health-cmd",
        "true",
        "--health-interval",
        "1s",
        IMAGE,
        "sleep",
        "1000",
    ]);
    for side in [&s.ours, &s.theirs] {
        eventually("it is well", PATIENCE, || {
            let shown = side.run(&["inspect", "-f", "{{.State.Health.Status}}", "well"]);
            String::from_utf8_lossy(&shown.stdout).trim() == "healthy"
        });
    }
    s.same(&["ps", "--filter", "health=healthy", "--format", "{{.Names}} {{.Status}}"]);
    s.json(&["inspect", "-f", "{{json .Config.Healthcheck}}", "well"]);
    s.same(&["update", "--memory", "64m", "--memory-swap", "128m", "well"]);
    s.same(&[
        "inspect",
        "-f",
        "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}",
        "well",
    ]);
    s.same(&["update", "--restart", "unless-stopped", "well"]);
    s.same(&["inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", "well"]);
    s.same(&["update", "--memory", "64m", "nothing"]);
    s.same(&["rm", "-f", "well", "again"]);
    s.same(&[
        "run",
        "--rm",
        "--init",
        IMAGE,
        "sh",
        "-c",
        "[ $$ != 1 ] && echo not the first",
    ]);
    s.same(&[
        "run",
        "--rm",
        "--pid",
        "host",
        IMAGE,
        "sh",
        "-c",
        "[ -d /proc/2 ] && echo many",
    ]);
    s.same(&["run", "--rm", "--uts", "host", IMAGE, "hostname"]);
    s.same(&[
        "run",
        "--rm",
        "--ipc",
        "none",
        IMAGE,
        "sh",
        "-c",
        "ls -d /dev/shm || echo none",
    ]);
    s.same(&[
        "run",
        "--rm",
        "--sysctl",
        "net.ipv4.ip_unprivileged_port_start=5",
        IMAGE,
        "cat",
        "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    ]);
    s.same(&["run", "--rm", "--group-add", "55", IMAGE, "id", "-G"]);
    s.same(&[
        "run",
        "--rm",
        "--device",
        "/dev/null:/dev/other",
        IMAGE,
        "sh",
        "-c",
        "[ -c /dev/other ] && echo there",
    ]);
    s.same(&["run", "--rm", "--pids-limit", "50", IMAGE, "true"]);
    s.same(&["run", "--rm", "--cpus", "0.5", "-m", "32m", IMAGE, "true"]);
    s.same(&[
        "run",
        "--rm",
        "--stop-timeout",
        "3",
        "--stop-signal",
        "INT",
        IMAGE,
        "true",
    ]);
    s.code(&["run", "--rm", "--memory", "1k", IMAGE, "true"]);
    s.code(&["container", "prune", "-f"]);
    s.code(&["system", "prune", "-f"]);
    s.same(&["ps", "-aq"]);
}
