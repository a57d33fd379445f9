//! What goes well, and what is refused.

use crate::bed::{Ground, LONG, RUNC, exec, exec_id, ours, patient, pipes, status, within};
use gantry_core::meta::Any;
use gantry_core::{ContainerId, ErrorKind};
use gantry_engine::{Engine, NewCheckpoint, NewTask, ProcessStatus, Stdio, TaskUpdate};
use serde_json::json;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_life_under_debians_shim() {
    life(RUNC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_under_our_shim() {
    life(&ours()).await;
}

async fn life(runtime: &str) {
    let ground = Ground::new();
    let engine = ground.engine(patient()).await;
    let (ns, tasks, id) = (&ground.ns, engine.tasks(), ground.id("one"));
    let spec = ground.spec(&id, "echo hello; exec sleep 100", json!({}));
    ground.container(&engine, runtime, &id, &spec).await;
    let out = pipes(ground.dir.path(), "one");
    let new = NewTask {
        stdio: out.stdio.clone(),
        ..ground.task()
    };
    let pid = tasks.create(ns, &id, new.clone()).await.unwrap();
    let again = tasks.create(ns, &id, new).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again}");
    let process = tasks.get(ns, &id, None).await.unwrap();
    assert_eq!(
        (process.status, process.pid, process.stdio),
        (ProcessStatus::Created, pid, out.stdio.clone())
    );
    assert_eq!(tasks.start(ns, &id, None).await.unwrap(), pid);
    assert_eq!(status(&tasks, ns, &id).await, Some(ProcessStatus::Running));
    assert!(tasks.delete(ns, &id).await.is_err(), "it runs");

    one_exec(&engine, &ground, &id).await;

    tasks.pause(ns, &id).await.unwrap();
    assert_eq!(tasks.get(ns, &id, None).await.unwrap().status, ProcessStatus::Paused);
    assert_eq!(status(&tasks, ns, &id).await, Some(ProcessStatus::Paused));
    tasks.resume(ns, &id).await.unwrap();
    let pids = tasks.pids(ns, &id).await.unwrap();
    assert!(pids.iter().any(|process| process.pid == pid), "{pids:?}");
    let metrics = tasks.metrics(ns, |_| true).await.unwrap();
    assert_eq!(metrics.len(), 1);
    let kind = metrics[0].data.as_ref().unwrap().type_name().to_owned();
    assert!(kind.starts_with("io.containerd.cgroups.v"), "{kind}");
    let limits = TaskUpdate {
        resources: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".to_owned(),
            value: br#"{"pids":{"limit":50}}"#.to_vec(),
        }),
        ..TaskUpdate::default()
    };
    tasks.update(ns, &id, limits).await.unwrap();
    // criu is not there, or does not start on this kernel.
    let refused = tasks.checkpoint(ns, &id, NewCheckpoint::default()).await;
    assert!(refused.is_err());
    assert_eq!(status(&tasks, ns, &id).await, Some(ProcessStatus::Running));

    tasks.kill(ns, &id, None, 9, false).await.unwrap();
    let exit = within(LONG, tasks.wait(ns, &id, None)).await.unwrap();
    assert_eq!(exit.status, 137);
    assert_eq!(status(&tasks, ns, &id).await, Some(ProcessStatus::Stopped));
    let late = tasks.kill(ns, &id, None, 9, false).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NotFound, "{late}");
    let deleted = tasks.delete(ns, &id).await.unwrap();
    assert_eq!((deleted.pid, deleted.exit.status), (pid, 137));
    assert_eq!(out.text().await, "hello\n");
    for error in [
        tasks.get(ns, &id, None).await.unwrap_err(),
        tasks.delete(ns, &id).await.unwrap_err(),
        tasks.kill(ns, &id, None, 9, false).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    ground.nothing_is_left(&id);
    // The name is free.
    ground.run(&engine, &id).await;
    ground.end(&engine, &id).await;
}

