//! The generated messages and clients: made by a program, of which this host uses a part.
#![allow(clippy::all, dead_code)]

pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

pub use etcdserverpb::*;
pub use mvccpb::{KeyValue, event::EventType};
