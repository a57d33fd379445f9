//! Pushing: blobs by mount, in one piece, or in chunks where a registry or a broken connection wants it so; manifests by name
//! (OCI distribution specification 1.1, "Push").

use super::Repository;
use super::blob::{is_passing, pause};
use super::flow::{Part, told};
use super::http::{Ask, Endpoint, resolve};
use crate::descriptor::Descriptor;
use crate::error::{ImageError, Result};
use bytes::Bytes;
use gantry_core::Digest;
use gantry_core::content::BlobReader;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use http::{Method, Response, StatusCode, Uri};
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one chunk, unless a registry wants longer ones.
const CHUNK: u64 = 16 << 20;
const MAX_REDIRECTS: usize = 5;

/// How a blob came to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    There,
    /// Taken over from another repository of the registry.
    Mounted(String),
    Uploaded,
}

/// What an upload says of itself.
pub(crate) enum UploadStep {
    At(u64),
    Retry(Duration),
}

/// An upload that the registry has opened.
struct Session {
    at: Uri,
    chunk: u64,
}

impl Repository {
    /// Makes it one to push to: the hosts that take pushes, tokens that allow it, also to take over from `others`.
    pub(crate) fn for_push(mut self, others: &[String]) -> Self {
        self.pushing = true;
        self.scopes = vec![format!("repository:{}:pull,push", self.reference.path())];
        let others = others.iter().filter(|other| *other != self.reference.path());
        self.scopes
            .extend(others.map(|other| format!("repository:{other}:pull")));
        self
    }

