//! Events: told in order, kept for a daemon that is away, memory kills before the exit.

use crate::bed::*;
use gantry_proto_shim::{
    Envelope, Events, api::ForwardRequest, create_events, protobuf::well_known_types::empty::Empty, ttrpc,
};
use std::sync::{Arc, Mutex};

/// A daemon's ear.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Envelope>>>);

#[async_trait::async_trait]
impl Events for Ear {
    async fn forward(&self, _: &ttrpc::r#async::TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        self.0.lock().unwrap().push(request.envelope.unwrap());
        Ok(Empty::new())
    }
}

impl Ear {
    async fn listen(&self, address: &str) -> ttrpc::r#async::Server {
        let server = ttrpc::r#async::Server::new().bind(address).unwrap();
        let mut server = server.register_service(create_events(Arc::new(self.clone())));
        server.start().await.unwrap();
        server
    }

    fn topics(&self) -> Vec<String> {
        let heard = self.0.lock().unwrap();
        heard
            .iter()
            .map(|one| one.topic.trim_start_matches("/tasks/").to_owned())
            .collect()
    }

    async fn hear(&self, topic: &str) {
        until(topic, || self.topics().iter().any(|one| one == topic)).await;
    }
}

#[test]
fn news_wait_on_disk_for_a_daemon_that_is_away() {
    runtime().block_on(async {
        let bed = Bed::told(&["true"], |_| {}, true).await;
        bed.run().await;
        assert_eq!(bed.wait("").await, 0);
        let spool = bed.path("state").join("events.spool");
        until("what nobody takes is on disk", || {
            std::fs::metadata(&spool).is_ok_and(|found| found.len() > 0)
        })
        .await;
        let ear = Ear::default();
        let mut server = ear.listen(&bed.events_socket()).await;
        ear.hear("exit").await;
        until("nothing waits", || !spool.exists()).await;
        assert_eq!(ear.topics(), ["create", "start", "exit"]);
        // Away again, and the shim with its last news is told to go.
        server.shutdown().await.unwrap();
        std::fs::remove_file(bed.path("events.sock")).unwrap();
        bed.delete("").await.unwrap();
        let pid = bed.pid_of_shim();
        bed.shutdown().await;
        until("it has noticed", || spool.exists()).await;
        let mut server = ear.listen(&bed.events_socket()).await;
        ear.hear("delete").await;
        assert_eq!(ear.topics(), ["create", "start", "exit", "delete"]);
        until("the shim has ended", || {
            !std::path::Path::new(&format!("/proc/{pid}/root")).exists()
        })
        .await;
        server.shutdown().await.unwrap();
    });
}

#[test]
fn a_memory_kill_is_told_before_the_exit_and_execs_end_first() {
    runtime().block_on(async {
        let script = "dd if=/dev/zero of=/dev/null bs=300M count=1; exec sleep 100";
        let bed = Bed::told(&["/bin/sh", "-c", script], |_| {}, true).await;
        let ear = Ear::default();
        let mut server = ear.listen(&bed.events_socket()).await;
        bed.run().await;
        bed.exec("e", "exec sleep 100", "", false).await;
        bed.start_exec("e").await.unwrap();
        ear.hear("oom").await;
        assert!(!ear.topics().contains(&"exit".to_owned()), "{:?}", ear.topics());
        bed.kill("", libc::SIGKILL).await.unwrap();
        bed.wait("").await;
        bed.delete("").await.unwrap();
        ear.hear("delete").await;
        let (topics, heard) = (ear.topics(), ear.0.lock().unwrap().clone());
        assert_eq!(topics.iter().filter(|one| *one == "oom").count(), 1, "{topics:?}");
        let ends: Vec<String> = heard
            .iter()
            .filter(|one| one.topic == "/tasks/exit")
            .map(|one| {
                use gantry_proto_shim::{protobuf::Message, task_events::task::TaskExit};
                TaskExit::parse_from_bytes(&one.event.value).unwrap().id
            })
            .collect();
        assert_eq!(ends, ["e".to_owned(), bed.id.clone()], "{topics:?}");
        server.shutdown().await.unwrap();
    });
}
