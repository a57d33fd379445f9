//! Shims that die or hang: their tasks end, and nobody else notices.

use crate::bed::{
    Ground, LONG, RUNC, exec, exec_id, hasty, is_alive, ours, patient, poll, processes, status, told, within,
};
use gantry_core::{ContainerId, ErrorKind, Namespace};
use gantry_engine::{ProcessStatus, Stdio, Tasks};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// It is not listed, and its bundle is no more: its name is free.
pub async fn gone(tasks: &Tasks, ns: &Namespace, id: &ContainerId) {
    let end = Instant::now() + LONG;
    while status(tasks, ns, id).await.is_some() {
        assert!(Instant::now() < end, "the task stays");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = tasks.get(ns, id, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_shim_dies() {
    shim_dies(RUNC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_shim_dies() {
    shim_dies(&ours()).await;
}

async fn shim_dies(runtime: &str) {
    let ground = Ground::new();
    let engine = ground.engine(patient()).await;
    let (ns, tasks) = (&ground.ns, engine.tasks());
    let id = ground.running(&engine, runtime, "one", "exec sleep 100").await;
    let name = exec_id("e");
    let new = exec(&["/bin/sleep", "100"], Stdio::default());
    tasks.exec(ns, &id, &name, new).await.unwrap();
    tasks.start(ns, &id, Some(&name)).await.unwrap();
    let waits: Vec<_> = [None, Some(name)]
        .into_iter()
        .map(|exec| {
            let (tasks, ns, id) = (tasks.clone(), ns.clone(), id.clone());
            tokio::spawn(async move { tasks.wait(&ns, &id, exec.as_ref()).await })
        })
        .collect();
    let mut events = engine.exchange().subscribe();
    ground.signal_shim(&id, Signal::SIGKILL);
    for wait in waits {
        let exit = within(LONG, wait).await.unwrap().unwrap();
        assert!([137, 255].contains(&exit.status), "{exit:?}");
    }
    gone(&tasks, ns, &id).await;
    ground.nothing_is_left(&id);
    let told = told(&mut events, &id).await;
    let topics: Vec<&str> = told.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics, ["/tasks/exit", "/tasks/delete"]);
    // The name is free.
    ground.run(&engine, &id).await;
    ground.end(&engine, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_task_ends_with_its_shim() {
    for runtime in [RUNC.to_owned(), ours()] {
        let ground = Ground::new();
        let engine = ground.engine(patient()).await;
        let (ns, tasks) = (&ground.ns, engine.tasks());
        let id = ground.running(&engine, &runtime, "one", "exec sleep 100").await;
        tasks.pause(ns, &id).await.unwrap();
        ground.signal_shim(&id, Signal::SIGKILL);
        gone(&tasks, ns, &id).await;
        poll("what was frozen is not cleared", || !ground.bundle(&id).exists());
        ground.nothing_is_left(&id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_that_was_told_is_not_told_again() {
    let ground = Ground::new();
    let engine = ground.engine(patient()).await;
    let (ns, tasks) = (&ground.ns, engine.tasks());
    let id = ground.running(&engine, RUNC, "one", "exit 5").await;
    assert_eq!(within(LONG, tasks.wait(ns, &id, None)).await.unwrap().status, 5);
    let mut events = engine.exchange().subscribe();
    ground.signal_shim(&id, Signal::SIGKILL);
    gone(&tasks, ns, &id).await;
    assert_eq!(told(&mut events, &id).await, [("/tasks/delete".to_owned(), 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_shim_delays_only_its_own_and_ends() {
    for runtime in [RUNC.to_owned(), ours()] {
        let ground = Ground::new();
        let engine = ground.engine(hasty()).await;
        let (ns, tasks) = (&ground.ns, engine.tasks());
        let well = ground.running(&engine, &runtime, "well", "exec sleep 100").await;
        let hung = ground.running(&engine, &runtime, "hung", "exec sleep 100").await;
        let shim = ground.signal_shim(&hung, Signal::SIGSTOP);
        let wait = {
            let (tasks, ns, id) = (tasks.clone(), ns.clone(), hung.clone());
            tokio::spawn(async move { tasks.wait(&ns, &id, None).await })
        };
        let begun = Instant::now();
        let asked = {
            let (tasks, ns, id) = (tasks.clone(), ns.clone(), hung.clone());
            tokio::spawn(async move { tasks.get(&ns, &id, None).await })
        };
        assert_eq!(tasks.list(ns).await.unwrap().len(), 2);
        assert_eq!(tasks.get(ns, &well, None).await.unwrap().status, ProcessStatus::Running);
        assert!(begun.elapsed() < hasty().call, "others wait, too");
        let error = within(LONG, asked).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
        within(LONG, wait).await.unwrap().unwrap();
        gone(&tasks, ns, &hung).await;
        ground.nothing_is_left(&hung);
        assert!(!is_alive(shim), "the shim is still there");
        assert_eq!(tasks.get(ns, &well, None).await.unwrap().status, ProcessStatus::Running);
        ground.end(&engine, &well).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_a_hung_shim_does_not_tell_is_seen() {
    let ground = Ground::new();
    let engine = ground.engine(hasty()).await;
    let (ns, tasks) = (&ground.ns, engine.tasks());
    let id = ground.running(&engine, RUNC, "one", "exec sleep 100").await;
    let pid = tasks.get(ns, &id, None).await.unwrap().pid;
    ground.signal_shim(&id, Signal::SIGSTOP);
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    within(LONG, tasks.wait(ns, &id, None)).await.unwrap();
    gone(&tasks, ns, &id).await;
    assert!(processes(&id).is_empty());
    ground.nothing_is_left(&id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_came_up_and_did_not_say_so_is_ended() {
    let ground = Ground::new();
    let deadlines = gantry_task::Deadlines {
        spawn: Duration::from_secs(3),
        ..hasty()
    };
    let engine = ground.engine(deadlines).await;
    let (ns, tasks, id) = (&ground.ns, engine.tasks(), ground.id("one"));
    let script = r#"#!/bin/sh
real=/usr/bin/containerd-shim-runc-v2
case "$*" in *" start") ;; *) exec $real "$@" ;; esac
$real "$@" > /dev/null
exec sleep 100
"#;
    let program = ground.program("containerd-shim-silent-v1", script);
    let spec = ground.spec(&id, "true", serde_json::json!({}));
    ground.container(&engine, &program, &id, &spec).await;
    let error = within(LONG, tasks.create(ns, &id, ground.task())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    ground.nothing_is_left(&id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_hangs_while_it_makes_is_ended() {
    let ground = Ground::new();
    let engine = ground.engine(hasty()).await;
    let (ns, tasks, id) = (&ground.ns, engine.tasks(), ground.id("one"));
    // The real one, which stops as soon as it serves.
    let script = r#"#!/bin/sh
real=/usr/bin/containerd-shim-runc-v2
case "$*" in *" start") ;; *) exec $real "$@" ;; esac
address=$($real "$@") || exit
for process in /proc/[0-9]*; do
    line=$(tr '\0' ' ' 2>/dev/null < $process/cmdline)
    case "$line" in "$real "*" -id $8 "*) kill -STOP ${process#/proc/} ;; esac
done
printf %s "$address"
"#;
    let program = ground.program("containerd-shim-stopper-v1", script);
    let spec = ground.spec(&id, "true", serde_json::json!({}));
    ground.container(&engine, &program, &id, &spec).await;
    let error = within(LONG, tasks.create(ns, &id, ground.task())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    assert!(tasks.list(ns).await.unwrap().is_empty());
}
