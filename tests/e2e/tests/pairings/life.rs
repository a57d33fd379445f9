//! From create to delete.

use crate::bed::{Bed, code, until};
use crate::container::{Container, Make, Stdio, Told};
use gantry_proto_containerd::any::{LINUX_RESOURCES, json, unpack};
use gantry_proto_containerd::containerd::v1::types::Status as State;
use gantry_proto_containerd::io::containerd::cgroups::v1::Metrics;
use gantry_proto_containerd::runc::v1::ProcessDetails;
use gantry_proto_containerd::services::tasks::v1 as pb;
use gantry_proto_containerd::time::ZERO;
use std::sync::Arc;
use tonic::Code;

pub async fn exit_code(bed: Arc<Bed>) {
    let one = Container::make(&bed, "code", "exit 7").await;
    let pid = one.create(&Stdio::default()).await.expect("a task");
    let made = one.process(None).await.expect("it is there");
    assert_eq!((made.status(), made.pid), (State::Created, pid));
    assert_eq!(made.exited_at, Some(ZERO), "what lives has no end");
    assert_eq!(one.start(None).await.expect("it starts"), pid);
    assert_eq!(one.wait(None).await, 7);
    let ended = one.process(None).await.expect("it is there");
    assert_eq!((ended.status(), ended.exit_status), (State::Stopped, 7));
    assert!(ended.exited_at.is_some_and(|at| at.seconds > 1_700_000_000));
    let gone = one.delete().await.expect("it is deleted");
    assert_eq!((gone.exit_status, gone.pid), (7, pid));
    assert_eq!(code(one.process(None).await), Code::NotFound);
    assert_eq!(code(one.delete().await), Code::NotFound);
    one.forget().await;
}

pub async fn second_create_refused(bed: Arc<Bed>) {
    let one = Container::make(&bed, "second", "sleep 1000").await;
    one.create(&Stdio::default()).await.expect("a task");
    assert_eq!(code(one.create(&Stdio::default()).await), Code::AlreadyExists);
    assert_eq!(one.process(None).await.expect("it is there").status(), State::Created);
    one.start(None).await.expect("it starts");
    assert_ne!(code(one.start(None).await), Code::Ok, "what runs cannot be started");
    one.end().await;
}

pub async fn unknown_task(bed: Arc<Bed>) {
    let one = Container::make(&bed, "untasked", "true").await;
    assert_eq!(code(one.process(None).await), Code::NotFound);
    assert_eq!(code(one.start(None).await), Code::NotFound);
    assert_eq!(code(one.kill(None, 9, false).await), Code::NotFound);
    assert_eq!(code(one.delete().await), Code::NotFound);
    assert_eq!(
        code(one.exec("e", "true", &Stdio::default(), false).await),
        Code::NotFound
    );
    one.forget().await;
    assert_eq!(code(one.create(&Stdio::default()).await), Code::NotFound);
}

pub async fn exec(bed: Arc<Bed>) {
    let one = Container::run(&bed, "exec", "sleep 1000").await;
    let stdio = Stdio::pipes(&one.dir, "e1", true);
    let script = "echo out; echo err >&2; exit 9";
    one.exec("e1", script, &stdio, false).await.expect("it is added");
    assert_eq!(
        one.process(Some("e1")).await.expect("it is there").status(),
        State::Created
    );
    let pid = one.start(Some("e1")).await.expect("it starts");
    assert_eq!(one.wait(Some("e1")).await, 9);
    stdio.closed().await;
    assert_eq!((stdio.stdout().as_str(), stdio.stderr().as_str()), ("out\n", "err\n"));
    let ended = one.process(Some("e1")).await.expect("it is there");
    assert_eq!((ended.status(), ended.exit_status), (State::Stopped, 9));
    let gone = one.delete_exec("e1").await.expect("it is deleted");
    assert_eq!((gone.id.as_str(), gone.exit_status, gone.pid), ("e1", 9, pid));
    assert_eq!(code(one.process(Some("e1")).await), Code::NotFound);
    assert_eq!(one.process(None).await.expect("it is there").status(), State::Running);
    one.end().await;
}

