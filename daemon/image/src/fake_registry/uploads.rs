//! What the fake registry does with what is pushed to it.

use super::{Body, Content, Manners, problem, whole};
use crate::hash::Hasher;
use gantry_core::{Algorithm, Digest};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

pub(super) async fn answer(
    shared: Arc<Mutex<Content>>,
    manners: Manners,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or("").to_owned();
    let method = request.method().as_str().to_owned();
    let kind = request
        .headers()
        .get("content-type")
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("").to_owned();
    let id = path.rsplit('/').next().unwrap_or("").to_owned();
    if method == "PUT" && path.contains("/manifests/") {
        let bytes = request
            .body_mut()
            .collect()
            .await
            .map_err(io::Error::other)?
            .to_bytes()
            .to_vec();
        return Ok(manifest(&mut shared.lock(), &id, kind, bytes));
    }
    if method == "POST" {
        return Ok(begin(&mut shared.lock(), &manners, &path, &query));
    }
    if !shared.lock().uploads.contains_key(&id) {
        return Ok(problem(404, "BLOB_UPLOAD_UNKNOWN"));
    }
    let size = request
        .headers()
        .get("content-length")
        .and_then(|size| size.to_str().ok());
    if method == "PUT" && manners.chunks_only && size != Some("0") {
        return Ok(problem(413, "SIZE_INVALID"));
    }
    if method != "GET" && method != "DELETE" {
        let mut come = 0;
        while let Some(frame) = request.body_mut().frame().await {
            let bytes = frame.map_err(io::Error::other)?.into_data().unwrap_or_default();
            come += bytes.len();
            let mut content = shared.lock();
            content
                .uploads
                .get_mut(&id)
                .expect("looked up above")
                .extend_from_slice(&bytes);
            let (cuts, after) = content.manners.upload_cuts;
            if cuts > 0 && come >= after {
                content.manners.upload_cuts.0 -= 1;
                return Err(io::Error::other("cut"));
            }
        }
    }
    let mut content = shared.lock();
    let come = content.uploads[&id].len();
    let range = format!("0-{}", come.saturating_sub(1));
    match method.as_str() {
        "GET" => Ok(whole(204, &[("range", &range), ("location", &path)], "")),
        "PATCH" => Ok(whole(202, &[("range", &range), ("location", &path)], "")),
        "DELETE" => {
            content.uploads.remove(&id);
            Ok(whole(204, &[], ""))
        }
        _ => {
            let bytes = content.uploads.remove(&id).expect("looked up above");
            let digest = Hasher::of(Algorithm::Sha256, &bytes).to_string();
            if query != format!("digest={}", digest.replace(':', "%3A")) {
                return Ok(problem(400, "DIGEST_INVALID"));
            }
            content.blobs.insert(digest, bytes);
            Ok(whole(201, &[], ""))
        }
    }
}

fn begin(content: &mut Content, manners: &Manners, path: &str, query: &str) -> Response<Body> {
    if content.manners.upload_busy > 0 {
        content.manners.upload_busy -= 1;
        return problem(503, "BUSY");
    }
    let mount = query.strip_prefix("mount=").and_then(|rest| rest.split('&').next());
    if mount.is_some_and(|digest| !manners.no_mounts && content.blobs.contains_key(digest)) {
        return whole(201, &[], "");
    }
    let id = format!("u{}", content.seen.len());
    content.uploads.insert(id.clone(), Vec::new());
    whole(202, &[("location", &format!("{path}{id}"))], "")
}

/// A manifest whose parts are not here is refused, as real registries do.
fn manifest(content: &mut Content, at: &str, kind: String, bytes: Vec<u8>) -> Response<Body> {
    let document: serde_json::Value = serde_json::from_slice(&bytes).expect("a manifest is JSON");
    let digests = |key: &str| -> Vec<String> {
        let list = document[key].as_array().cloned().unwrap_or_default();
        list.iter()
            .filter_map(|one| Some(one["digest"].as_str()?.to_owned()))
            .collect()
    };
    let blobs = digests("layers")
        .iter()
        .all(|digest| content.blobs.contains_key(digest));
    let manifests = digests("manifests")
        .iter()
        .all(|digest| content.manifests.contains_key(digest));
    if !blobs || !manifests {
        return problem(404, "MANIFEST_BLOB_UNKNOWN");
    }
    let digest: Digest = Hasher::of(Algorithm::Sha256, &bytes);
    content.manifests.insert(at.to_owned(), (kind.clone(), bytes.clone()));
    content.manifests.insert(digest.to_string(), (kind, bytes));
    whole(201, &[], "")
}
