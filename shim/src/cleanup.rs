//! `delete`: what a bundle names is ended and removed without its shim, which is dead or never came up.

use crate::{
    args::Args,
    cgroup::Cgroups,
    child::{mounts, undo},
    durable,
    task::timestamp,
};
use gantry_proto_shim::{
    api::DeleteResponse,
    protobuf::{Message, MessageField, well_known_types::timestamp::Timestamp},
};
use gantry_shim_protocol::{BundleState, ExitRecord, bundle, exit_file_name, parse_rfc3339};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

/// Cleans up and prints a `DeleteResponse`.
pub fn delete(args: &Args) -> io::Result<()> {
    let bundle = if args.bundle.is_empty() {
        std::env::current_dir()?
    } else {
        PathBuf::from(&args.bundle)
    };
    let state: BundleState = fs::read(bundle.join(bundle::STATE))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let dir = bundle.join(bundle::RUNTIME);
    if !state.id.is_empty() {
        let this_boot = state.boot_id == durable::boot_id();
        let cgroups = Cgroups::from_paths(&state.cgroups);
        undo::kill_leftovers(state.pid, if this_boot { state.start_time } else { 0 }, &cgroups);
        if state.runtime.is_empty() {
            let _ = undo::delete(&state.id, &bundle, &dir, &cgroups);
        } else {
            let mut command = Command::new(&state.runtime);
            command
                .arg("--root")
                .arg(if state.runtime_root.is_empty() {
                    dir.join("state")
                } else {
                    PathBuf::from(&state.runtime_root)
                })
                .args(["delete", "--force", &state.id]);
            let _ = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            cgroups.remove(Duration::from_secs(2))?;
        }
    }
    if state.id.is_empty() && !args.id.is_empty() {
        // The shim died while it was creating.
        let _ = undo::undo(&args.id, &bundle, &dir);
    }
    mounts::unmount_all(&bundle.join(bundle::ROOTFS));
    let _ = fs::remove_dir_all(&dir);
    remove_sockets(&bundle);
    let (exit_status, exited_at) = ended(&bundle, &state);
    let response = DeleteResponse {
        pid: state.pid,
        exit_status,
        exited_at: MessageField::some(exited_at),
        ..Default::default()
    };
    io::stdout().write_all(&response.write_to_bytes().map_err(io::Error::other)?)
}

/// How the container ended: as its shim wrote down, or else by us, now.
fn ended(bundle: &Path, state: &BundleState) -> (u32, Timestamp) {
    let record = fs::read(bundle.join(exit_file_name(None))).ok();
    let record = record.and_then(|text| serde_json::from_slice::<ExitRecord>(&text).ok());
    let known = record.filter(|record| record.pid == state.pid && record.boot_id == state.boot_id);
    let at = known.as_ref().and_then(|record| parse_rfc3339(&record.exited_at));
    match (known, at) {
        (Some(record), Some((seconds, nanos))) => {
            let at = Timestamp {
                seconds,
                nanos: nanos as i32,
                ..Default::default()
            };
            (record.status, at)
        }
        _ => (128 + libc::SIGKILL as u32, timestamp(SystemTime::now())),
    }
}

/// Sockets on which nobody listens any more.
fn remove_sockets(bundle: &Path) {
    let address = fs::read_to_string(bundle.join(bundle::ADDRESS)).unwrap_or_default();
    let attach = fs::read_to_string(bundle.join(bundle::ATTACH)).unwrap_or_default();
    for path in [address.trim().trim_start_matches("unix://"), attach.trim()] {
        if !path.is_empty() && std::os::unix::net::UnixStream::connect(path).is_err() {
            let _ = fs::remove_file(path);
        }
    }
}
