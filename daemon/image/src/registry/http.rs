//! HTTP as registries need it: TLS on ring, redirects that keep secrets at home, deadlines on silence.

use super::access::WireLog;
use super::{RegistryConfig, tls};
use crate::error::{ImageError, Result};
use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const MAX_REDIRECTS: usize = 10;
/// Longest body read of an answer that is only an explanation.
const MAX_EXPLANATION: usize = 64 << 10;

/// What a request carries.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

type Connections = Pool<HttpsConnector<HttpConnector>, Body>;

/// What a host is good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Can {
    pub pull: bool,
    /// Says what a tag points at.
    pub resolve: bool,
    pub push: bool,
}

impl Can {
    pub(super) const ALL: Self = Self {
        pull: true,
        resolve: true,
        push: true,
    };
}

/// Where requests go.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// `https://host[:port][/prefix]`, no slash at the end.
    pub base: String,
    /// Where the API begins; the base and `/v2` as a rule.
    pub api: String,
    pub host: String,
    /// Certificates are not checked, and plain http may carry secrets.
    pub lax: bool,
    pub mirror: bool,
    pub can: Can,
    pub headers: HeaderMap,
    /// The host whose images it serves, told in a query as containerd does.
    pub stands_for: Option<String>,
    /// One of its own, with certificates of its own.
    pub client: Option<Arc<Client>>,
}

impl Endpoint {
    pub(super) fn mirror(url: &str, lax: bool) -> Result<Self> {
        let bad = || ImageError::Settings {
            detail: format!("registry mirror \"{url}\" must be http(s)://host[:port][/path]"),
        };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
            return Err(bad());
        }
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self {
            mirror: true,
            ..Self::of(base, authority.as_str(), lax)
        })
    }

    fn of(base: String, host: &str, lax: bool) -> Self {
        Self {
            api: format!("{base}/v2"),
            base,
            host: host.to_owned(),
            lax,
            mirror: false,
            can: Can::ALL,
            headers: HeaderMap::new(),
            stands_for: None,
            client: None,
        }
    }

    /// https; for an insecure registry unverified https, then http.
    pub(super) fn origin(host: &str, insecure: bool) -> Vec<Self> {
        let schemes: &[&str] = if insecure { &["https", "http"] } else { &["https"] };
        let endpoint = |scheme: &&str| Self::of(format!("{scheme}://{host}"), host, insecure);
        schemes.iter().map(endpoint).collect()
    }

    pub(super) fn may_hold_secrets(&self) -> bool {
        self.lax || self.base.starts_with("https://")
    }
}

pub(super) struct Client {
    strict: OnceLock<Connections>,
    lax: OnceLock<Connections>,
    ca_files: Vec<PathBuf>,
    /// Certificates of ours, with their keys.
    own: Vec<(PathBuf, Option<PathBuf>)>,
    connect_timeout: Duration,
    pub stall_timeout: Duration,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    pub authorization: Option<String>,
    pub body: Bytes,
    pub log: Option<WireLog>,
}

/// A body that is sent as it is read, once.
pub(super) struct Flow {
    pub body: Body,
    /// Bytes that have gone out of it: while they do, the other side is alive.
    pub passed: Arc<AtomicU64>,
}

impl Client {
    /// Connections and certificates are made when first needed.
    pub(super) fn new(config: &RegistryConfig) -> Self {
        Self {
            strict: OnceLock::new(),
            lax: OnceLock::new(),
            ca_files: config.ca_files.clone(),
            own: Vec::new(),
            connect_timeout: config.connect_timeout,
            stall_timeout: config.stall_timeout,
        }
    }

    pub(super) fn with_certificates(config: &RegistryConfig, own: Vec<(PathBuf, Option<PathBuf>)>) -> Self {
        Self {
            own,
            ..Self::new(config)
        }
    }

