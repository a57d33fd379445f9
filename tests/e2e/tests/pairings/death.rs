//! A daemon, or a shim, that is killed.

use crate::bed::{Bed, code, until};
use crate::container::{Container, Stdio};
use gantry_proto_containerd::containerd::v1::types::Status as State;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::Arc;
use tonic::Code;

/// The parent of a task's first process: its shim.
pub fn parent(pid: u32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let after = stat.rsplit(')').next().expect("a name in brackets");
    let parent = after.split_whitespace().nth(1).expect("a parent");
    parent.parse().expect("a pid")
}

fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next());
    state.is_some_and(|state| state != 'Z')
}

pub async fn daemon_dies_task_runs(bed: Arc<Bed>) {
    let one = Container::make(&bed, "survivor", "while read x; do echo got $x; done; exit 5").await;
    let stdio = Stdio::pipes(&one.dir, "init", true);
    let pid = one.create(&stdio).await.expect("a task");
    one.start(None).await.expect("it starts");
    stdio.send("one\n").await;
    stdio.prints("got one\n").await;
    bed.kill_daemon();
    stdio.send("two\n").await;
    stdio.prints("got two\n").await;
    bed.start_daemon().await;
    one.is(State::Running).await;
    assert_eq!(one.process(None).await.expect("it is there").pid, pid);
    one.exec("e1", "exit 6", &Stdio::default(), false)
        .await
        .expect("it is added");
    one.start(Some("e1")).await.expect("it starts");
    assert_eq!(one.wait(Some("e1")).await, 6);
    stdio.send("three\n").await;
    stdio.prints("got three\n").await;
    stdio.hang_up();
    one.close_stdin(None).await.expect("stdin is closed");
    assert_eq!(one.wait(None).await, 5);
    assert_eq!(one.delete().await.expect("it is deleted").exit_status, 5);
    one.forget().await;
    one.told_to_the_end().await;
}

/// Shown as stopped with its code; containerd 1.6 lets it go instead. Never as running, and nothing of it stays.
pub async fn daemon_dies_task_ends(bed: Arc<Bed>) {
    let one = Container::run(&bed, "ended", "sleep 1000").await;
    let pid = one.process(None).await.expect("it is there").pid;
    bed.kill_daemon();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).expect("it is signalled");
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).expect("it is killed");
    until("it is dead", || async { (!lives(pid.cast_signed())).then_some(()) }).await;
    bed.start_daemon().await;
    let found = until("the end is known", || async {
        match one.process(None).await {
            Ok(found) if found.status() == State::Stopped => Some(Some(found)),
            Err(status) if status.code() == Code::NotFound => Some(None),
            _ => None,
        }
    })
    .await;
    match found {
        Some(found) => {
            assert_eq!(found.exit_status, 137);
            assert_eq!(one.wait(None).await, 137);
            assert_eq!(one.delete().await.expect("it is deleted").exit_status, 137);
        }
        None => assert!(!bed.ours, "ours does not forget it"),
    }
    if bed.ours {
        let told = one.told_to_the_end().await;
        // The daemon tells it as soon as it knows, perhaps before anybody listens again.
        let wrong = told.iter().any(|one| one.what == "exit" && one.status != 137);
        assert!(!wrong, "{told:?}");
    }
    one.forget().await;
}

/// The task ends as one whose end nobody knows, everyone is told, and nothing of it is left.
pub async fn shim_dies(bed: Arc<Bed>) {
    let one = Container::run(&bed, "orphan", "sleep 1000 & sleep 1000").await;
    let pid = one.process(None).await.expect("it is there").pid;
    let shim = parent(pid);
    let waiting = {
        let (bed, id) = (bed.clone(), one.id.clone());
        tokio::spawn(async move {
            let request = gantry_proto_containerd::services::tasks::v1::WaitRequest {
                container_id: id,
                ..Default::default()
            };
            bed.caller().tasks().wait(request).await
        })
    };
    kill(Pid::from_raw(shim), Signal::SIGKILL).expect("the shim is killed");
    let told = one.told_to_the_end().await;
    let exits: Vec<u32> = told
        .iter()
        .filter(|one| one.what == "exit")
        .map(|one| one.status)
        .collect();
    assert!(matches!(exits[..], [137 | 255]), "{told:?}");
    let waited = tokio::time::timeout(crate::bed::LIMIT, waiting)
        .await
        .expect("who waits is answered");
    if let Ok(answer) = waited.expect("it does not panic") {
        assert!(matches!(answer.into_inner().exit_status, 137 | 255));
    } else {
        assert!(!bed.ours, "ours tells who waits");
    }
    until("nothing is left of it", || async {
        let gone = code(one.process(None).await) == Code::NotFound;
        (gone && !lives(pid.cast_signed()) && !bed.bundle(&one.id).exists()).then_some(())
    })
    .await;
    // The name is free.
    one.create(&Stdio::default()).await.expect("a task");
    one.start(None).await.expect("it starts");
    one.end().await;
}
