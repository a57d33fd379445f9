//! Wire types of gantry's gRPC APIs, generated from the .proto files beside this crate. No logic lives here.

/// Our own engine API: what `gantry` speaks.
pub mod gantry {
    pub mod v1 {
        #![allow(clippy::all, clippy::pedantic, reason = "generated")]
        tonic::include_proto!("gantry.v1");
    }
}
