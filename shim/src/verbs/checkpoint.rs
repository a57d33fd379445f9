//! Checkpoint: a runtime program has criu write the container's processes down.

use super::create::call;
use crate::{
    child::{self, byname},
    failure::{Failure, Kind, Result, failed},
    foreign,
    io::lock,
    peer,
    shim::{Phase, Runtime, Shim},
};
use gantry_proto_shim::{
    api::CheckpointTaskRequest, is_type, protobuf::Message, runc_options::CheckpointOptions as Options,
};
use std::{path::Path, sync::Arc};

/// What containerd's own shim keeps of criu's log.
const CRIU_LOG: &str = "criu-dump.log";
const OPTIONS_TYPE: &str = "containerd.runc.v1.CheckpointOptions";

/// Writes a container down at the path of the request.
pub async fn checkpoint(shim: &Arc<Shim>, request: &CheckpointTaskRequest) -> Result<()> {
    let container = shim.container(&request.id)?;
    if let Some(foreign) = &container.foreign {
        return foreign::verbs::checkpoint(foreign, request).await;
    }
    let phase = container.init.life().phase;
    if phase != Phase::Running {
        let text = format!("container {} is not running", container.id);
        return Err(Failure::precondition(text).with_peer(peer::checkpoint(phase)));
    }
    let Runtime::Program(program) = &container.runtime else {
        let text = "the built-in runtime makes no checkpoint; name a runtime program, as runc";
        let failure = Failure::new(Kind::Unsupported, text);
        // Without criu there is none under any runtime.
        return Err(match has_criu() {
            true => failure,
            false => failure.with_peer(peer::no_criu(&container.bundle.join(CRIU_LOG))),
        });
    };
    let asked = options(request)?;
    let (dir, image) = (container.dir(), Path::new(&request.path));
    let child = child::spawn(shim, &[], || {
        byname::checkpoint(&call(shim, &container, program, &dir, None), image, &asked)
    })?;
    *lock(&container.helper) = Some(child.pid);
    let done = child.answer::<()>().await;
    lock(&container.helper).take();
    shim.tidy_memory();
    done
}

fn has_criu() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join("criu").is_file())
}

fn options(request: &CheckpointTaskRequest) -> Result<Options> {
    match request.options.as_ref() {
        Some(any) if is_type(any, OPTIONS_TYPE) => {
            Options::parse_from_bytes(&any.value).map_err(failed(Kind::Invalid, "reading the checkpoint options"))
        }
        Some(any) if !any.type_url.is_empty() => Err(Failure::new(
            Kind::Invalid,
            format!("options of type {} are not a checkpoint's", any.type_url),
        )),
        _ => Ok(Options::default()),
    }
}
