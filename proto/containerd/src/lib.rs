//! containerd's API on the wire: messages, clients and servers generated from the .proto files beside this crate, which
//! state the packages, names and numbers of containerd's API 1.12 (and so of every earlier one: nothing was renumbered).
//!
//! It never decides anything. Modules mirror the packages; [`any`] and [`time`] hold the two conventions that the files
//! cannot say: how a message names itself in an Any, and how an unset time is written.
//!
//! The one flow: a door implements `services::content::v1::content_server::Content` and its siblings, a client takes
//! `content_client::ContentClient`, both of them set [`MAX_MESSAGE`].

pub mod any;
pub mod time;

/// The message limit of containerd's clients and servers, both ways, in bytes.
pub const MAX_MESSAGE: usize = 16 << 20;

/// An encoded `google.protobuf.FileDescriptorSet` of every file here and of what they import.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Modules of the generated code, nested as packages are: the generated paths count on it.
macro_rules! package {
    ($name:ident = $package:literal) => {
        pub mod $name {
            #![allow(clippy::all, clippy::pedantic, reason = "generated")]
            tonic::include_proto!($package);
        }
    };
}

pub mod containerd {
    package!(events = "containerd.events");

    pub mod runc {
        package!(v1 = "containerd.runc.v1");
    }

    pub mod types {
        #![allow(clippy::all, clippy::pedantic, reason = "generated")]
        tonic::include_proto!("containerd.types");
        package!(transfer = "containerd.types.transfer");
    }

    pub mod v1 {
        package!(types = "containerd.v1.types");
    }

    macro_rules! services {
        ($($name:ident = $package:literal;)*) => {
            pub mod services {
                $(pub mod $name {
                    package!(v1 = $package);
                })*
            }
        };
    }

    services! {
        containers = "containerd.services.containers.v1";
        content = "containerd.services.content.v1";
        diff = "containerd.services.diff.v1";
        events = "containerd.services.events.v1";
        images = "containerd.services.images.v1";
        introspection = "containerd.services.introspection.v1";
        leases = "containerd.services.leases.v1";
        mounts = "containerd.services.mounts.v1";
        namespaces = "containerd.services.namespaces.v1";
        sandbox = "containerd.services.sandbox.v1";
        snapshots = "containerd.services.snapshots.v1";
        streaming = "containerd.services.streaming.v1";
        tasks = "containerd.services.tasks.v1";
        transfer = "containerd.services.transfer.v1";
        version = "containerd.services.version.v1";
    }
}

pub mod io {
    pub mod containerd {
        pub mod cgroups {
            package!(v1 = "io.containerd.cgroups.v1");
            package!(v2 = "io.containerd.cgroups.v2");
        }
    }
}

pub mod runtimeoptions {
    package!(v1 = "runtimeoptions.v1");
}

pub mod google {
    package!(rpc = "google.rpc");
}

pub mod grpc {
    pub mod health {
        package!(v1 = "grpc.health.v1");
    }
}

pub use containerd::{events, runc, services, types};
pub use prost;
pub use prost_types;

#[cfg(test)]
mod tests;
