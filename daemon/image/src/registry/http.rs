//! HTTP as registries need it: TLS on ring, redirects that keep secrets at home, deadlines on silence.

use super::{RegistryConfig, tls};
use crate::error::{ImageError, Result};
use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use std::sync::OnceLock;
use std::time::Duration;

const MAX_REDIRECTS: usize = 10;
/// Longest body read of an answer that is only an explanation.
const MAX_EXPLANATION: usize = 64 << 10;

type Connections = Pool<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `https://host[:port][/prefix]`, no slash at the end.
    pub base: String,
    pub host: String,
    /// Certificates are not checked, and plain http may carry secrets.
    pub lax: bool,
    pub mirror: bool,
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
        Ok(Self {
            base: url.trim_end_matches('/').to_owned(),
            host: authority.to_string(),
            lax,
            mirror: true,
        })
    }

    /// https; for an insecure registry unverified https, then http.
    pub(super) fn origin(host: &str, insecure: bool) -> Vec<Self> {
        let schemes: &[&str] = if insecure { &["https", "http"] } else { &["https"] };
        let endpoint = |scheme: &&str| Self {
            base: format!("{scheme}://{host}"),
            host: host.to_owned(),
            lax: insecure,
            mirror: false,
        };
        schemes.iter().map(endpoint).collect()
    }

    pub(super) fn may_hold_secrets(&self) -> bool {
        self.lax || self.base.starts_with("https://")
    }
}

pub(super) struct Client {
    strict: OnceLock<Connections>,
    lax: OnceLock<Connections>,
    ca_files: Vec<std::path::PathBuf>,
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
}

impl Client {
    /// Connections and certificates are made when first needed.
    pub(super) fn new(config: &RegistryConfig) -> Self {
        Self {
            strict: OnceLock::new(),
            lax: OnceLock::new(),
            ca_files: config.ca_files.clone(),
            connect_timeout: config.connect_timeout,
            stall_timeout: config.stall_timeout,
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
            let response = self.once(ask, &url, at_home, lax).await?;
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

    async fn once(&self, ask: &Ask, url: &Uri, at_home: bool, lax: bool) -> Result<Response<Incoming>> {
        let host = url.authority().map(ToString::to_string).unwrap_or_default();
        let mut request = Request::builder().method(ask.method.clone()).uri(url.clone());
        let headers = request.headers_mut().expect("method and address are sound");
        headers.extend(ask.headers.clone());
        let agent = concat!("gantry/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, http::HeaderValue::from_static(agent));
        if let Some(secret) = ask.authorization.as_ref().filter(|_| at_home) {
            let value = http::HeaderValue::from_str(secret);
            headers.insert(
                AUTHORIZATION,
                value.map_err(|_| self.bad(&ask.url, "the credentials hold odd characters".to_owned()))?,
            );
        }
        let request = request.body(Full::new(ask.body.clone())).expect("parts are sound");
        let connections = if lax { self.lax()? } else { self.strict()? };
        match tokio::time::timeout(self.stall_timeout, connections.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(ImageError::Connect {
                host,
                reason: chain(&error),
            }),
            Err(_) => Err(ImageError::Stalled {
                host,
                what: "its answer".to_owned(),
                seconds: self.stall_timeout.as_secs(),
            }),
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

    fn bad(&self, url: &str, detail: String) -> ImageError {
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
        let tls = tls::verified(&self.ca_files)?;
        Ok(self.strict.get_or_init(|| self.connections(tls)))
    }

    fn lax(&self) -> Result<&Connections> {
        Ok(self.lax.get_or_init(|| self.connections(tls::unverified())))
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
