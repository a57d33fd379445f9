//! A registry for tests that misbehaves on request, and Debian's own for the rest.

use crate::testing::Parts;
use bytes::Bytes;
use futures::stream;
use gantry_core::Digest;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod uploads;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How it misbehaves.
#[derive(Clone, Default)]
pub(crate) struct Manners {
    /// Blob answers break off after this many bytes.
    pub cut_after: Option<usize>,
    /// So many times; then answers are whole.
    pub cuts: usize,
    /// Blob answers stop, but the connection stays.
    pub stall_after: Option<usize>,
    pub ignore_range: bool,
    /// Anonymous and these: `user:password`.
    pub token_for: Option<&'static str>,
    pub basic_for: Option<&'static str>,
    /// Blobs are elsewhere.
    pub redirect_to: Option<String>,
    /// Between the pieces of a blob.
    pub slow: Duration,
    /// A status for everything.
    pub broken: Option<u16>,
    /// Uploads in one piece are refused.
    pub chunks_only: bool,
    /// So many uploads break after this many bytes of a request.
    pub upload_cuts: (usize, usize),
    /// Uploads are answered 503, so many times.
    pub upload_busy: usize,
    /// Nothing is mounted from another repository.
    pub no_mounts: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

#[derive(Default)]
pub(crate) struct Content {
    pub manners: Manners,
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Tag or digest to media type and bytes.
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub seen: Vec<Seen>,
    /// What has come of an upload.
    pub uploads: BTreeMap<String, Vec<u8>>,
}

pub(crate) struct Fake {
    pub address: String,
    pub content: Arc<Mutex<Content>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn new(manners: Manners) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let content = Arc::new(Mutex::new(Content {
            manners,
            ..Content::default()
        }));
        let (shared, host) = (content.clone(), address.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, host) = (shared.clone(), host.clone());
                tokio::spawn(async move {
                    let service =
                        hyper::service::service_fn(move |request| answer(shared.clone(), host.clone(), request));
                    // Cut connections end in an error here, as they should.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, content, task }
    }

    pub(crate) fn add(&self, image: &Parts, tag: &str) {
        let mut content = self.content.lock();
        for (digest, bytes) in &image.blobs {
            content.blobs.insert(digest.to_string(), bytes.clone());
        }
        let manifest = (
            image.target.media_type.clone(),
            image.blobs[&image.target.digest].clone(),
        );
        content
            .manifests
            .insert(image.target.digest.to_string(), manifest.clone());
        content.manifests.insert(tag.to_owned(), manifest);
    }

    pub(crate) fn manifest(&self, at: &str, media_type: &str, bytes: &[u8]) {
        self.content
            .lock()
            .manifests
            .insert(at.to_owned(), (media_type.to_owned(), bytes.to_vec()));
    }

    pub(crate) fn reference(&self, rest: &str) -> gantry_core::reference::Reference {
        gantry_core::reference::Reference::parse(&format!("{}/{rest}", self.address)).unwrap()
    }

    /// How often a blob was asked for.
    pub(crate) fn asked(&self, digest: &Digest) -> Vec<Seen> {
        let tail = format!("blobs/{digest}");
        self.content
            .lock()
            .seen
            .iter()
            .filter(|seen| seen.path.ends_with(&tail))
            .cloned()
            .collect()
    }
}

fn whole(status: u16, headers: &[(&str, &str)], bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (key, value) in headers {
        response = response.header(*key, *value);
    }
    let body = http_body_util::Full::new(bytes.into()).map_err(|never| match never {});
    response.body(UnsyncBoxBody::new(body)).unwrap()
}

fn problem(status: u16, code: &str) -> Response<Body> {
    whole(
        status,
        &[],
        format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{code} said\"}}]}}"),
    )
}

async fn answer(
    shared: Arc<Mutex<Content>>,
    host: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let header = |name: &str| -> Option<String> { Some(request.headers().get(name)?.to_str().ok()?.to_owned()) };
    let seen = Seen {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        range: header("range"),
        authorization: header("authorization"),
    };
    let path = request.uri().path().to_owned();
    let manners = {
        let mut content = shared.lock();
        content.seen.push(seen.clone());
        content.manners.clone()
    };
    if let Some(status) = manners.broken {
        return Ok(problem(status, "BROKEN"));
    }
    if path == "/token" {
        let wanted = manners.token_for.map(|login| format!("Basic {}", encode(login)));
        return Ok(match seen.authorization == wanted {
            true => whole(200, &[], "{\"token\":\"good\"}"),
            false => problem(401, "BADLOGIN"),
        });
    }
    if let Some(refusal) = refuse(&manners, &seen, &host) {
        return Ok(refusal);
    }
    if matches!(request.method().as_str(), "POST" | "PATCH" | "PUT") || path.contains("/uploads/") {
        return uploads::answer(shared, manners, request).await;
    }
    let mut content = shared.lock();
    if let Some((_, at)) = path.split_once("/manifests/") {
        let Some((media_type, bytes)) = content.manifests.get(at) else {
            return Ok(problem(404, "MANIFEST_UNKNOWN"));
        };
        return Ok(whole(200, &[("content-type", media_type)], bytes.clone()));
    }
    if path.ends_with("/tags/list") {
        let rest = request.uri().query().is_some();
        let link = format!("<{path}?last=a&n=1>; rel=\"next\"");
        return Ok(match rest {
            false => whole(200, &[("link", &link)], "{\"name\":\"x\",\"tags\":[\"a\"]}"),
            true => whole(200, &[], "{\"name\":\"x\",\"tags\":[\"b\"]}"),
        });
    }
    let Some((_, digest)) = path.split_once("/blobs/") else {
        return Ok(problem(404, "NAME_UNKNOWN"));
    };
    if let Some(elsewhere) = &manners.redirect_to {
        return Ok(whole(307, &[("location", &format!("{elsewhere}{path}"))], ""));
    }
    let Some(bytes) = content.blobs.get(digest).cloned() else {
        return Ok(problem(404, "BLOB_UNKNOWN"));
    };
    Ok(blob(&mut content.manners, request.headers(), bytes))
}

fn encode(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn refuse(manners: &Manners, seen: &Seen, host: &str) -> Option<Response<Body>> {
    let challenge = |text: &str| {
        let mut response = problem(401, "UNAUTHORIZED");
        response.headers_mut().insert("www-authenticate", text.parse().unwrap());
        Some(response)
    };
    if manners.token_for.is_some() && seen.authorization.as_deref() != Some("Bearer good") {
        return challenge(&format!(
            "Bearer realm=\"http://{host}/token\",service=\"fake\",scope=\"repository:x:pull\""
        ));
    }
    let basic = manners.basic_for.map(|login| format!("Basic {}", encode(login)));
    if basic.is_some() && seen.authorization != basic {
        return challenge("Basic realm=\"fake\"");
    }
    None
}

fn blob(manners: &mut Manners, headers: &HeaderMap, bytes: Vec<u8>) -> Response<Body> {
    let total = bytes.len();
    let range = headers.get("range").and_then(|r| r.to_str().ok());
    let from: usize = range
        .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
        .unwrap_or(0);
    let from = if manners.ignore_range { 0 } else { from };
    if from >= total && from > 0 {
        return problem(416, "RANGE");
    }
    let rest = bytes[from..].to_vec();
    let cut = manners.cut_after.filter(|_| manners.cuts > 0);
    if cut.is_some() {
        manners.cuts -= 1;
    }
    let (stall, slow) = (manners.stall_after, manners.slow);
    let pieces: Vec<Bytes> = rest.chunks(8 << 10).map(Bytes::copy_from_slice).collect();
    let body = stream::unfold((pieces.into_iter(), 0), move |(mut pieces, sent)| async move {
        if cut.is_some_and(|cut| sent >= cut) {
            // A pause in which the server puts what it has on the wire.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Some((Err(io::Error::other("cut")), (pieces, sent)));
        }
        if stall.is_some_and(|stall| sent >= stall) {
            std::future::pending::<()>().await;
        }
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        let piece = pieces.next()?;
        let sent = sent + piece.len();
        Some((Ok(Frame::data(piece)), (pieces, sent)))
    });
    let mut response = Response::builder().header("content-length", total - from);
    if from > 0 {
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header("content-range", format!("bytes {from}-{}/{total}", total - 1));
    }
    response
        .body(BodyExt::boxed_unsync(StreamBody::new(Box::pin(body))))
        .unwrap()
}

/// Debian's `docker-registry` on a port of its own.
pub(crate) struct Debian {
    pub address: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Debian {
    /// With certificate and key files it speaks https.
    pub(crate) fn start(tls: Option<(&str, &str)>) -> Self {
        Self::start_with(tls, "")
    }

    /// With more lines of its configuration.
    pub(crate) fn start_with(tls: Option<(&str, &str)>, more: &str) -> Self {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(registry) = Self::try_start(tls, more, deadline) {
                return registry;
            }
            assert!(Instant::now() < deadline, "docker-registry ends at once");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `None` = it ended: its port was free when it was looked for, and is not any more.
    fn try_start(tls: Option<(&str, &str)>, more: &str, deadline: Instant) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let tls = tls
            .map(|(cert, key)| format!("\n  tls:\n    certificate: {cert}\n    key: {key}"))
            .unwrap_or_default();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}{tls}\n{more}",
            dir.path().join("data").display()
        );
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let mut registry = Self {
            address,
            child,
            _dir: dir,
        };
        loop {
            let answers = TcpStream::connect(&registry.address).is_ok();
            if registry.child.try_wait().unwrap().is_some() {
                return None;
            }
            if answers {
                return Some(registry);
            }
            assert!(Instant::now() < deadline, "docker-registry does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        // It may be gone already; either way it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