pub async fn exec_twice_refused(bed: Arc<Bed>) {
    let one = Container::run(&bed, "twice", "sleep 1000").await;
    let none = Stdio::default();
    one.exec("e1", "sleep 1000", &none, false).await.expect("it is added");
    assert_eq!(code(one.exec("e1", "true", &none, false).await), Code::AlreadyExists);
    one.start(Some("e1")).await.expect("it starts");
    assert_ne!(
        code(one.delete_exec("e1").await),
        Code::Ok,
        "what runs cannot be deleted"
    );
    one.kill(Some("e1"), 9, false).await.expect("it is killed");
    assert_eq!(one.wait(Some("e1")).await, 137);
    one.delete_exec("e1").await.expect("it is deleted");
    one.exec("e1", "exit 3", &none, false).await.expect("the name is free");
    one.start(Some("e1")).await.expect("it starts");
    assert_eq!(one.wait(Some("e1")).await, 3);
    one.end().await;
}

pub async fn kill_and_signals(bed: Arc<Bed>) {
    let one = Container::make(
        &bed,
        "trap",
        "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done",
    )
    .await;
    let stdio = Stdio::pipes(&one.dir, "init", true);
    one.create(&stdio).await.expect("a task");
    one.start(None).await.expect("it starts");
    stdio.prints("ready").await;
    one.kill(None, 15, false).await.expect("it is signalled");
    assert_eq!(one.wait(None).await, 5);
    one.is(State::Stopped).await;
    assert_eq!(code(one.kill(None, 9, false).await), Code::NotFound);
    one.end().await;
    let two = Container::run(&bed, "killed", "sleep 1000").await;
    two.kill(None, 9, false).await.expect("it is killed");
    assert_eq!(two.wait(None).await, 137);
    assert_eq!(two.delete().await.expect("it is deleted").exit_status, 137);
    two.forget().await;
}

pub async fn kill_all(bed: Arc<Bed>) {
    let one = Container::run(&bed, "all", "sleep 1000 & sleep 1000 & wait").await;
    one.exec("e1", "sleep 1000", &Stdio::default(), false)
        .await
        .expect("it is added");
    one.start(Some("e1")).await.expect("it starts");
    until("all its processes run", || async {
        (pids(&one).await.len() >= 4).then_some(())
    })
    .await;
    one.kill(None, 9, true).await.expect("all are killed");
    assert_eq!(one.wait(Some("e1")).await, 137);
    assert_eq!(one.wait(None).await, 137);
    one.end().await;
}

pub async fn pause_and_resume(bed: Arc<Bed>) {
    let one = Container::run(&bed, "paused", "sleep 1000").await;
    let request = pb::PauseTaskRequest {
        container_id: one.id.clone(),
    };
    bed.caller().tasks().pause(request).await.expect("it is paused");
    assert_eq!(one.process(None).await.expect("it is there").status(), State::Paused);
    let request = pb::ResumeTaskRequest {
        container_id: one.id.clone(),
    };
    bed.caller().tasks().resume(request).await.expect("it goes on");
    assert_eq!(one.process(None).await.expect("it is there").status(), State::Running);
    until("both are told", || async {
        let told: Vec<String> = one.told().into_iter().map(|one| one.what).collect();
        told.ends_with(&["paused".into(), "resumed".into()]).then_some(())
    })
    .await;
    one.end().await;
}

async fn pids(one: &Container) -> Vec<(u32, String)> {
    let request = pb::ListPidsRequest {
        container_id: one.id.clone(),
    };
    let listed = one.bed.caller().tasks().list_pids(request).await.expect("pids");
    let details = listed.into_inner().processes.into_iter().map(|process| {
        let details = process
            .info
            .map(|info| unpack::<ProcessDetails>(&info).expect("runc's details"));
        (process.pid, details.unwrap_or_default().exec_id)
    });
    details.collect()
}

pub async fn list_pids(bed: Arc<Bed>) {
    let one = Container::make(&bed, "pids", "sleep 1000").await;
    let first = one.create(&Stdio::default()).await.expect("a task");
    one.start(None).await.expect("it starts");
    one.exec("e1", "sleep 1000", &Stdio::default(), false)
        .await
        .expect("it is added");
    let second = one.start(Some("e1")).await.expect("it starts");
    let mut found = pids(&one).await;
    found.sort_unstable();
    let mut wanted = vec![(first, String::new()), (second, "e1".to_owned())];
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    one.end().await;
}

