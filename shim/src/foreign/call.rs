//! Calls to the other shim. A busy one is waited for; one that does not even say what it does not know is stuck, and is ended.

use super::{Foreign, Link};
use crate::{
    child::byname,
    failure::{Failure, Kind, Result},
};
use gantry_proto_shim::{
    api::{KillRequest, ResizePtyRequest},
    protobuf::well_known_types::empty::Empty,
    ttrpc::{self, Code, context::Context},
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// How long a call is out before it is asked whether anybody is there, and how long that answer may take. Together less than a daemon waits.
const DOUBT: Duration = Duration::from_secs(4);
const ANSWER: Duration = Duration::from_secs(4);
/// The longest call in which runtimes and hooks run.
const WORK: Duration = Duration::from_secs(600);
/// The longest other call.
const BRIEF: Duration = Duration::from_secs(30);

impl Foreign {
    pub(super) fn link(&self) -> Result<&Link> {
        self.link.get().filter(|_| !self.is_dead()).ok_or_else(|| self.gone())
    }

    /// A call that only asks, signals or sets something.
    pub(super) async fn brief<T>(&self, deed: &str, call: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
        self.call(deed, BRIEF, call).await
    }

    /// A call in which hooks and runtimes run.
    pub(super) async fn patient<T>(&self, deed: &str, call: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
        self.call(deed, WORK, call).await
    }

    /// A call that may take for ever.
    pub(super) async fn endless<T>(&self, call: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
        let mut dead = self.dead.subscribe();
        tokio::select! {
            biased;
            answer = call => answer.map_err(failure_of),
            _ = dead.wait_for(|dead| *dead) => Err(self.gone()),
        }
    }

    async fn call<T>(&self, deed: &str, longest: Duration, call: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
        let begun = Instant::now();
        let mut dead = self.dead.subscribe();
        tokio::pin!(call);
        loop {
            tokio::select! {
                biased;
                answer = &mut call => return answer.map_err(failure_of),
                _ = dead.wait_for(|dead| *dead) => return Err(self.gone()),
                () = sleep(DOUBT) => {}
            }
            if !self.answers().await {
                self.put_down();
                return Err(self.gone());
            }
            if begun.elapsed() >= longest {
                let message = format!(
                    "{}: {deed} is not done after {} s",
                    self.describe(),
                    begun.elapsed().as_secs()
                );
                return Err(Failure::new(Kind::Runtime, message));
            }
        }
    }

    /// Whether anybody is there who answers, whatever the answer.
    pub(super) async fn answers(&self) -> bool {
        let Some(link) = self.link.get() else { return false };
        let (mut dead, empty) = (self.dead.subscribe(), Empty::new());
        let answer = tokio::select! {
            answer = timeout(ANSWER, link.extras.info(Context::default(), &empty)) => answer,
            _ = dead.wait_for(|dead| *dead) => return false,
        };
        matches!(answer, Ok(Ok(_) | Err(ttrpc::Error::RpcStatus(_))))
    }

    /// Sends a signal; whether it is taken is seen by what the process does.
    pub fn signal_soon(self: &Arc<Self>, exec: Option<&str>, signal: i32) {
        let (foreign, exec) = (self.clone(), exec.unwrap_or_default().to_owned());
        tokio::spawn(async move { foreign.kill(&exec, signal as u32, false).await });
    }

    pub(super) async fn kill(&self, exec: &str, signal: u32, all: bool) -> Result<()> {
        let request = KillRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            signal,
            all,
            ..Default::default()
        };
        let link = self.link()?;
        self.brief("sending a signal", link.task.kill(Context::default(), &request))
            .await?;
        Ok(())
    }

    /// Sets the size of a terminal, as soon as it is there.
    pub fn resize_soon(self: &Arc<Self>, exec: Option<&str>, height: u16, width: u16) {
        let request = ResizePtyRequest {
            id: self.id.clone(),
            exec_id: exec.unwrap_or_default().to_owned(),
            height: height.into(),
            width: width.into(),
            ..Default::default()
        };
        let foreign = self.clone();
        tokio::spawn(async move {
            let link = foreign.link()?;
            let call = link.task.resize_pty(Context::default(), &request);
            foreign.brief("resizing a terminal", call).await
        });
    }

    pub(super) fn gone(&self) -> Failure {
        Failure::new(Kind::Aborted, format!("{} is gone", self.describe()))
    }

    pub(super) fn describe(&self) -> String {
        format!("shim {} of container {}", self.program.display(), self.id)
    }
}

/// What the other shim says, as if this one said it.
pub(super) fn failure_of(error: ttrpc::Error) -> Failure {
    let ttrpc::Error::RpcStatus(status) = error else {
        return Failure::new(Kind::Runtime, format!("the connection to the shim: {error}"));
    };
    let message = status.message.strip_suffix(": unknown").unwrap_or(&status.message);
    let kind = match status.code.enum_value() {
        Ok(Code::NOT_FOUND) => Kind::NotFound,
        Ok(Code::ALREADY_EXISTS) => Kind::Exists,
        Ok(Code::FAILED_PRECONDITION) => Kind::Precondition,
        Ok(Code::INVALID_ARGUMENT) => Kind::Invalid,
        Ok(Code::UNIMPLEMENTED) => Kind::Unsupported,
        _ => byname::kind_of(message),
    };
    Failure::new(kind, message)
}
