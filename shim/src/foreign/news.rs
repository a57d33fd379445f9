//! What other shims tell of their containers comes here and not to the daemon: this shim tells the same itself, in its own order and with
//! its own patience. Only of memory kills do they know more.

use crate::{oom, shim::Shim};
use async_trait::async_trait;
use gantry_proto_shim::{
    Events,
    api::ForwardRequest,
    create_events,
    protobuf::{Message, well_known_types::empty::Empty},
    task_events::task::TaskOOM,
    topics,
    ttrpc::{self, r#async::Service, r#async::TtrpcContext},
};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

struct News(Arc<Shim>);

/// `containerd.services.events.ttrpc.v1.Events`, for a ttrpc server.
pub fn service(shim: Arc<Shim>) -> HashMap<String, Service> {
    create_events(Arc::new(News(shim)))
}

#[async_trait]
impl Events for News {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let envelope = request.envelope.into_option().unwrap_or_default();
        let event = envelope.event.into_option().unwrap_or_default();
        if envelope.topic == topics::TASK_OOM_EVENT_TOPIC
            && let Ok(told) = TaskOOM::parse_from_bytes(&event.value)
        {
            self.memory_kill(&told);
        }
        Ok(Empty::new())
    }
}

impl News {
    fn memory_kill(&self, told: &TaskOOM) {
        let Ok(container) = self.0.container(&told.container_id) else {
            return;
        };
        let Some(foreign) = &container.foreign else { return };
        foreign.oom.store(true, Ordering::Relaxed);
        // Where its memory can be seen from here, it is watched, and told, as any other's.
        if container.cgroups().controller("memory").is_none() {
            container.memory_kills.send_modify(|told| *told += 1);
            self.0
                .events
                .tell(topics::TASK_OOM_EVENT_TOPIC, &oom::event(&container));
        }
    }
}