pub async fn metrics(bed: Arc<Bed>) {
    let one = Container::run(&bed, "metrics", "sleep 1000").await;
    let request = pb::MetricsRequest {
        filters: vec![format!("id=={}", one.id)],
    };
    let answer = bed
        .caller()
        .tasks()
        .metrics(request)
        .await
        .expect("metrics")
        .into_inner();
    let [metric] = answer.metrics.as_slice() else {
        panic!("one task, {} metrics", answer.metrics.len());
    };
    assert_eq!(metric.id, one.id);
    let data = metric.data.as_ref().expect("data");
    if hybrid() {
        assert_eq!(data.type_url, "io.containerd.cgroups.v1.Metrics");
        let metrics: Metrics = unpack(data).expect("metrics of cgroups");
        let usage = metrics.memory.and_then(|memory| memory.usage).map(|usage| usage.usage);
        assert!(usage.is_some_and(|bytes| bytes > 0), "{usage:?}");
        assert!(metrics.pids.is_some_and(|pids| pids.current >= 1));
        assert!(metrics.cpu.is_some());
    } else {
        assert_eq!(data.type_url, "io.containerd.cgroups.v2.Metrics");
    }
    one.end().await;
}

fn hybrid() -> bool {
    std::path::Path::new("/sys/fs/cgroup/memory").is_dir()
}

pub async fn update(bed: Arc<Bed>) {
    let make = Make {
        memory: 64 << 20,
        ..Make::default()
    };
    let one = Container::with(&bed, "update", "sleep 1000", make).await;
    one.create(&Stdio::default()).await.expect("a task");
    one.start(None).await.expect("it starts");
    let group = format!("{}/{}", bed.namespace, one.id);
    let limit = if hybrid() {
        format!("/sys/fs/cgroup/memory/{group}/memory.limit_in_bytes")
    } else {
        format!("/sys/fs/cgroup/{group}/memory.max")
    };
    let read = || std::fs::read_to_string(&limit).expect("a limit").trim().to_owned();
    assert_eq!(read(), (64 << 20).to_string());
    let resources = serde_json::json!({"memory": {"limit": 96 << 20}, "pids": {"limit": 50}}).to_string();
    let request = |resources: String| pb::UpdateTaskRequest {
        container_id: one.id.clone(),
        resources: Some(json(LINUX_RESOURCES, resources)),
        ..pb::UpdateTaskRequest::default()
    };
    bed.caller()
        .tasks()
        .update(request(resources))
        .await
        .expect("it is updated");
    assert_eq!(read(), (96 << 20).to_string());
    assert_ne!(
        code(bed.caller().tasks().update(request("nonsense".into())).await),
        Code::Ok
    );
    assert_eq!(read(), (96 << 20).to_string());
    one.end().await;
}

/// criu is not there, or does not start. The task runs on.
pub async fn checkpoint_fails(bed: Arc<Bed>) {
    let one = Container::run(&bed, "checkpoint", "sleep 1000").await;
    let request = pb::CheckpointTaskRequest {
        container_id: one.id.clone(),
        ..pb::CheckpointTaskRequest::default()
    };
    let failed = bed.caller().tasks().checkpoint(request).await.expect_err("no criu");
    // Ours makes none without runc, and says so.
    assert!(matches!(failed.code(), Code::Unknown | Code::Unimplemented), "{failed}");
    until("it runs on", || async {
        let process = one.process(None).await.ok()?;
        (process.status() == State::Running).then_some(())
    })
    .await;
    one.end().await;
}

/// runc's shim of 1.6 has no code of its own for what newer ones and ours call a failed precondition.
fn is_refusal(code: Code) -> bool {
    matches!(code, Code::FailedPrecondition | Code::Unknown)
}

pub async fn delete_of_a_running_task_refused(bed: Arc<Bed>) {
    let one = Container::run(&bed, "running", "sleep 1000").await;
    let refused = code(one.delete().await);
    assert!(is_refusal(refused), "{refused}");
    assert_eq!(one.process(None).await.expect("it is there").status(), State::Running);
    one.end().await;
}

