//! What is spoken to a shim over ttrpc: containerd's task API, versions 2 and 3 (one set of messages, two service names), and our own
//! `gantry.shim.v1.Extras` with the `CreateOptions` that travel in a task's Create.
//!
//! It never decides anything and opens nothing.
//!
//! The one flow: a shim hands [`task_services`] and [`extras_service`] to a ttrpc server; a daemon wraps a connected
//! ttrpc client in a [`TaskClient`] for the version the shim said, and in an [`ExtrasClient`] where the shim is ours.

mod client;

pub use client::{TaskClient, TaskVersion};
pub use containerd_shim_protos::{
    api, bootstrap_api, cgroups, cgroups_v2, events as task_events, sandbox_api,
    sandbox_async::{Sandbox, SandboxClient, create_sandbox},
    shim::event::Envelope,
    shim::oci as runc_options,
    shim_async::{Events, EventsClient, Task, create_events},
    topics,
    types::introspection,
};
pub use extras_ttrpc::{Extras, ExtrasClient, create_extras};
pub use protobuf;
pub use ttrpc;

use std::{collections::HashMap, sync::Arc};

/// Messages of `proto/extras.proto`.
#[allow(
    warnings,
    clippy::all,
    clippy::unwrap_used,
    clippy::wildcard_imports,
    reason = "generated"
)]
#[rustfmt::skip]
pub mod extras {
    include!(concat!(env!("OUT_DIR"), "/extras.rs"));
}

#[allow(
    warnings,
    clippy::all,
    clippy::unwrap_used,
    clippy::wildcard_imports,
    reason = "generated"
)]
#[rustfmt::skip]
mod extras_ttrpc {
    use protobuf::well_known_types::empty;
    include!(concat!(env!("OUT_DIR"), "/extras_ttrpc.rs"));
}

/// `type_url` of [`extras::CreateOptions`] in an Any: a bare name, as containerd's are.
pub const CREATE_OPTIONS_TYPE: &str = "gantry.shim.v1.CreateOptions";
/// `type_url` of [`extras::Failure`] in a status' details.
pub const FAILURE_TYPE: &str = "gantry.shim.v1.Failure";
/// `type_url` of [`extras::EventsLost`], and its topic.
pub const EVENTS_LOST_TYPE: &str = "gantry.shim.v1.EventsLost";
pub const EVENTS_LOST_TOPIC: &str = "/gantry/events-lost";
/// `type_url` of the JSON text of an OCI process, in ExecProcessRequest.spec.
pub const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// `type_url` of the JSON text of OCI resources, in UpdateTaskRequest.resources.
pub const RESOURCES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
/// `type_url` of `api`'s cgroup v1 metrics in StatsResponse.
pub const METRICS_V1_TYPE: &str = "io.containerd.cgroups.v1.Metrics";
/// `type_url` of the cgroup v2 metrics in StatsResponse.
pub const METRICS_V2_TYPE: &str = "io.containerd.cgroups.v2.Metrics";

/// One handler under both names of the task service.
pub fn task_services(task: Arc<dyn Task + Send + Sync>) -> HashMap<String, ttrpc::r#async::Service> {
    let mut services = HashMap::with_capacity(2);
    for version in [TaskVersion::V2, TaskVersion::V3] {
        let made = containerd_shim_protos::shim_async::create_task(task.clone());
        services.extend(
            made.into_values()
                .map(|service| (version.service().to_owned(), service)),
        );
    }
    services
}

/// The sandbox service for a ttrpc server.
pub fn sandbox_service(sandbox: Arc<dyn Sandbox + Send + Sync>) -> HashMap<String, ttrpc::r#async::Service> {
    create_sandbox(sandbox)
}

/// The extras service for a ttrpc server.
pub fn extras_service(extras: Arc<dyn Extras + Send + Sync>) -> HashMap<String, ttrpc::r#async::Service> {
    create_extras(extras)
}

/// An Any with a bare type name.
pub fn any(type_url: &str, value: Vec<u8>) -> protobuf::well_known_types::any::Any {
    protobuf::well_known_types::any::Any {
        type_url: type_url.to_owned(),
        value,
        ..Default::default()
    }
}

/// Whether an Any bears this type, with or without a host before it.
pub fn is_type(any: &protobuf::well_known_types::any::Any, type_url: &str) -> bool {
    any.type_url == type_url
        || any
            .type_url
            .strip_suffix(type_url)
            .is_some_and(|host| host.ends_with('/'))
}

/// The kind of failure a shim named in its answer, if it did.
pub fn failure_kind(error: &ttrpc::Error) -> Option<extras::failure::Kind> {
    let ttrpc::Error::RpcStatus(status) = error else {
        return None;
    };
    let detail = status.details.iter().find(|detail| detail.type_url == FAILURE_TYPE)?;
    let failure: extras::Failure = protobuf::Message::parse_from_bytes(&detail.value).ok()?;
    failure.kind.enum_value().ok()
}