    /// Settles on the host that all of a push goes to: what is uploaded to one is not with another.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        let mut failure = None;
        for endpoint in self.endpoints.iter().filter(|one| one.can.push) {
            let mut ask = self.request(endpoint, Method::GET, "", HeaderMap::new());
            ask.url = format!("{}/", endpoint.api);
            match self.client(endpoint).send(&ask, endpoint.lax).await {
                Ok(response) => {
                    // Before all the rest at once asks for a token, each its own.
                    if response.status() == StatusCode::UNAUTHORIZED {
                        self.answer(endpoint, response.headers()).await?;
                    }
                    self.endpoints = vec![endpoint.clone()];
                    return Ok(());
                }
                Err(error @ ImageError::Connect { .. }) => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(failure.unwrap_or_else(|| ImageError::Settings {
            detail: format!("no host of {} takes pushes", self.reference.domain()),
        }))
    }

    fn endpoint(&self) -> &Endpoint {
        self.endpoints.first().expect("a push has settled on one")
    }

    /// Sees to it that the registry has the blob, going on where a connection broke.
    pub(crate) async fn upload(
        &self,
        blob: &Descriptor,
        others: &[String],
        source: Arc<dyn BlobReader>,
        mut step: impl FnMut(UploadStep) + Send,
    ) -> Result<Sent> {
        let mut session = None;
        let (mut at, mut fruitless, mut chunked) = (0, 0, false);
        loop {
            let attempt = self.attempt(blob, others, &source, &mut session, at, chunked, &mut step);
            let error = match attempt.await {
                Ok(sent) => return Ok(sent),
                Err(error) => error,
            };
            if !chunked && wants_chunks(&error) {
                tracing::debug!(digest = %blob.digest, err = %error, "the registry takes no blob in one piece; trying chunks");
                self.forget(session.take()).await;
                (chunked, at) = (true, 0);
                continue;
            }
            // An upload that the registry has forgotten begins again.
            let passing = is_passing(&error) || (session.is_some() && matches!(error, ImageError::Unknown { .. }));
            let stands = match &session {
                Some(session) if passing => self.standing(session).await,
                _ => None,
            };
            let stands = stands.filter(|stands| *stands <= blob.size);
            fruitless = if stands.is_some_and(|stands| stands > at) {
                1
            } else {
                fruitless + 1
            };
            if !passing || fruitless >= self.config().attempts {
                self.forget(session.take()).await;
                return Err(error);
            }
            match stands {
                Some(stands) => (at, chunked) = (stands, true),
                None => (at, session) = (0, None),
            }
            let pause = pause(fruitless);
            tracing::debug!(digest = %blob.digest, at, err = %error, "an upload broke, going on");
            step(UploadStep::Retry(pause));
            tokio::time::sleep(pause).await;
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the state of one upload, all of it used once")]
    async fn attempt(
        &self,
        blob: &Descriptor,
        others: &[String],
        source: &Arc<dyn BlobReader>,
        session: &mut Option<Session>,
        mut at: u64,
        chunked: bool,
        step: &mut (impl FnMut(UploadStep) + Send),
    ) -> Result<Sent> {
        // Asked again each time: an answer may have been lost, and then it is there.
        if self.has_blob(&blob.digest).await? {
            return Ok(Sent::There);
        }
        let mut open = match session.take() {
            Some(open) => open,
            None => match self.begin(blob, others).await? {
                Ok(open) => open,
                Err(other) => return Ok(Sent::Mounted(other)),
            },
        };
        let outcome = async {
            let part = |from, to| Part {
                source: source.clone(),
                from,
                to,
            };
            if chunked {
                while at < blob.size {
                    let to = blob.size.min(at + open.chunk);
                    at = self.patch(&mut open, part(at, to), blob, step).await?;
                }
            }
            self.put(&open, blob, part(at, blob.size), step).await
        };
        let outcome = outcome.await;
        if outcome.is_err() {
            *session = Some(open);
        }
        outcome.map(|()| Sent::Uploaded)
    }

    async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let what = format!("blob {digest}");
        let tail = format!("blobs/{digest}");
        match self.ask(Method::HEAD, &tail, HeaderMap::new(), &what).await {
            Ok(_) => Ok(true),
            Err(ImageError::Unknown { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens an upload, unless one of the other repositories has the blob to give: then its name.
    async fn begin(&self, blob: &Descriptor, others: &[String]) -> Result<std::result::Result<Session, String>> {
        for other in others.iter().filter(|other| *other != self.reference.path()) {
            let from = utf8_percent_encode(other, NON_ALPHANUMERIC);
            let tail = format!("blobs/uploads/?mount={}&from={from}", blob.digest);
            match self.open(&tail, blob).await {
                Ok(None) => return Ok(Err(other.clone())),
                // An upload like any other: it could not be mounted.
                Ok(Some(session)) => return Ok(Ok(session)),
                Err(error) if is_passing(&error) => return Err(error),
                Err(error) => tracing::debug!(from = other, err = %error, "a blob could not be mounted"),
            }
        }
        let opened = self.open("blobs/uploads/", blob).await?;
        opened
            .map(Ok)
            .ok_or_else(|| self.odd(blob, "it made a blob of nothing"))
    }

    /// `None` if the blob is there at once.
    async fn open(&self, tail: &str, blob: &Descriptor) -> Result<Option<Session>> {
        let what = format!("an upload of blob {}", blob.digest);
        let ask = self.request(self.endpoint(), Method::POST, tail, HeaderMap::new());
        let (response, url) = self.say(ask, None, &what, &mut |_| {}).await?;
        match response.status() {
            StatusCode::CREATED => Ok(None),
            StatusCode::ACCEPTED => Ok(Some(Session {
                at: moved(&url, response.headers()).ok_or_else(|| self.odd(blob, "it names no place for an upload"))?,
                chunk: shortest(response.headers()).max(CHUNK),
            })),
            _ => Err(self.failure(self.endpoint(), &what, response).await),
        }
    }

    /// Sends one chunk; answers where the upload stands then.
    async fn patch(
        &self,
        session: &mut Session,
        part: Part,
        blob: &Descriptor,
        step: &mut (impl FnMut(UploadStep) + Send),
    ) -> Result<u64> {
        let what = format!("a part of blob {}", blob.digest);
        let mut headers = octets(part.to - part.from);
        let range = format!("{}-{}", part.from, part.to - 1);
        headers.insert(CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are sound"));
        let ask = self.at(&session.at, Method::PATCH, headers);
        let (from, to) = (part.from, part.to);
        let (response, url) = self.say(ask, Some(part), &what, step).await?;
        match response.status() {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::CREATED => {
                session.at = moved(&url, response.headers()).unwrap_or_else(|| session.at.clone());
                match stands_at(response.headers()) {
                    Some(stands) if stands > from && stands < to => Ok(stands),
                    _ => Ok(to),
                }
            }
            _ => Err(self.failure(self.endpoint(), &what, response).await),
        }
    }

    /// Sends the rest, which may be nothing, and says what it all is.
    async fn put(
        &self,
        session: &Session,
        blob: &Descriptor,
        part: Part,
        step: &mut (impl FnMut(UploadStep) + Send),
    ) -> Result<()> {
        let what = format!("blob {}", blob.digest);
        let digest = utf8_percent_encode(&blob.digest.to_string(), NON_ALPHANUMERIC).to_string();
        let mut ask = self.at(&session.at, Method::PUT, octets(part.to - part.from));
        let joint = if ask.url.contains('?') { '&' } else { '?' };
        ask.url = format!("{}{joint}digest={digest}", ask.url);
        let (response, _) = self.say(ask, Some(part), &what, step).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::ACCEPTED => Ok(()),
            _ => Err(self.failure(self.endpoint(), &what, response).await),
        }
    }

    /// How far an upload has come, if the registry still knows it.
    async fn standing(&self, session: &Session) -> Option<u64> {
        let ask = self.at(&session.at, Method::GET, HeaderMap::new());
        let (response, _) = self.say(ask, None, "an upload", &mut |_| {}).await.ok()?;
        match response.status() {
            StatusCode::NO_CONTENT | StatusCode::OK => stands_at(response.headers()),
            _ => None,
        }
    }

    /// Lets the registry throw an upload away. It would by itself, later.
    async fn forget(&self, session: Option<Session>) {
        if let Some(session) = session {
            let ask = self.at(&session.at, Method::DELETE, HeaderMap::new());
            if let Err(error) = self.say(ask, None, "an upload", &mut |_| {}).await {
                tracing::debug!(err = %error, "an upload could not be taken back");
            }
        }
    }

    /// Whether the manifest is there, and `tag`, if one is given, points at it.
    pub(crate) async fn has_manifest(&self, manifest: &Descriptor, tag: Option<&str>) -> bool {
        let at = tag.map_or_else(|| manifest.digest.to_string(), str::to_owned);
        self.head(&at).await.as_ref() == Some(&manifest.digest)
    }

    /// Puts a manifest by its tag, or by its digest without one.
    pub(crate) async fn put_manifest(&self, manifest: &Descriptor, tag: Option<&str>, bytes: Bytes) -> Result<()> {
        let at = tag.map_or_else(|| manifest.digest.to_string(), str::to_owned);
        let what = format!("manifest {at} of {}", self.reference.familiar_name());
        let mut fruitless = 0;
        loop {
            let error = match self.put_document(manifest, &at, bytes.clone(), &what).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            fruitless += 1;
            if !is_passing(&error) || fruitless >= self.config().attempts {
                return Err(error);
            }
            tracing::debug!(digest = %manifest.digest, err = %error, "a manifest was not taken, trying again");
            tokio::time::sleep(pause(fruitless)).await;
        }
    }

    async fn put_document(&self, manifest: &Descriptor, at: &str, bytes: Bytes, what: &str) -> Result<()> {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_str(&manifest.media_type);
        headers.insert(
            CONTENT_TYPE,
            kind.map_err(|_| self.odd(manifest, "its media type is no header"))?,
        );
        let endpoint = self.endpoint();
        let mut ask = self.request(endpoint, Method::PUT, &format!("manifests/{at}"), headers);
        ask.body = bytes;
        let (response, _) = self.say(ask, None, what, &mut |_| {}).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(self.failure(endpoint, what, response).await),
        }
    }

    /// A request to a place that the registry named.
    fn at(&self, place: &Uri, method: Method, mut headers: HeaderMap) -> Ask {
        let endpoint = self.endpoint();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        Ask {
            method,
            url: place.to_string(),
            headers: self.with_own(endpoint, headers),
            authorization: self.tokens.lock().get(&endpoint.base).cloned(),
            body: Bytes::new(),
            log: self.access.log.clone(),
        }
    }

    /// Sends a request whose body may have to be sent again, elsewhere or with a fresh token. Answers the place that
    /// answered, too.
    async fn say(
        &self,
        mut ask: Ask,
        part: Option<Part>,
        what: &str,
        step: &mut (impl FnMut(UploadStep) + Send),
    ) -> Result<(Response<Incoming>, Uri)> {
        let endpoint = self.endpoint();
        let client = self.client(endpoint);
        let home: Uri = endpoint.base.parse().expect("an endpoint's address was read before");
        let place = |url: &str| -> Result<Uri> {
            let malformed = |error| client.bad(url, format!("its address is malformed: {error}"));
            url.parse().map_err(malformed)
        };
        let mut url = place(&ask.url)?;
        let mut refused = false;
        for _ in 0..MAX_REDIRECTS {
            if home.scheme_str() == Some("https") && url.scheme_str() != Some("https") && !endpoint.lax {
                return Err(client.bad(&ask.url, "it wants an upload without encryption".to_owned()));
            }
            let at_home = url.authority() == home.authority();
            let response = match &part {
                None => client.once(&ask, &url, at_home, endpoint.lax, None).await?,
                Some(part) => {
                    let (flow, passed) = part.flow();
                    let send = client.once(&ask, &url, at_home, endpoint.lax, Some(flow));
                    told(send, &passed, part.from, step).await?
                }
            };
            match response.status() {
                StatusCode::UNAUTHORIZED if !refused => {
                    refused = true;
                    let Some(authorization) = self.answer(endpoint, response.headers()).await? else {
                        return Err(self.failure(endpoint, what, response).await);
                    };
                    ask.authorization = Some(authorization);
                }
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    let next = moved(&url, response.headers());
                    url = next.ok_or_else(|| client.bad(&ask.url, "it redirects to nowhere".to_owned()))?;
                }
                _ => return Ok((response, url)),
            }
        }
        Err(client.bad(&ask.url, format!("more than {MAX_REDIRECTS} redirects")))
    }

    fn odd(&self, blob: &Descriptor, detail: &str) -> ImageError {
        ImageError::BadAnswer {
            host: self.endpoint().host.clone(),
            what: format!("blob {}", blob.digest),
            detail: detail.to_owned(),
        }
    }
}

/// Whether a registry, or a proxy before it, may take in parts what it does not take whole.
fn wants_chunks(error: &ImageError) -> bool {
    matches!(
        error,
        ImageError::Status {
            status: 400 | 405 | 411 | 413 | 415 | 501,
            ..
        }
    )
}

fn octets(length: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers
}

fn moved(from: &Uri, headers: &HeaderMap) -> Option<Uri> {
    resolve(from, headers.get(LOCATION)?.to_str().ok()?)
}

/// `Range: 0-LAST`: the bytes that are there. Nothing is there for `0-0` of some, one byte for others: nothing is meant.
fn stands_at(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let last: u64 = text
        .strip_prefix("bytes=")
        .unwrap_or(text)
        .strip_prefix("0-")?
        .parse()
        .ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

fn shortest(headers: &HeaderMap) -> u64 {
    let text = headers
        .get("oci-chunk-min-length")
        .and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_stands_where_its_range_ends() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, text.parse().unwrap());
            stands_at(&headers)
        };
        for (text, want) in [
            ("0-0", Some(0)),
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            ("5-9", None),
            ("", None),
        ] {
            assert_eq!(of(text), want, "{text}");
        }
    }
}
