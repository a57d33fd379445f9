//! Checkpoint: a runtime program has criu write the container's processes down.

use super::create::call;
use crate::{
    child::{self, byname},
    failure::{Failure, Kind, Result, failed},
    foreign,
    io::lock,
    shim::{Phase, Runtime, Shim},
};
use gantry_proto_shim::{
    api::CheckpointTaskRequest, is_type, protobuf::Message, runc_options::CheckpointOptions as Options,
};
use std::{path::Path, sync::Arc};

const OPTIONS_TYPE: &str = "containerd.runc.v1.CheckpointOptions";

/// Writes a container down at the path of the request.
pub async fn checkpoint(shim: &Arc<Shim>, request: &CheckpointTaskRequest) -> Result<()> {
    let container = shim.container(&request.id)?;
    if let Some(foreign) = &container.foreign {
        return foreign::verbs::checkpoint(foreign, request).await;
    }
    let Runtime::Program(program) = &container.runtime else {
        return Err(Failure::new(
            Kind::Unsupported,
            "the built-in runtime makes no checkpoint; name a runtime program, as runc",
        ));
    };
    if container.init.life().phase != Phase::Running {
        return Err(Failure::precondition(format!(
            "container {} is not running",
            container.id
        )));
    }
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
