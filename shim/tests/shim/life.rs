//! Create, start, exec, kill, delete and what may go wrong in each.

use crate::bed::*;
use gantry_proto_shim::{api::Status, extras::failure::Kind as Failed, failure_kind};
use gantry_shim_protocol::stdio;
use serde_json::json;
use std::{fs, time::Duration};

#[test]
fn a_container_runs_and_its_exit_is_written_down() {
    runtime().block_on(async {
        let bed = Bed::script("echo out; echo err >&2; exit 7").await;
        bed.create().await.unwrap();
        assert_eq!(bed.status().await, Status::CREATED);
        let attached = bed.attach("", false).await;
        let pid = bed.start().await.unwrap();
        let (out, err, exit) = attached.rest().await;
        assert_eq!(
            (out.as_slice(), err.as_slice(), exit.status),
            (&b"out\n"[..], &b"err\n"[..], 7)
        );
        assert_eq!(bed.wait("").await, 7);
        assert_eq!(bed.status().await, Status::STOPPED);
        let record = bed.exit_record("exit.json");
        assert_eq!(
            (record.status, record.pid, record.container.as_str()),
            (7, pid, bed.id.as_str())
        );
        assert!(record.start_time > 0);
        assert_eq!(
            (bed.logged("stdout").as_str(), bed.logged("stderr").as_str()),
            ("out\n", "err\n")
        );
        assert_eq!(bed.delete("").await.unwrap(), 7);
        let shim = bed.pid_of_shim();
        bed.shutdown().await;
        until("the shim has gone", || {
            !std::path::Path::new(&format!("/proc/{shim}/exe")).exists()
        })
        .await;
        assert_eq!(fs::read_dir(bed.path("s")).unwrap().count(), 0);
    });
}

#[test]
fn nothing_of_the_shim_is_seen_inside() {
    runtime().block_on(async {
        let bed = Bed::script("ls /proc/self/fd | tr '\\n' ' '; id -u; ls -l /dev/null; mkdir /x || echo no mkdir; cat /proc/self/oom_score_adj").await;
        bed.run().await;
        assert_eq!(bed.wait("").await, 0);
        let out = bed.logged("stdout");
        assert!(out.starts_with("0 1 2 3 0\n"), "{out}");
        assert!(out.contains("crw-rw-rw-") && out.contains("no mkdir") && out.ends_with("\n0\n"), "{out}");
        bed.delete("").await.unwrap();
        let bed = Bed::new(&["env"], |_| {}).await;
        bed.run().await;
        assert_eq!(bed.wait("").await, 0);
        assert_eq!(bed.logged("stdout"), "PATH=/bin\nONE=1\nHOME=/root\n");
        bed.delete("").await.unwrap();
    });
}

#[test]
fn an_exec_joins_everything_even_the_filter() {
    runtime().block_on(async {
        let bed = Bed::script("sleep 100").await;
        bed.run().await;
        bed.exec(
            "e1",
            "cat /etc/passwd; mkdir /x 2>/dev/null || echo filtered; readlink /proc/1/exe; exit 3",
            "",
            false,
        )
        .await;
        let attached = bed.attach("e1", false).await;
        bed.start_exec("e1").await.unwrap();
        let (out, _, exit) = attached.rest().await;
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "root:x:0:0:root:/root:/bin/sh\nfiltered\n/bin/busybox\n"
        );
        assert_eq!(exit.status, 3);
        assert_eq!(bed.wait("e1").await, 3);
        assert_eq!(bed.exit_record("exit-e1.json").status, 3);
        assert_eq!(bed.delete("e1").await.unwrap(), 3);
        let missing = bed.exec_process("e2", &process(&["nope"]), "", false).await;
        missing.unwrap();
        let error = bed.start_exec("e2").await.unwrap_err();
        assert_eq!(failure_kind(&error), Some(Failed::COMMAND_NOT_FOUND), "{error}");
        assert!(
            error.to_string().contains("executable file not found in $PATH"),
            "{error}"
        );
        assert_eq!(bed.wait("e2").await, 127);
        bed.kill("", libc::SIGKILL).await.unwrap();
        assert_eq!(bed.wait("").await, 137);
        bed.delete("").await.unwrap();
    });
}

