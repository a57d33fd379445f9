//! The generated messages and clients.
#![allow(clippy::all, dead_code, reason = "generated, and used in part")]

pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

pub use etcdserverpb::*;
pub use mvccpb::{KeyValue, event::EventType};
