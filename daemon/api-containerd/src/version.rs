//! containerd.services.version.v1.

use crate::Door;
use crate::call::Answer;
use gantry_proto_containerd::services::version::v1 as pb;
use tonic::{Request, Response};

#[tonic::async_trait]
impl pb::version_server::Version for Door {
    async fn version(&self, _: Request<()>) -> Answer<pb::VersionResponse> {
        let about = &self.rooms.about;
        Ok(Response::new(pb::VersionResponse {
            version: about.version.clone(),
            revision: about.revision.clone(),
        }))
    }
}
