//! A client of etcd's API v3 (etcd.io/docs/v3.5/learning/api), as small as the cluster store's needs.

use super::wire::{
    AuthenticateRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest,
    PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest,
    WatchResponse, auth_client::AuthClient, compare, kv_client::KvClient, lease_client::LeaseClient, request_op,
    watch_client::WatchClient, watch_request,
};
use super::{Settings, Tls, User};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status, Streaming};

/// For one try of one call.
const CALL: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);
/// etcd takes a client that pings more often than every five seconds for broken.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);
/// More than any of our values, and as etcd sends at most by default.
const LONGEST: usize = 16 << 20;

pub struct Etcd {
    channels: Vec<Channel>,
    /// Which of them answered last.
    current: AtomicUsize,
    user: Option<User>,
    token: Mutex<Option<String>>,
}

/// A watch and its request side, which must stay open.
pub struct Watching {
    pub responses: Streaming<WatchResponse>,
    _requests: mpsc::Sender<WatchRequest>,
}

impl Etcd {
    /// Only reads the settings: connections are made when they are needed.
    pub fn new(settings: &Settings) -> Result<Self> {
        if settings.endpoints.is_empty() {
            return Err(Error::ClusterSettings("no etcd endpoint is given".to_owned()));
        }
        let channel = |address: &String| channel(address, settings.tls.as_ref());
        Ok(Self {
            channels: settings.endpoints.iter().map(channel).collect::<Result<_>>()?,
            current: AtomicUsize::new(0),
            user: settings.user.clone(),
            token: Mutex::new(None),
        })
    }

    pub async fn range(&self, range: RangeRequest) -> Result<RangeResponse> {
        self.call("read the cluster store", |channel, token| {
            let request = with(range.clone(), token);
            async move { kv(channel).range(request?).await }
        })
        .await
    }

    /// All of a folder, in one answer of one revision.
    pub async fn folder(&self, (key, range_end): (Vec<u8>, Vec<u8>)) -> Result<RangeResponse> {
        let range = RangeRequest {
            key,
            range_end,
            ..RangeRequest::default()
        };
        self.range(range).await
    }

    pub async fn txn(&self, deed: &str, txn: TxnRequest) -> Result<TxnResponse> {
        self.call(deed, |channel, token| {
            let request = with(txn.clone(), token);
            async move { kv(channel).txn(request?).await }
        })
        .await
    }

    /// A new lease's id.
    pub async fn grant(&self, lease: Duration) -> Result<i64> {
        let grant = LeaseGrantRequest {
            ttl: i64::try_from(lease.as_secs().max(1)).unwrap_or(i64::MAX),
            id: 0,
        };
        let granted = self.call("take a lease in the cluster store", |channel, token| {
            let request = with(grant, token);
            async move { LeaseClient::new(channel).lease_grant(request?).await }
        });
        Ok(granted.await?.id)
    }

    pub async fn revoke(&self, id: i64) -> Result<()> {
        let revoked = self.call("give back a lease of the cluster store", |channel, token| {
            let request = with(LeaseRevokeRequest { id }, token);
            async move { LeaseClient::new(channel).lease_revoke(request?).await }
        });
        revoked.await.map(drop)
    }

    /// False = there is no such lease any more.
    pub async fn keep_alive(&self, id: i64) -> Result<bool> {
        let kept = self.call("renew a lease of the cluster store", |channel, token| {
            let once = tokio_stream::once(LeaseKeepAliveRequest { id });
            let request = with(once, token);
            async move {
                let mut answers = LeaseClient::new(channel).lease_keep_alive(request?).await?.into_inner();
                let answer = answers.message().await?;
                let answer = answer.ok_or_else(|| Status::unavailable("the stream ended"))?;
                Ok(tonic::Response::new(answer))
            }
        });
        Ok(kept.await?.ttl > 0)
    }

