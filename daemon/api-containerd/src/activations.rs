//! containerd.services.mounts.v1: mounts kept on a client's behalf. There are none here: a client that is told so mounts what
//! a snapshot gives it by itself, which all of our snapshots allow.

use crate::Door;
use crate::call::{Answer, refuse};
use crate::page::Pages;
use gantry_core::{Error, ErrorKind};
use gantry_proto_containerd::services::mounts::v1 as pb;
use tonic::{Request, Status};

fn unserved(method: &str) -> Status {
    let text = format!("{method} of mounts is not served: mount them directly");
    refuse(Error::new(ErrorKind::Unimplemented, text))
}

#[tonic::async_trait]
impl pb::mounts_server::Mounts for Door {
    async fn activate(&self, _: Request<pb::ActivateRequest>) -> Answer<pb::ActivateResponse> {
        Err(unserved("Activate"))
    }

    async fn deactivate(&self, _: Request<pb::DeactivateRequest>) -> Answer<()> {
        Err(unserved("Deactivate"))
    }

    async fn info(&self, _: Request<pb::InfoRequest>) -> Answer<pb::InfoResponse> {
        Err(unserved("Info"))
    }

    async fn update(&self, _: Request<pb::UpdateRequest>) -> Answer<pb::UpdateResponse> {
        Err(unserved("Update"))
    }

    type ListStream = Pages<pb::ListMessage>;

    async fn list(&self, _: Request<pb::ListRequest>) -> Answer<Self::ListStream> {
        Err(unserved("List"))
    }
}
