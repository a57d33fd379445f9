//! Asking a repository: the common request, and manifests.

use super::Repository;
use super::http::{Ask, Endpoint};
use crate::descriptor::{Descriptor, Document, MAX_MANIFEST};
use crate::error::{ImageError, Result};
use crate::hash::Hasher;
use crate::media;
use bytes::Bytes;
use gantry_core::{Algorithm, Digest};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;

/// An answer, and who gave it.
pub(super) struct Answer<'a> {
    pub response: Response<Incoming>,
    pub endpoint: &'a Endpoint,
}

impl Repository {
    /// Asks each endpoint in turn until one answers with success. A mirror may fail in any way; the registry itself is
    /// left only for its plain http form, and only if no connection came about.
    pub(super) async fn ask(&self, method: Method, tail: &str, headers: HeaderMap, what: &str) -> Result<Answer<'_>> {
        let mut failure = None;
        for endpoint in self.endpoints.iter().filter(|one| self.serves(one, tail)) {
            let error = match self
                .ask_one(endpoint, method.clone(), tail, headers.clone(), what)
                .await
            {
                Ok(response) => return Ok(Answer { response, endpoint }),
                Err(error) => error,
            };
            let unreachable = matches!(error, ImageError::Connect { .. });
            if endpoint.mirror {
                tracing::debug!(host = %endpoint.host, err = %error, "a mirror failed, going on");
            } else if !unreachable {
                return Err(error);
            }
            failure = Some(error);
        }
        Err(failure.unwrap_or_else(|| ImageError::Settings {
            detail: format!("no host of {} is allowed to serve {what}", self.reference.domain()),
        }))
    }

    /// Whether a host is there for what is asked. What a tag points at is for those that resolve.
    fn serves(&self, endpoint: &Endpoint, tail: &str) -> bool {
        match tail.strip_prefix("manifests/") {
            _ if self.pushing => endpoint.can.push,
            Some(tag) if tag.parse::<Digest>().is_err() => endpoint.can.resolve,
            _ if tail.starts_with("tags/") => endpoint.can.resolve,
            _ => endpoint.can.pull,
        }
    }

    /// A request to an endpoint, with what goes with every one; `tail` follows the repository's name.
    pub(super) fn request(&self, endpoint: &Endpoint, method: Method, tail: &str, headers: HeaderMap) -> Ask {
        let mut url = format!("{}/{}/{tail}", endpoint.api, self.reference.path());
        if let Some(origin) = &endpoint.stands_for {
            let joint = if url.contains('?') { '&' } else { '?' };
            url = format!("{url}{joint}ns={origin}");
        }
        Ask {
            method,
            url,
            headers: self.with_own(endpoint, headers),
            authorization: self.tokens.lock().get(&endpoint.base).cloned(),
            body: Bytes::new(),
            log: self.access.log.clone(),
        }
    }

    pub(super) fn with_own(&self, endpoint: &Endpoint, headers: HeaderMap) -> HeaderMap {
        let mut all = endpoint.headers.clone();
        all.extend(self.access.headers.clone());
        all.extend(headers);
        all
    }

    async fn ask_one(
        &self,
        endpoint: &Endpoint,
        method: Method,
        tail: &str,
        headers: HeaderMap,
        what: &str,
    ) -> Result<Response<Incoming>> {
        let client = self.client(endpoint);
        let mut ask = self.request(endpoint, method, tail, headers);
        let mut response = client.send(&ask, endpoint.lax).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(authorization) = self.answer(endpoint, response.headers()).await?
        {
            ask.authorization = Some(authorization);
            response = client.send(&ask, endpoint.lax).await?;
        }
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            _ => Err(self.failure(endpoint, what, response).await),
        }
    }

    /// A failed answer as an error.
    pub(super) async fn failure(
        &self,
        endpoint: &Endpoint,
        what: &str,
        mut response: Response<Incoming>,
    ) -> ImageError {
        let status = response.status();
        let host = endpoint.host.clone();
        let detail = self.client(endpoint).explanation(&mut response, &host).await;
        let reference = self.reference.familiar();
        match status {
            StatusCode::UNAUTHORIZED if self.is_known(endpoint).await => ImageError::Login { host, detail },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(detail),
            StatusCode::NOT_FOUND => ImageError::Unknown {
                reference,
                detail: format!("{what}: {detail}"),
            },
            StatusCode::TOO_MANY_REQUESTS => ImageError::TooManyRequests { host, detail },
            _ => ImageError::Status {
                host,
                what: what.to_owned(),
                status: status.as_u16(),
                detail,
            },
        }
    }

    /// The digest a tag points at, if the registry says so without sending the manifest.
    pub(crate) async fn head(&self, tag: &str) -> Option<Digest> {
        let tail = format!("manifests/{tag}");
        let answer = self.ask(Method::HEAD, &tail, accepted(), "its manifest").await.ok()?;
        digest_header(answer.response.headers())
    }

    /// A manifest or index by tag or digest, its digest and size checked against `expected` where given.
    pub(crate) async fn manifest(&self, at: &str, expected: Option<&Descriptor>) -> Result<(Descriptor, Vec<u8>)> {
        let what = format!("manifest {at} of {}", self.reference.familiar_name());
        let mut answer = self
            .ask(Method::GET, &format!("manifests/{at}"), accepted(), &what)
            .await?;
        let client = self.client(answer.endpoint);
        let limit = expected.map_or(MAX_MANIFEST, |descriptor| descriptor.size.min(MAX_MANIFEST));
        let bytes = client
            .body(&mut answer.response, &answer.endpoint.host, &what, limit)
            .await?;
        let headers = answer.response.headers();
        let by_digest: Option<Digest> = at.parse().ok();
        let want = by_digest.or_else(|| digest_header(headers));
        let algorithm = want.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let got = Hasher::of(algorithm, &bytes);
        if let Some(want) = want
            && want != got
        {
            return Err(ImageError::WrongDigest {
                what,
                expected: want,
                got,
            });
        }
        let size = bytes.len() as u64;
        if let Some(expected) = expected.filter(|expected| expected.size != size) {
            return Err(ImageError::WrongSize {
                what,
                expected: expected.size,
                got: size,
            });
        }
        let announced = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("");
        let announced = announced.split(';').next().unwrap_or("").trim();
        let announced = expected.map_or(announced, |descriptor| descriptor.media_type.as_str());
        let document = Document::parse(announced, &bytes, &what)?;
        let known = media::is_manifest(announced) || media::is_index(announced);
        let media_type = if known { announced } else { document.media_type() };
        Ok((Descriptor::new(media_type, got, size), bytes))
    }
}

