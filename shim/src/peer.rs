//! What containerd's own shim, with runc, says of a failure. Its clients know no other words (they look for "executable file not found", and show
//! the rest to people), so containers of clients are answered in them; gantryd, which drives its own containers, hears more.
//!
//! From containerd 1.6: pkg/process/init_state.go and exec_state.go, pkg/process/utils.go, runtime/v2/runc/task/service.go; and runc 1.1.

use crate::shim::Phase;

/// Whether a call is for the first process of a container, or for an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Init,
    Exec,
}

fn state(phase: Phase, paused: bool) -> &'static str {
    match phase {
        Phase::Added | Phase::Creating | Phase::Created | Phase::Starting => "created",
        Phase::Running if paused => "paused",
        Phase::Running => "running",
        Phase::Stopped => "stopped",
    }
}

/// A pause that cannot be: of a container that stands still, has ended, or has not begun.
pub fn pause(phase: Phase, paused: bool) -> String {
    match state(phase, paused) {
        "created" => "cannot pause task in created state".to_owned(),
        state => format!("cannot pause a {state} container"),
    }
}

pub fn resume(phase: Phase, paused: bool) -> String {
    match state(phase, paused) {
        "created" => "cannot resume task in created state".to_owned(),
        "running" => "cannot resume a running process".to_owned(),
        state => format!("cannot resume a {state} container"),
    }
}

pub fn checkpoint(phase: Phase) -> String {
    match state(phase, false) {
        "created" => "cannot checkpoint a task in created state".to_owned(),
        state => format!("cannot checkpoint a {state} container"),
    }
}

pub fn exec(phase: Phase, paused: bool) -> String {
    format!("cannot exec in a {} state", state(phase, paused))
}

pub fn start(phase: Phase, paused: bool) -> String {
    format!("cannot start a {} process", state(phase, paused))
}

pub fn delete(phase: Phase, paused: bool) -> String {
    format!("cannot delete a {} process", state(phase, paused))
}

/// A signal that the kernel knows nothing of.
pub fn bad_signal(of: Of) -> &'static str {
    match of {
        Of::Init => {
            "unknown error after kill: runc did not terminate successfully: exit status 1: unable to signal init: invalid argument\n"
        }
        Of::Exec => "exec kill error: unknown error after kill: invalid argument",
    }
}

/// A process that the built-in runtime could not make.
pub fn not_made(of: Of, why: &str) -> String {
    let deed = match of {
        Of::Init => "OCI runtime create failed: runc create failed",
        Of::Exec => "OCI runtime exec failed: exec failed",
    };
    format!("{deed}: unable to start container process: {why}")
}

/// A process that a runtime program could not make, in its own words.
pub fn program_failed(of: Of, said: &str) -> String {
    match of {
        Of::Init => format!("OCI runtime create failed: {said}"),
        Of::Exec => format!("OCI runtime exec failed: {said}"),
    }
}

/// A checkpoint where criu is not to be found.
pub fn no_criu(log: &std::path::Path) -> String {
    let log = log.display();
    format!(
        "runc did not terminate successfully: exit status 1: CRIU version check failed: exec: \"criu\": executable file not found in $PATH path= {log}"
    )
}