#[test]
fn a_program_that_cannot_be_run_says_why() {
    runtime().block_on(async {
        for (program, kind, text) in [
            ("nope", Failed::COMMAND_NOT_FOUND, "executable file not found in $PATH"),
            ("/bin/nope", Failed::COMMAND_NOT_FOUND, "no such file or directory"),
            ("/etc/passwd", Failed::COMMAND_NOT_EXECUTABLE, "permission denied"),
            ("/etc", Failed::COMMAND_NOT_EXECUTABLE, "permission denied"),
        ] {
            let bed = Bed::new(&[program], |_| {}).await;
            let error = bed.create().await.unwrap_err();
            assert_eq!(failure_kind(&error), Some(kind), "{program}: {error}");
            assert!(error.to_string().contains(text), "{program}: {error}");
        }
        let bed = Bed::new(&["/etc/bad"], |_| {}).await;
        fs::write(bed.path("lower/etc/bad"), "\u{1}\u{2}").unwrap();
        fs::set_permissions(
            bed.path("lower/etc/bad"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        bed.create().await.unwrap();
        let error = bed.start().await.unwrap_err();
        assert_eq!(failure_kind(&error), Some(Failed::COMMAND_NOT_EXECUTABLE), "{error}");
        assert_eq!(bed.wait("").await, 126);
        bed.delete("").await.unwrap();
    });
}

#[test]
fn stdin_is_at_its_end_from_birth_or_held() {
    runtime().block_on(async {
        let bed = Bed::new(&["/bin/cat"], |_| {}).await;
        bed.run().await;
        assert_eq!(bed.wait("").await, 0);
        bed.delete("").await.unwrap();
        let mut bed = Bed::new(&["/bin/cat"], |_| {}).await;
        bed.options.open_stdin = true;
        bed.options.stdin_once = true;
        bed.create().await.unwrap();
        let mut attached = bed.attach("", true).await;
        attached.input(b"early ").await;
        bed.start().await.unwrap();
        attached.input(b"and late").await;
        attached.end_input().await;
        let (out, _, exit) = attached.rest().await;
        assert_eq!((out.as_slice(), exit.status), (&b"early and late"[..], 0));
        bed.delete("").await.unwrap();
    });
}

#[test]
fn a_terminal_has_a_size_and_one_stream() {
    runtime().block_on(async {
        let bed = Bed::new(&["/bin/sh"], |spec| spec["process"]["terminal"] = true.into()).await;
        let mut bed = bed;
        bed.options.open_stdin = true;
        bed.create().await.unwrap();
        let mut attached = bed.attach("", true).await;
        attached
            .send(&gantry_proto_attach::encode(
                gantry_proto_attach::Kind::Resize,
                0,
                &gantry_proto_attach::encode_resize(33, 101),
            ))
            .await;
        bed.start().await.unwrap();
        attached.input(b"stty size\n").await;
        attached.expect("33 101").await;
        attached.input(b"tty; exit 5\n").await;
        let (out, err, exit) = attached.rest().await;
        assert!(
            String::from_utf8_lossy(&out).contains("/dev/"),
            "{}",
            String::from_utf8_lossy(&out)
        );
        assert!(err.is_empty());
        assert_eq!(exit.status, 5);
        bed.delete("").await.unwrap();
    });
}

#[test]
fn an_exec_with_a_terminal_ends_though_others_hold_it() {
    runtime().block_on(async {
        let bed = Bed::script("sleep 100").await;
        bed.run().await;
        for terminal in [true, false] {
            let name = format!("bg{terminal}");
            bed.exec(
                &name,
                "trap '' HUP; sleep 50 & echo started; stty size; exit 4",
                stdio::HELD,
                terminal,
            )
            .await;
            let attached = bed.attach(&name, true).await;
            let begun = std::time::Instant::now();
            bed.start_exec(&name).await.unwrap();
            let (out, _, exit) = attached.rest().await;
            assert!(
                String::from_utf8_lossy(&out).starts_with("started"),
                "{}",
                String::from_utf8_lossy(&out)
            );
            assert_eq!(exit.status, 4);
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
        bed.kill("", libc::SIGKILL).await.unwrap();
        assert_eq!(bed.wait("").await, 137);
        bed.delete("").await.unwrap();
    });
}

#[test]
fn a_stuck_hook_delays_nobody_and_can_be_killed() {
    runtime().block_on(async {
        let hook = json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]});
        let bed = Bed::new(&["/bin/true"], |spec| spec["hooks"] = hook).await;
        let request = bed.create_request();
        let client = bed.client.clone();
        let creating = tokio::spawn(async move { client.create(context(), &request).await });
        let hooked = || {
            let found = std::process::Command::new("pgrep")
                .args(["-P", &bed.pid_of_shim().to_string()])
                .output()
                .unwrap();
            let child = String::from_utf8(found.stdout).unwrap();
            let hook = std::process::Command::new("pgrep")
                .args(["-P", child.trim(), "sleep"])
                .output()
                .unwrap();
            !child.trim().is_empty() && hook.status.success()
        };
        until("the hook runs", hooked).await;
        assert_eq!(bed.status().await, Status::CREATED);
        assert!(bed.kill("", libc::SIGTERM).await.is_err());
        bed.kill("", libc::SIGKILL).await.unwrap();
        let error = tokio::time::timeout(Duration::from_secs(5), creating)
            .await
            .expect("in time")
            .unwrap()
            .unwrap_err();
        assert_eq!(failure_kind(&error), Some(Failed::ABORTED), "{error}");
    });
}