    /// Everything of a folder from that revision on.
    pub async fn watch(&self, (key, range_end): (Vec<u8>, Vec<u8>), start_revision: i64) -> Result<Watching> {
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision,
            progress_notify: true,
        };
        self.call("watch the cluster store", |channel, token| {
            let union = watch_request::RequestUnion::CreateRequest(create.clone());
            let (requests, inbox) = mpsc::channel(1);
            let asked = requests.try_send(WatchRequest {
                request_union: Some(union),
            });
            let request = with(ReceiverStream::new(inbox), token);
            async move {
                asked.map_err(|_| Status::internal("a new channel has no room"))?;
                let mut request = request?;
                // A member that was cut off from the others ends the watch.
                request
                    .metadata_mut()
                    .insert("hasleader", MetadataValue::from_static("true"));
                let mut client = WatchClient::new(channel).max_decoding_message_size(LONGEST);
                let responses = client.watch(request).await?;
                Ok(responses.map(|responses| Watching {
                    responses,
                    _requests: requests,
                }))
            }
        })
        .await
    }

    /// Another endpoint when this one is away, a new token when the old one is.
    async fn call<T, F>(&self, deed: &str, make: impl Fn(Channel, Option<String>) -> F) -> Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut tries = self.channels.len();
        let mut renewed = false;
        loop {
            let current = self.current.load(Ordering::Relaxed) % self.channels.len();
            let channel = self.channels[current].clone();
            let done = timeout(CALL, async {
                let token = self.token(&channel).await?;
                make(channel, token).await
            });
            let status = match done.await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("etcd does not answer"),
            };
            if is_stale(&status) && self.user.is_some() && !renewed {
                *self.token.lock() = None;
                renewed = true;
                continue;
            }
            tries -= 1;
            if !is_away(&status) || tries == 0 {
                return Err(Error::Cluster {
                    deed: deed.to_owned(),
                    source: Box::new(status),
                });
            }
            self.current.store(current + 1, Ordering::Relaxed);
        }
    }

    async fn token(&self, channel: &Channel) -> Result<Option<String>, Status> {
        let Some(user) = &self.user else { return Ok(None) };
        let known = self.token.lock().clone();
        if known.is_some() {
            return Ok(known);
        }
        let request = AuthenticateRequest {
            name: user.name.clone(),
            password: user.password.clone(),
        };
        let token = AuthClient::new(channel.clone())
            .authenticate(request)
            .await?
            .into_inner()
            .token;
        *self.token.lock() = Some(token.clone());
        Ok(Some(token))
    }

    /// After a watch failed nobody knows why: begin anew.
    pub fn forget_token(&self) {
        *self.token.lock() = None;
    }
}

fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(LONGEST)
}

fn with<T>(message: T, token: Option<String>) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let token = MetadataValue::try_from(token).map_err(|_| Status::internal("etcd's token is no header"))?;
        request.metadata_mut().insert("token", token);
    }
    Ok(request)
}

/// A token that ran out, or of an etcd that was restarted; 3.4 also says so of a revision of users that changed.
fn is_stale(status: &Status) -> bool {
    status.code() == Code::Unauthenticated
        || (status.code() == Code::InvalidArgument && status.message().contains("auth"))
}

/// Whether another member, or the same one later, may answer.
pub fn is_away(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
    )
}

fn channel(address: &str, tls: Option<&Tls>) -> Result<Channel> {
    let bad = |reason: String| Error::ClusterSettings(format!("etcd endpoint \"{address}\": {reason}"));
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| bad(error.to_string()))?;
    let secure = match endpoint.uri().scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(bad("say http:// or https://".to_owned())),
    };
    let mut endpoint = endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true);
    if secure {
        let config = tls_config(tls.unwrap_or(&Tls::default()))?;
        endpoint = endpoint.tls_config(config).map_err(|error| bad(error.to_string()))?;
    }
    Ok(endpoint.connect_lazy())
}

fn tls_config(tls: &Tls) -> Result<ClientTlsConfig> {
    let mut config = ClientTlsConfig::new();
    config = match &tls.authorities {
        Some(path) => config.ca_certificate(Certificate::from_pem(read(path)?)),
        None => config.with_native_roots(),
    };
    match (&tls.certificate, &tls.key) {
        (None, None) => Ok(config),
        (Some(certificate), Some(key)) => Ok(config.identity(Identity::from_pem(read(certificate)?, read(key)?))),
        _ => Err(Error::ClusterSettings(
            "a certificate for etcd needs its key, and a key its certificate".to_owned(),
        )),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::File {
        what: format!("read {}", path.display()),
        source,
    })
}

/// Nothing below this key, or in this range.
pub fn absent(key: Vec<u8>, range_end: Vec<u8>) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Create.into(),
        key,
        range_end,
        target_union: Some(compare::TargetUnion::CreateRevision(0)),
    }
}

pub fn present(key: Vec<u8>) -> Compare {
    Compare {
        result: compare::CompareResult::Greater.into(),
        ..absent(key, Vec::new())
    }
}

/// Nothing in the range was written after that revision.
pub fn unchanged((key, range_end): (Vec<u8>, Vec<u8>), since: i64) -> Compare {
    Compare {
        result: compare::CompareResult::Less.into(),
        target: compare::CompareTarget::Mod.into(),
        key,
        range_end,
        target_union: Some(compare::TargetUnion::ModRevision(since + 1)),
    }
}

pub fn value_is(key: Vec<u8>, value: Vec<u8>) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Value.into(),
        key,
        range_end: Vec::new(),
        target_union: Some(compare::TargetUnion::Value(value)),
    }
}

pub fn put(key: Vec<u8>, value: Vec<u8>, lease: i64) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest { key, value, lease })),
    }
}

pub fn get(key: Vec<u8>) -> RequestOp {
    let range = RangeRequest {
        key,
        ..RangeRequest::default()
    };
    RequestOp {
        request: Some(request_op::Request::RequestRange(range)),
    }
}

pub fn delete(key: Vec<u8>) -> RequestOp {
    let range = DeleteRangeRequest {
        key,
        range_end: Vec::new(),
    };
    RequestOp {
        request: Some(request_op::Request::RequestDeleteRange(range)),
    }
}
