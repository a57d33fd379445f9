//! A daemon that is killed and begins anew finds what runs, and ends what does not.

use crate::bed::{Ground, LONG, RUNC, exec, exec_id, hasty, ours, poll, processes, status, told, within};
use crate::death::gone;
use gantry_engine::{Endpoint, NewTask, ProcessStatus, Stdio};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn tasks_are_found_again_under_debians_shim() {
    found_again(RUNC);
}

#[test]
fn tasks_are_found_again_under_our_shim() {
    found_again(&ours());
}

fn found_again(name: &str) {
    let ground = Ground::new();
    let former = runtime();
    let (ids, pid) = former.block_on(async {
        let engine = ground.engine(hasty()).await;
        let mut ids = Vec::new();
        for name_of in ["runs", "paused", "ends", "dies", "hangs"] {
            ids.push(ground.running(&engine, name, name_of, "exec sleep 100").await);
        }
        engine.tasks().pause(&ground.ns, &ids[1]).await.unwrap();
        let ends = engine.tasks().get(&ground.ns, &ids[2], None).await.unwrap().pid;
        (ids, ends)
    });
    former.shutdown_timeout(Duration::from_secs(5));
    // While no daemon is there:
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    poll("the process does not end", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
    ground.signal_shim(&ids[3], Signal::SIGKILL);
    ground.signal_shim(&ids[4], Signal::SIGSTOP);
    let [runs, paused, ends, dies, hangs] = &ids[..] else {
        unreachable!("five were made")
    };
    runtime().block_on(async {
        let begun = Instant::now();
        let engine = ground.engine(hasty()).await;
        assert!(begun.elapsed() < Duration::from_secs(8), "the start waits for shims");
        let (ns, tasks) = (&ground.ns, engine.tasks());
        let mut events = engine.exchange().subscribe();
        let listed = tasks.list(ns).await.unwrap();
        assert!(
            ids[..3]
                .iter()
                .all(|id| listed.iter().any(|process| process.container == *id)),
            "{listed:?}"
        );
        assert_eq!(tasks.get(ns, runs, None).await.unwrap().status, ProcessStatus::Running);
        assert_eq!(tasks.get(ns, paused, None).await.unwrap().status, ProcessStatus::Paused);
        let exit = within(LONG, tasks.wait(ns, ends, None)).await.unwrap();
        assert_eq!(exit.status, 137);
        assert_eq!(status(&tasks, ns, ends).await, Some(ProcessStatus::Stopped));
        for lost in [dies, hangs] {
            let end = Instant::now() + LONG;
            while ground.bundle(lost).exists() {
                assert!(Instant::now() < end, "what was lost is not cleared");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            gone(&tasks, ns, lost).await;
            assert!(processes(lost).is_empty());
            ground.nothing_is_left(lost);
        }
        assert!(told(&mut events, hangs).await.len() <= 2);
        tasks.delete(ns, ends).await.unwrap();
        ground.nothing_is_left(ends);
        tasks.resume(ns, paused).await.unwrap();
        for id in [runs, paused] {
            ground.end(&engine, id).await;
        }
    });
}

#[test]
fn what_a_kill_left_unfinished_is_cleared() {
    let ground = Ground::new();
    let id = ground.id("one");
    // A bundle in which nothing tells yet whose it is, and what a task of a former boot kept.
    std::fs::create_dir_all(ground.bundle(&id).join("rootfs")).unwrap();
    std::fs::write(ground.bundle(&id).join("config.json"), "{}").unwrap();
    let kept = ground.dir.path().join("tasks");
    std::fs::create_dir_all(ground.dir.path().join("x/clients/.leaving-gone")).unwrap();
    for name in ["clients/former/state", ".checkpoint-1/x"] {
        std::fs::create_dir_all(kept.join(name)).unwrap();
    }
    runtime().block_on(async {
        let engine = ground.engine(hasty()).await;
        let mut events = engine.exchange().subscribe();
        poll("it is not cleared", || !ground.bundle(&id).exists());
        let gone = gantry_core::ContainerId::new("gone").unwrap();
        assert_eq!(told(&mut events, &gone).await, [], "it was deleted long ago");
        poll("it is not removed", || {
            !ground.dir.path().join("x/clients/.leaving-gone").exists()
        });
        assert!(!kept.join("clients/former").exists() && !kept.join(".checkpoint-1").exists());
        let spec = ground.spec(&id, "exec sleep 100", serde_json::json!({}));
        ground.container(&engine, RUNC, &id, &spec).await;
        ground.run(&engine, &id).await;
        ground.end(&engine, &id).await;
    });
}

#[test]
fn a_guest_in_debians_shim() {
    guest(RUNC);
}

#[test]
fn a_guest_in_our_shim() {
    guest(&ours());
}

fn parent(pid: u32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rsplit(')').next().unwrap();
    after.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A task that is sent to a shim which is there already leaves it as it was, also after a restart of the daemon.
fn guest(name: &str) {
    let ground = Ground::new();
    let (ns, one) = (&ground.ns, ground.id("guest"));
    let former = runtime();
    let host = former.block_on(async {
        let engine = ground.engine(hasty()).await;
        let host = ground.running(&engine, name, "host", "exec sleep 100").await;
        let written = std::fs::read(ground.bundle(&host).join("bootstrap.json")).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
        let address = format!("ttrpc+{}", written["address"].as_str().unwrap());
        let sent = |address: &str| NewTask {
            guest_of: Some(Endpoint::parse(address, 0).unwrap()),
            ..ground.task()
        };
        let spec = ground.spec(&one, "exec sleep 100", json!({}));
        ground.container(&engine, name, &one, &spec).await;
        let tasks = engine.tasks();
        assert!(tasks.create(ns, &one, sent("unix:///nowhere")).await.is_err());
        ground.nothing_is_left(&one);
        tasks.create(ns, &one, sent(&address)).await.unwrap();
        let pid = tasks.start(ns, &one, None).await.unwrap();
        assert_eq!(parent(pid), ground.shim_pid(&host));
        host
    });
    former.shutdown_timeout(Duration::from_secs(5));
    runtime().block_on(async {
        let engine = ground.engine(hasty()).await;
        let tasks = engine.tasks();
        assert_eq!(tasks.get(ns, &one, None).await.unwrap().status, ProcessStatus::Running);
        ground.end(&engine, &one).await;
        assert_eq!(tasks.get(ns, &host, None).await.unwrap().status, ProcessStatus::Running);
        let (id, new) = (exec_id("e1"), exec(&["/bin/sh", "-c", "exit 6"], Stdio::default()));
        tasks.exec(ns, &host, &id, new).await.unwrap();
        tasks.start(ns, &host, Some(&id)).await.unwrap();
        let ended = within(LONG, tasks.wait(ns, &host, Some(&id))).await.unwrap();
        assert_eq!(ended.status, 6);
        ground.end(&engine, &host).await;
    });
}