/// Pages of tags read at most, and bytes of one.
const MAX_PAGES: usize = 1000;
const MAX_PAGE: u64 = 4 << 20;

impl Repository {
    /// Every tag, page by page (OCI distribution spec, "Listing Tags").
    pub(crate) async fn tags(&self) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default, deserialize_with = "crate::descriptor::nullable")]
            tags: Vec<String>,
        }
        let what = format!("tags of {}", self.reference.familiar_name());
        let mut tail = "tags/list".to_owned();
        let mut tags = Vec::new();
        for _ in 0..MAX_PAGES {
            let mut answer = self.ask(Method::GET, &tail, HeaderMap::new(), &what).await?;
            let client = self.client(answer.endpoint);
            let body = client
                .body(&mut answer.response, &answer.endpoint.host, &what, MAX_PAGE)
                .await?;
            let page: Page = serde_json::from_slice(&body).map_err(|e| ImageError::parse(&what, e))?;
            tags.extend(page.tags);
            match next_page(answer.response.headers()) {
                Some(query) => tail = format!("tags/list?{query}"),
                None => break,
            }
        }
        Ok(tags)
    }
}

/// The query of `Link: </v2/...?query>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(http::header::LINK)?.to_str().ok()?;
    let (address, relation) = link.strip_prefix('<')?.split_once('>')?;
    let (_, query) = address.split_once('?')?;
    relation.contains("next").then(|| query.to_owned())
}

fn accepted() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for media_type in media::ACCEPTED {
        headers.append(ACCEPT, HeaderValue::from_static(media_type));
    }
    headers
}

fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}
