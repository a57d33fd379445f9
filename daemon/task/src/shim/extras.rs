//! What only our own shim offers: how processes ended, where to attach, the log, descriptors kept for the daemon.

use super::{Shim, lock, name};
use crate::error::Result;
use crate::words::{Exit, moment};
use gantry_core::ExecId;
use gantry_proto_shim::extras;
use std::path::PathBuf;
use std::time::SystemTime;
use ttrpc::context::Context;

impl Shim {
    /// Whether a process that has ended was a memory kill's, and how many its container's run saw.
    pub(super) async fn memory_end(&self, exec: Option<&ExecId>) -> (bool, u64) {
        let exec = name(exec);
        let exits = self.exits().await.unwrap_or_default();
        let mut exits = exits.iter();
        let its = exits.find(|(of, _)| of.as_deref().unwrap_or_default() == exec);
        its.map_or((false, 0), |(_, exit)| (exit.oom, exit.memory_kills))
    }

    /// Every end the shim knows of: the task's own under `None`, and its execs'.
    pub async fn exits(&self) -> Result<Vec<(Option<String>, Exit)>> {
        let mut request = extras::ContainerRequest::new();
        request.id = self.key().to_owned();
        let client = self.link().extras;
        let known = self
            .brief("ask the exits of", client.exits(Context::default(), &request))
            .await?;
        let exit = |exit: extras::ProcessExit| {
            let at = exit.exited_at.as_ref().map_or_else(SystemTime::now, moment);
            let exec = (!exit.exec_id.is_empty()).then_some(exit.exec_id);
            (
                exec,
                Exit {
                    oom: exit.oom_killed,
                    memory_kills: exit.memory_kills,
                    ..Exit::new(exit.status, at)
                },
            )
        };
        Ok(known.exits.into_iter().map(exit).collect())
    }

    /// Where clients attach to the container's processes.
    pub async fn attach_socket(&self) -> Result<PathBuf> {
        if let Some(known) = lock(&self.inner.attach).clone() {
            return Ok(known);
        }
        let client = self.link().extras;
        let empty = gantry_proto_shim::protobuf::well_known_types::empty::Empty::new();
        let endpoint = self
            .brief("ask the attach socket of", client.endpoint(Context::default(), &empty))
            .await?;
        let path = PathBuf::from(endpoint.attach_socket);
        *lock(&self.inner.attach) = Some(path.clone());
        Ok(path)
    }

    /// The attached clients of a process.
    pub async fn attach_state(&self, exec: Option<&ExecId>) -> Result<crate::attach::AttachState> {
        let mut request = extras::ProcessRequest::new();
        request.id = self.key().to_owned();
        request.exec_id = name(exec);
        let client = self.link().extras;
        let state = self
            .brief("ask the clients of", client.attach_state(Context::default(), &request))
            .await?;
        Ok(crate::attach::AttachState::from_wire(state))
    }

    /// Where the log is, and how many bytes of output a full disk has cost.
    pub async fn log_state(&self) -> Result<(PathBuf, u64)> {
        let request = self.container_request();
        let client = self.link().extras;
        let state = self
            .brief("ask the log of", client.log_state(Context::default(), &request))
            .await?;
        Ok((PathBuf::from(state.path), state.lost))
    }

    /// Closes the log file and opens it again by its name.
    pub async fn reopen_log(&self) -> Result<()> {
        let request = self.container_request();
        let client = self.link().extras;
        self.brief("reopen the log of", client.reopen_log(Context::default(), &request))
            .await?;
        Ok(())
    }

    /// Names of the descriptors that the shim keeps for the daemon.
    pub async fn descriptors(&self) -> Result<Vec<String>> {
        let client = self.link().extras;
        let empty = gantry_proto_shim::protobuf::well_known_types::empty::Empty::new();
        let kept = self
            .brief("list descriptors of", client.descriptors(Context::default(), &empty))
            .await?;
        Ok(kept.names)
    }

    /// Has the shim close kept descriptors. Unknown names are fine.
    pub async fn drop_descriptors(&self, names: Vec<String>) -> Result<()> {
        let mut request = extras::DropDescriptorsRequest::new();
        request.names = names;
        let client = self.link().extras;
        self.brief(
            "drop descriptors of",
            client.drop_descriptors(Context::default(), &request),
        )
        .await?;
        Ok(())
    }

    fn container_request(&self) -> extras::ContainerRequest {
        let mut request = extras::ContainerRequest::new();
        request.id = self.key().to_owned();
        request
    }
}
