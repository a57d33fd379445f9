//! grpc.health.v1: whether the services are there. Whoever gets an answer at all reaches them all, so it never changes.

use crate::call::{Answer, refuse};
use futures::stream::{self, BoxStream, StreamExt};
use gantry_core::Error;
use gantry_proto_containerd::grpc::health::v1 as pb;
use pb::health_check_response::ServingStatus;
use pb::health_server::HealthServer;
use std::collections::BTreeSet;
use tonic::{Request, Response, Status};

/// The service that answers for all of these; `""` is the daemon as a whole.
pub fn health(served: impl IntoIterator<Item = &'static str>) -> HealthServer<Health> {
    HealthServer::new(Health {
        served: served.into_iter().collect(),
    })
}

pub struct Health {
    served: BTreeSet<&'static str>,
}

fn said(status: ServingStatus) -> pb::HealthCheckResponse {
    pb::HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl pb::health_server::Health for Health {
    async fn check(&self, request: Request<pb::HealthCheckRequest>) -> Answer<pb::HealthCheckResponse> {
        match self.served.contains(request.get_ref().service.as_str()) {
            true => Ok(Response::new(said(ServingStatus::Serving))),
            false => Err(refuse(Error::not_found("unknown service"))),
        }
    }

    async fn list(&self, _: Request<pb::HealthListRequest>) -> Answer<pb::HealthListResponse> {
        let each = self
            .served
            .iter()
            .map(|name| ((*name).to_owned(), said(ServingStatus::Serving)));
        Ok(Response::new(pb::HealthListResponse {
            statuses: each.collect(),
        }))
    }

    type WatchStream = BoxStream<'static, Result<pb::HealthCheckResponse, Status>>;

    /// One answer, and then none for as long as the daemon lives. What is not known may be known to its successor.
    async fn watch(&self, request: Request<pb::HealthCheckRequest>) -> Answer<Self::WatchStream> {
        let status = match self.served.contains(request.get_ref().service.as_str()) {
            true => ServingStatus::Serving,
            false => ServingStatus::ServiceUnknown,
        };
        let first = stream::once(std::future::ready(Ok(said(status))));
        Ok(Response::new(first.chain(stream::pending()).boxed()))
    }
}