    /// Sends it and follows redirects. The authorization stays with the host it was meant for.
    pub(super) async fn send(&self, ask: &Ask, lax: bool) -> Result<Response<Incoming>> {
        let mut url: Uri = ask
            .url
            .parse()
            .map_err(|e| self.bad(&ask.url, format!("its address is malformed: {e}")))?;
        let home = url.authority().cloned();
        let home_scheme = url.scheme().cloned();
        for _ in 0..MAX_REDIRECTS {
            let at_home = url.authority() == home.as_ref() && url.scheme() == home_scheme.as_ref();
            let response = self.once(ask, &url, at_home, lax, None).await?;
            let moved = matches!(
                response.status(),
                StatusCode::MOVED_PERMANENTLY
                    | StatusCode::FOUND
                    | StatusCode::SEE_OTHER
                    | StatusCode::TEMPORARY_REDIRECT
                    | StatusCode::PERMANENT_REDIRECT
            );
            if !moved || ask.method == Method::POST {
                return Ok(response);
            }
            let next = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = next.and_then(|next| resolve(&url, next));
            let next = next.ok_or_else(|| self.bad(&ask.url, "it redirects to nowhere".to_owned()))?;
            if url.scheme_str() == Some("https") && next.scheme_str() != Some("https") && !lax {
                return Err(self.bad(&ask.url, "it redirects from https to http".to_owned()));
            }
            url = next;
        }
        Err(self.bad(&ask.url, format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Sends it once, with `flow` in its body's place if there is one.
    pub(super) async fn once(
        &self,
        ask: &Ask,
        url: &Uri,
        at_home: bool,
        lax: bool,
        flow: Option<Flow>,
    ) -> Result<Response<Incoming>> {
        let host = url.authority().map(ToString::to_string).unwrap_or_default();
        let mut request = Request::builder().method(ask.method.clone()).uri(url.clone());
        let headers = request.headers_mut().expect("method and address are sound");
        headers.extend(ask.headers.clone());
        let agent = concat!("gantry/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, http::HeaderValue::from_static(agent));
        match (&ask.authorization, at_home) {
            (Some(secret), true) => {
                let value = http::HeaderValue::from_str(secret);
                headers.insert(
                    AUTHORIZATION,
                    value.map_err(|_| self.bad(&ask.url, "the credentials hold odd characters".to_owned()))?,
                );
            }
            (None, true) => {}
            // One that a caller put among the headers stays at home too.
            (_, false) => drop(headers.remove(AUTHORIZATION)),
        }
        let shown = format!("{} {url}", ask.method);
        if let Some(log) = &ask.log {
            log.head('>', &shown, headers);
        }
        let (body, passed) = match flow {
            Some(flow) => (flow.body, flow.passed),
            None => (whole(ask.body.clone()), Arc::default()),
        };
        let request = request.body(body).expect("parts are sound");
        let connections = if lax { self.lax()? } else { self.strict()? };
        let began = Instant::now();
        let answered = self.patiently(connections.request(request), &passed).await;
        if let Some(log) = &ask.log {
            match &answered {
                Some(Ok(response)) => {
                    log.head('<', response.status().as_str(), response.headers());
                    log.time(
                        &format!("{shown}: answered {}", response.status().as_u16()),
                        began.elapsed(),
                    );
                }
                Some(Err(error)) => log.time(&format!("{shown}: {}", chain(error)), began.elapsed()),
                None => log.time(&format!("{shown}: no answer"), began.elapsed()),
            }
        }
        match answered {
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => Err(ImageError::Connect {
                host,
                reason: chain(&error),
            }),
            None => Err(ImageError::Stalled {
                host,
                what: "its answer".to_owned(),
                seconds: self.stall_timeout.as_secs(),
            }),
        }
    }

    /// Waits as long as bytes go out, and then for the time that silence may last.
    async fn patiently<T>(&self, work: impl Future<Output = T>, passed: &AtomicU64) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let mut before = 0;
        loop {
            if let Ok(done) = tokio::time::timeout(self.stall_timeout, &mut work).await {
                return Some(done);
            }
            let now = passed.load(Ordering::Relaxed);
            if now == before {
                return None;
            }
            before = now;
        }
    }

    /// The next piece of a body; `None` at its end.
    pub(super) async fn frame(
        &self,
        response: &mut Response<Incoming>,
        host: &str,
        what: &str,
    ) -> Result<Option<Bytes>> {
        loop {
            let next = tokio::time::timeout(self.stall_timeout, response.body_mut().frame()).await;
            match next {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(_trailers) => {}
                },
                Ok(Some(Err(error))) => {
                    return Err(ImageError::Connect {
                        host: host.to_owned(),
                        reason: format!("while reading {what}: {}", chain(&error)),
                    });
                }
                Err(_) => {
                    return Err(ImageError::Stalled {
                        host: host.to_owned(),
                        what: what.to_owned(),
                        seconds: self.stall_timeout.as_secs(),
                    });
                }
            }
        }
    }

    /// A whole body of at most `limit` bytes.
    pub(super) async fn body(
        &self,
        response: &mut Response<Incoming>,
        host: &str,
        what: &str,
        limit: u64,
    ) -> Result<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.frame(response, host, what).await? {
            let got = (whole.len() + bytes.len()) as u64;
            if got > limit {
                return Err(ImageError::TooLarge {
                    what: what.to_owned(),
                    got,
                    limit,
                });
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }

    /// What a failed answer says of itself, in one line.
    pub(super) async fn explanation(&self, response: &mut Response<Incoming>, host: &str) -> String {
        let status = response.status();
        let body = self
            .body(response, host, "an explanation", MAX_EXPLANATION as u64)
            .await
            .unwrap_or_default();
        explain(&body).unwrap_or_else(|| {
            status
                .canonical_reason()
                .unwrap_or("no explanation")
                .to_ascii_lowercase()
        })
    }

    pub(super) fn bad(&self, url: &str, detail: String) -> ImageError {
        let host = url
            .parse::<Uri>()
            .ok()
            .and_then(|uri| uri.authority().map(ToString::to_string));
        ImageError::BadAnswer {
            host: host.unwrap_or_default(),
            what: url.split('?').next().unwrap_or(url).to_owned(),
            detail,
        }
    }

    fn strict(&self) -> Result<&Connections> {
        if let Some(ready) = self.strict.get() {
            return Ok(ready);
        }
        let tls = tls::verified(&self.ca_files, &self.own)?;
        Ok(self.strict.get_or_init(|| self.connections(tls)))
    }

    fn lax(&self) -> Result<&Connections> {
        if let Some(ready) = self.lax.get() {
            return Ok(ready);
        }
        let tls = tls::unverified(&self.own)?;
        Ok(self.lax.get_or_init(|| self.connections(tls)))
    }

    fn connections(&self, tls: ClientConfig) -> Connections {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.connect_timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(4)
            .build(connector)
    }
}

/// A body that is there already.
pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A redirect's target, absolute or relative to where it came from.
pub(super) fn resolve(from: &Uri, to: &str) -> Option<Uri> {
    let scheme = from.scheme_str()?;
    let authority = from.authority()?;
    let absolute = if to.contains("://") {
        to.to_owned()
    } else if let Some(rest) = to.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if to.starts_with('/') {
        format!("{scheme}://{authority}{to}")
    } else {
        let above = from.path().rsplit_once('/').map_or("", |(above, _)| above);
        format!("{scheme}://{authority}{above}/{to}")
    };
    let uri: Uri = absolute.parse().ok()?;
    matches!(uri.scheme_str(), Some("http" | "https"))
        .then_some(uri)
        .filter(|uri| uri.authority().is_some())
}

/// The messages of a registry's error document (OCI distribution spec, "Error Codes").
fn explain(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Document {
        #[serde(default)]
        errors: Vec<Fault>,
        #[serde(default)]
        details: String,
    }
    #[derive(serde::Deserialize)]
    struct Fault {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let document: Document = serde_json::from_slice(body).ok()?;
    let mut said: Vec<String> = document
        .errors
        .into_iter()
        .map(|fault| {
            if fault.message.is_empty() {
                fault.code
            } else {
                fault.message
            }
        })
        .collect();
    said.push(document.details);
    said.retain(|text| !text.is_empty());
    (!said.is_empty()).then(|| said.join(", "))
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}