#[test]
fn a_failing_hook_is_heard() {
    runtime().block_on(async {
        for stage in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
            let hooks = json!({stage: [{"path": "/bin/sh", "args": ["sh", "-c", "echo told you >&2; exit 3"], "env": ["PATH=/bin"]}]});
            let bed = Bed::new(&["/bin/sleep", "100"], |spec| spec["hooks"] = hooks).await;
            let error = match bed.create().await {
                Err(error) => error,
                Ok(_) => bed.start().await.unwrap_err(),
            };
            assert!(error.to_string().contains("told you"), "{stage}: {error}");
            assert_eq!(failure_kind(&error), Some(Failed::HOOK), "{stage}: {error}");
            if matches!(stage, "startContainer" | "poststart") {
                bed.wait("").await;
                bed.delete("").await.unwrap();
            }
        }
    });
}

#[test]
fn pause_stands_still_and_the_kill_signal_gets_through() {
    runtime().block_on(async {
        let bed = Bed::script("while true; do echo tick; sleep 0.01; done").await;
        bed.run().await;
        let request = gantry_proto_shim::api::PauseRequest {
            id: bed.id.clone(),
            ..Default::default()
        };
        bed.client.pause(context(), &request).await.unwrap();
        assert_eq!(bed.status().await, Status::PAUSED);
        let size = || fs::metadata(bed.log_path()).unwrap().len();
        // What was in the pipe is still written down, and then nothing more.
        let end = std::time::Instant::now() + Duration::from_secs(20);
        let mut before = u64::MAX;
        while size() != before {
            assert!(std::time::Instant::now() < end, "it goes on");
            before = size();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let request = gantry_proto_shim::api::ResumeRequest {
            id: bed.id.clone(),
            ..Default::default()
        };
        bed.client.resume(context(), &request).await.unwrap();
        until("ticks again", || size() > before).await;
        let request = gantry_proto_shim::api::PauseRequest {
            id: bed.id.clone(),
            ..Default::default()
        };
        bed.client.pause(context(), &request).await.unwrap();
        bed.kill("", libc::SIGKILL).await.unwrap();
        assert_eq!(bed.wait("").await, 137);
        bed.delete("").await.unwrap();
    });
}

#[test]
fn the_memory_killer_is_named() {
    runtime().block_on(async {
        let bed = Bed::script("dd if=/dev/zero of=/dev/null bs=200M count=1").await;
        bed.run().await;
        let code = bed.wait("").await;
        let record = bed.exit_record("exit.json");
        assert!(record.oom_killed && code != 0, "{record:?}");
        bed.delete("").await.unwrap();
    });
}

#[test]
fn the_root_is_mounted_out_of_the_hosts_sight() {
    runtime().block_on(async {
        let bed = Bed::script("sleep 100").await;
        bed.run().await;
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&bed.dir.path().display().to_string()));
        let shim = bed.pid_of_shim();
        std::process::Command::new("kill")
            .args(["-9", &shim.to_string()])
            .status()
            .unwrap();
        // Without its shim, `delete` ends and removes all that is left; the bed checks.
    });
}