async fn one_exec(engine: &Engine, ground: &Ground, id: &ContainerId) {
    let (ns, tasks, name) = (&ground.ns, engine.tasks(), exec_id("two"));
    let out = pipes(ground.dir.path(), "two");
    let new = exec(&["/bin/sh", "-c", "echo from exec; exit 3"], out.stdio.clone());
    tasks.exec(ns, id, &name, new.clone()).await.unwrap();
    let taken = tasks.exec(ns, id, &name, new).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists, "{taken}");
    let waiting = {
        let (tasks, ns, id, name) = (tasks.clone(), ns.clone(), id.clone(), name.clone());
        tokio::spawn(async move { tasks.wait(&ns, &id, Some(&name)).await })
    };
    let pid = tasks.start(ns, id, Some(&name)).await.unwrap();
    assert_eq!(within(LONG, waiting).await.unwrap().unwrap().status, 3);
    let process = tasks.get(ns, id, Some(&name)).await.unwrap();
    assert_eq!(
        (process.status, process.exec.as_ref()),
        (ProcessStatus::Stopped, Some(&name))
    );
    let deleted = tasks.delete_process(ns, id, &name).await.unwrap();
    assert_eq!((deleted.pid, deleted.exit.status), (pid, 3));
    assert_eq!(out.text().await, "from exec\n");
    assert!(tasks.get(ns, id, Some(&name)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_promises_more_than_it_serves_is_spoken_to_in_the_older_version() {
    let ground = Ground::new();
    let script = r#"#!/bin/sh
real=/usr/bin/containerd-shim-runc-v2
case "$*" in *" start") ;; *) exec $real "$@" ;; esac
address=$($real "$@") || exit
printf '{"version":3,"address":"%s","protocol":"ttrpc"}' "$address"
"#;
    let program = ground.program("containerd-shim-boaster-v1", script);
    let engine = ground.engine(patient()).await;
    let id = ground.running(&engine, &program, "one", "exec sleep 100").await;
    let written = std::fs::read_to_string(ground.bundle(&id).join("bootstrap.json")).unwrap();
    assert!(written.contains("\"version\":2"), "{written}");
    ground.end(&engine, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_leaves_nothing() {
    let ground = Ground::new();
    let engine = ground.engine(patient()).await;
    let (ns, tasks) = (&ground.ns, engine.tasks());
    let unknown = ground.id("unknown");
    let error = tasks.create(ns, &unknown, ground.task()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let cases = [
        (RUNC.to_owned(), "/bin/nosuch", "failed to create shim task: "),
        (ours(), "/bin/nosuch", ""),
        (
            "io.containerd.nosuch.v9".to_owned(),
            "/bin/sh",
            "failed to start shim: failed to resolve runtime path: ",
        ),
        ("/bin/false".to_owned(), "/bin/sh", "failed to start shim: "),
    ];
    for (number, (runtime, program, said)) in cases.into_iter().enumerate() {
        let id = ground.id(&format!("bad{number}"));
        let mut spec = ground.spec(&id, "true", json!({}));
        spec["process"]["args"] = json!([program]);
        ground.container(&engine, &runtime, &id, &spec).await;
        let error = match tasks.create(ns, &id, ground.task()).await {
            Err(error) => error,
            // Ours finds out when it starts.
            Ok(_) => {
                let error = tasks.start(ns, &id, None).await.unwrap_err();
                within(LONG, tasks.wait(ns, &id, None)).await.unwrap();
                tasks.delete(ns, &id).await.unwrap();
                error
            }
        };
        assert!(error.message().starts_with(said), "{error}");
        ground.nothing_is_left(&id);
        assert!(tasks.list(ns).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shares_a_shim_under_debians() {
    group(RUNC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shares_our_shim() {
    group(&ours()).await;
}

async fn group(runtime: &str) {
    let ground = Ground::new();
    let engine = ground.engine(patient()).await;
    let (ns, tasks) = (&ground.ns, engine.tasks());
    let ids = ["a", "b", "c"].map(|name| ground.id(name));
    for id in &ids {
        let group = json!({"io.containerd.runc.v2.group": ids[0].as_str()});
        ground
            .container(&engine, runtime, id, &ground.spec(id, "exec sleep 100", group))
            .await;
        ground.run(&engine, id).await;
    }
    let shims: Vec<i32> = ids.iter().map(|id| ground.shim_pid(id)).collect();
    assert!(shims.iter().all(|pid| *pid == shims[0]), "{shims:?}");
    // One goes, the others stay.
    tasks.kill(ns, &ids[1], None, 9, false).await.unwrap();
    within(LONG, tasks.wait(ns, &ids[1], None)).await.unwrap();
    tasks.delete(ns, &ids[1]).await.unwrap();
    for id in [&ids[0], &ids[2]] {
        assert_eq!(tasks.get(ns, id, None).await.unwrap().status, ProcessStatus::Running);
    }
    // The shim dies, and all of them end.
    ground.signal_shim(&ids[0], nix::sys::signal::Signal::SIGKILL);
    for id in [&ids[0], &ids[2]] {
        // It may be gone before it is waited for.
        let _ = within(LONG, tasks.wait(ns, id, None)).await;
        crate::death::gone(&tasks, ns, id).await;
        ground.nothing_is_left(id);
    }
}

/// Clients close their ends once a process is deleted: nothing may come after that.
#[tokio::test(flavor = "multi_thread")]
async fn all_output_is_read_before_a_process_is_deleted() {
    const ALL: usize = 1 << 20;
    let ground = Ground::new();
    let engine = ground.engine(patient()).await;
    let (ns, tasks) = (&ground.ns, engine.tasks());
    let id = ground.running(&engine, &ours(), "last-words", "exec sleep 100").await;
    let path = ground.dir.path().join("slow");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let is_deleted = Arc::new(AtomicBool::new(false));
    let (slow, told) = (path.clone(), is_deleted.clone());
    let reader = std::thread::spawn(move || {
        let mut pipe = std::fs::File::open(slow).unwrap();
        let (mut buffer, mut all, mut late) = (vec![0; 16 << 10], 0, 0);
        loop {
            let after = told.load(Ordering::SeqCst);
            match pipe.read(&mut buffer).unwrap() {
                0 => return (all, late),
                count => {
                    all += count;
                    late += if after { count } else { 0 };
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let stdio = Stdio {
        stdout: path.to_string_lossy().into_owned(),
        ..Stdio::default()
    };
    let (name, size) = (exec_id("e"), ALL.to_string());
    let program = exec(&["/bin/busybox", "head", "-c", &size, "/dev/zero"], stdio);
    tasks.exec(ns, &id, &name, program).await.unwrap();
    tasks.start(ns, &id, Some(&name)).await.unwrap();
    let exit = within(LONG, tasks.wait(ns, &id, Some(&name))).await.unwrap();
    assert_eq!(exit.status, 0);
    tasks.delete_process(ns, &id, &name).await.unwrap();
    is_deleted.store(true, Ordering::SeqCst);
    assert_eq!(reader.join().unwrap(), (ALL, 0), "all of it, and what was late");
    ground.end(&engine, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_mapped_in_several_pieces() {
    for runtime in [RUNC.to_owned(), ours()] {
        let ground = Ground::new();
        let engine = ground.engine(patient()).await;
        let id = ground.id("mapped");
        let map = json!([
            {"containerID": 0, "hostID": 0, "size": 10},
            {"containerID": 10, "hostID": 100_000, "size": 1000}
        ]);
        let mut spec = ground.spec(&id, "cat /proc/self/uid_map /proc/self/gid_map", json!({}));
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user"}));
        ground.container(&engine, &runtime, &id, &spec).await;
        let out = pipes(ground.dir.path(), "mapped");
        let new = NewTask {
            stdio: out.stdio.clone(),
            ..ground.task()
        };
        let tasks = engine.tasks();
        tasks.create(&ground.ns, &id, new).await.unwrap();
        tasks.start(&ground.ns, &id, None).await.unwrap();
        let exit = within(LONG, tasks.wait(&ground.ns, &id, None)).await.unwrap();
        assert_eq!(exit.status, 0, "{runtime}");
        tasks.delete(&ground.ns, &id).await.unwrap();
        ground.nothing_is_left(&id);
        let text = out.text().await;
        let numbers: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let lines = [["0", "0", "10"], ["10", "100000", "1000"]];
        assert_eq!(numbers, [lines, lines].concat(), "{runtime}: {text}");
    }
}