pub async fn exec_after_exit(bed: Arc<Bed>) {
    let one = Container::run(&bed, "late", "exit 0").await;
    assert_eq!(one.wait(None).await, 0);
    one.is(State::Stopped).await;
    let added = one.exec("e1", "true", &Stdio::default(), false).await;
    let started = match added {
        Ok(()) => one.start(Some("e1")).await.map(drop),
        Err(status) => Err(status),
    };
    let refused = code(started);
    assert!(is_refusal(refused), "{refused}");
    one.end().await;
}

pub async fn events_in_order(bed: Arc<Bed>) {
    let one = Container::run(&bed, "events", "sleep 1000").await;
    one.exec("e1", "sleep 1000", &Stdio::default(), false)
        .await
        .expect("it is added");
    one.start(Some("e1")).await.expect("it starts");
    one.exec("e2", "exit 4", &Stdio::default(), false)
        .await
        .expect("it is added");
    one.start(Some("e2")).await.expect("it starts");
    assert_eq!(one.wait(Some("e2")).await, 4);
    // The first process takes the other exec with it, and is told of last.
    one.kill(None, 9, false).await.expect("it is killed");
    assert_eq!(one.wait(None).await, 137);
    one.delete().await.expect("it is deleted");
    one.forget().await;
    let told = one.told_to_the_end().await;
    let at = |what: &str, id: &str| {
        let found = told.iter().position(|one| one.what == what && one.id == id);
        found.unwrap_or_else(|| panic!("no {what} of {id:?} in {told:?}"))
    };
    let rising = |places: &[usize]| assert!(places.is_sorted_by(|a, b| a < b), "{told:?}");
    rising(&[at("create", ""), at("start", ""), at("exit", ""), at("delete", "")]);
    for id in ["e1", "e2"] {
        rising(&[
            at("exec-added", id),
            at("exec-started", id),
            at("exit", id),
            at("exit", ""),
        ]);
    }
    let once = told.iter().filter(|one| one.what == "exit").count();
    assert_eq!(once, 3, "{told:?}");
    assert_eq!(told[at("exit", "e2")].status, 4);
}

pub async fn memory_kill_is_told_first(bed: Arc<Bed>) {
    let make = Make {
        memory: 24 << 20,
        ..Make::default()
    };
    let one = Container::with(&bed, "oom", "exec dd if=/dev/zero of=/dev/null bs=200M count=1", make).await;
    one.create(&Stdio::default()).await.expect("a task");
    one.start(None).await.expect("it starts");
    assert_eq!(one.wait(None).await, 137);
    one.delete().await.expect("it is deleted");
    one.forget().await;
    let told = one.told_to_the_end().await;
    let place = |what: &str| told.iter().position(|one: &Told| one.what == what);
    // Debian's shim for runc does not always hear of it, or not in time; ours does.
    let foreign = bed.runtime == "io.containerd.runc.v2";
    let in_time = place("oom").is_some() && place("oom") < place("exit");
    assert!(place("exit").is_some() && (foreign || in_time), "{told:?}");
}

/// Two containers of a group share a shim, and the end of one is not that of the other.
pub async fn grouped(bed: Arc<Bed>) {
    let make = Make {
        annotations: [("io.containerd.runc.v2.group".to_owned(), "together".to_owned())].into(),
        ..Make::default()
    };
    let (none, mut shims) = (Stdio::default(), Vec::new());
    let one = Container::with(&bed, "first", "sleep 1000", make.clone()).await;
    let two = Container::with(&bed, "other", "sleep 1000", make).await;
    for container in [&one, &two] {
        let pid = container.create(&none).await.expect("a task");
        container.start(None).await.expect("it starts");
        shims.push(crate::death::parent(pid));
    }
    assert_eq!(shims[0], shims[1], "they share a shim");
    one.kill(None, 9, false).await.expect("it is killed");
    assert_eq!(one.wait(None).await, 137);
    one.delete().await.expect("it is deleted");
    one.forget().await;
    assert_eq!(two.process(None).await.expect("it is there").status(), State::Running);
    two.exec("e1", "exit 6", &none, false).await.expect("it is added");
    two.start(Some("e1")).await.expect("it starts");
    assert_eq!(two.wait(Some("e1")).await, 6);
    two.end().await;
}
