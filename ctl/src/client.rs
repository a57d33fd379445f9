//! The connection to the daemon: made when first needed, its errors turned into ours.

use std::future::Future;
use std::time::Duration;

use gantry_proto::gantry::v1 as pb;
use pb::containers_client::ContainersClient;
use pb::execs_client::ExecsClient;
use pb::images_client::ImagesClient;
use pb::networks_client::NetworksClient;
use pb::system_client::SystemClient;
use pb::volumes_client::VolumesClient;
use tokio::time::Instant;
use tonic::transport::Endpoint;
use tonic::{Response, Status};

use crate::error::{Error, KIND_KEY, Result, word_of};
use crate::trace::Line;

pub(crate) const DEFAULT_HOST: &str = "unix:///run/gantry/gantry.sock";
/// How long what must outlive a restart of the daemon is tried again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The largest message taken from the daemon: lists of very many containers.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;

/// What every command gets.
#[derive(Clone)]
pub(crate) struct Daemon {
    host: String,
    channel: Line,
}

impl Daemon {
    /// Nothing is dialled before the first call. Must be called inside the runtime.
    pub(crate) fn new(host: &str) -> Result<Self> {
        let url = match host.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => format!("unix://{path}"),
            Some(("tcp", address)) if !address.is_empty() => format!("http://{address}"),
            _ if host.starts_with('/') => format!("unix://{host}"),
            _ => {
                return Err(Error::refused(format!(
                    "unable to parse daemon host `{host}`: use unix:///path or tcp://address:port"
                )));
            }
        };
        let endpoint = Endpoint::from_shared(url)
            .map_err(|err| Error::refused(format!("unable to parse daemon host `{host}`: {err}")))?;
        Ok(Self {
            host: host.to_owned(),
            channel: Line(endpoint.connect_lazy()),
        })
    }

    pub(crate) fn containers(&self) -> ContainersClient<Line> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn execs(&self) -> ExecsClient<Line> {
        ExecsClient::new(self.channel.clone())
    }

    pub(crate) fn images(&self) -> ImagesClient<Line> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn networks(&self) -> NetworksClient<Line> {
        NetworksClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn volumes(&self) -> VolumesClient<Line> {
        VolumesClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn system(&self) -> SystemClient<Line> {
        SystemClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Turns a failed call into what the user reads.
    pub(crate) fn error(&self, status: Status) -> Error {
        if went_away(&status) {
            if denied(&status) {
                return Error::Denied {
                    host: self.host.clone(),
                };
            }
            return Error::Connect {
                host: self.host.clone(),
            };
        }
        let named = status.metadata().get(KIND_KEY).and_then(|word| word.to_str().ok());
        let kind = named.unwrap_or_else(|| word_of(status.code())).to_owned();
        Error::Daemon {
            kind,
            message: status.message().to_owned(),
        }
    }

    pub(crate) fn take<T>(&self, answer: Result<Response<T>, Status>) -> Result<T> {
        answer.map(Response::into_inner).map_err(|status| self.error(status))
    }

    /// Repeats a call that may safely be made twice while the daemon is away.
    pub(crate) async fn patient<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            match call().await {
                Err(status) if went_away(&status) && Instant::now() + pause < deadline => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                answer => return self.take(answer),
            }
        }
    }
}

/// The socket is there, but not for us.
fn denied(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(err) = cause {
        if err
            .downcast_ref::<std::io::Error>()
            .is_some_and(|err| err.kind() == std::io::ErrorKind::PermissionDenied)
        {
            return true;
        }
        cause = err.source();
    }
    false
}

/// The daemon did not answer at all: it is not there, or went while the call was under way.
pub(crate) fn went_away(status: &Status) -> bool {
    if status.metadata().contains_key(KIND_KEY) {
        return false;
    }
    let transport = std::error::Error::source(status).is_some();
    matches!(status.code(), tonic::Code::Unavailable)
        || (transport
            && matches!(
                status.code(),
                tonic::Code::Unknown | tonic::Code::Cancelled | tonic::Code::Internal
            ))
}
