//! The same container tests whoever is the daemon and whoever is the shim: (gantryd, Debian's containerd) by
//! (`io.containerd.gantry.v1`, `io.containerd.runc.v2`). What one pairing answers, all answer.

mod bed;
mod container;
mod death;
mod life;
mod streams;

use bed::Bed;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

const OURS: &str = "io.containerd.gantry.v1";
const THEIRS: &str = "io.containerd.runc.v2";

type Play = fn(Arc<Bed>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! scenarios {
    ($($module:ident: $($name:ident)*;)*) => {
        const SCENARIOS: &[(&str, Play)] = &[
            $($((stringify!($name), |bed| Box::pin($module::$name(bed))),)*)*
        ];
    };
}

scenarios! {
    life: exit_code second_create_refused unknown_task exec exec_twice_refused kill_and_signals kill_all pause_and_resume
        list_pids metrics update checkpoint_fails delete_of_a_running_task_refused exec_after_exit events_in_order
        memory_kill_is_told_first grouped;
    streams: output stdin_and_close null terminal exec_terminal file logger;
    death: daemon_dies_task_runs daemon_dies_task_ends shim_dies;
}

/// All of them, one after another on one daemon; those that fail are told together.
fn play(ours: bool, runtime: &'static str) {
    let only = std::env::var("GANTRY_SCENARIO").unwrap_or_default();
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let bed = tokio.block_on(async { Arc::new(Bed::make(ours, runtime).await) });
    let (mut good, mut bad) = (0, Vec::new());
    for (name, scenario) in SCENARIOS.iter().filter(|(name, _)| name.contains(&only)) {
        eprintln!("{}: {name}", bed.name());
        let play = async { tokio::time::timeout(4 * bed::LIMIT, scenario(bed.clone())).await };
        let played = std::panic::catch_unwind(AssertUnwindSafe(|| tokio.block_on(play)));
        match played {
            Ok(Ok(())) => good += 1,
            _ => bad.push(*name),
        }
    }
    println!("{}: {good} of {} scenarios", bed.name(), good + bad.len());
    let left = tokio.block_on(bed.close(!bad.is_empty()));
    assert!(bad.is_empty(), "failed: {bad:?}");
    assert!(left.is_empty(), "left:\n{}", left.join("\n"));
}

#[test]
fn gantryd_with_our_shim() {
    play(true, OURS);
}

#[test]
fn gantryd_with_runcs_shim() {
    play(true, THEIRS);
}

#[test]
fn containerd_with_our_shim() {
    play(false, OURS);
}

#[test]
fn containerd_with_runcs_shim() {
    play(false, THEIRS);
}
