//! From a request to who answers it.

use crate::Door;
use crate::answer::{self, Body, Failure};
use crate::call::{self, Call, Version};
use crate::routes::{ROUTES, Route};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use tracing::Instrument;

/// Answers one request. What changes something goes to its end, whether or not the client stays.
pub async fn answer(door: Door, mut request: Request<Incoming>) -> Response<Body> {
    let server = door.engine.config().version.clone();
    let span = tracing::info_span!("request", req = %request.uri().path());
    let path = percent_decode_str(request.uri().path())
        .decode_utf8_lossy()
        .into_owned();
    if let Some(clean) = cleaned(&path) {
        return moved(&clean, request.uri().query());
    }
    let (version, rest) = match versioned(&path) {
        Some((text, rest)) => (Some(text), rest),
        None => (None, path.as_str()),
    };
    if request.method() == Method::OPTIONS {
        let mut response = answer::bare(StatusCode::OK);
        answer::dress(&mut response, &server);
        return response;
    }
    let Some((route, params)) = find(request.method(), rest) else {
        call::discard(request.body_mut()).await;
        return answer::not_found();
    };
    let asked = match version {
        None => Ok(Version::newest()),
        Some(text) => match Version::parse(text) {
            None => return answer::not_found(),
            Some(version) => answer::refuse_version(version, text).map_or(Ok(version), Err),
        },
    };
    let mut response = match asked {
        Ok(version) => match call(door, route, version, params, request) {
            Ok(call) => run(route, call, span).await,
            Err(refused) => refused.response(),
        },
        Err(refused) => refused.response(),
    };
    answer::dress(&mut response, &server);
    response
}

fn call(
    door: Door,
    route: &'static Route,
    version: Version,
    params: BTreeMap<&'static str, String>,
    mut request: Request<Incoming>,
) -> Result<Call, Failure> {
    let query = route.read(version, request.uri().query().unwrap_or_default())?;
    let upgrade = Some(hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    Ok(Call {
        door,
        route,
        version,
        params,
        query,
        headers: parts.headers,
        body,
        upgrade,
    })
}

async fn run(route: &'static Route, call: Call, span: tracing::Span) -> Response<Body> {
    let work = (route.run)(call);
    let outcome = tokio::spawn(work.instrument(span)).await;
    let answered = outcome.unwrap_or_else(|join| {
        let lost = gantry_core::Error::internal(format!("the request ended early: {join}"));
        Err(Failure::from(lost))
    });
    answered.unwrap_or_else(Failure::response)
}

/// `/v1.41/info` is version `1.41` of `/info`.
fn versioned(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v")?;
    let end = rest.find('/')?;
    let (text, rest) = rest.split_at(end);
    let is_version = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_version.then_some((text, rest))
}

/// The path without `//`, `.` and `..`, if it has any of them.
fn cleaned(path: &str) -> Option<String> {
    let odd = path.split('/').skip(1).enumerate();
    let last = path.matches('/').count();
    let is_odd = |(at, part): (usize, &str)| matches!(part, "." | "..") || (part.is_empty() && at + 1 != last);
    if !odd.into_iter().any(is_odd) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let slash = if path.ends_with('/') && !parts.is_empty() {
        "/"
    } else {
        ""
    };
    Some(format!("/{}{slash}", parts.join("/")))
}

fn moved(path: &str, query: Option<&str>) -> Response<Body> {
    let mut response = answer::bare(StatusCode::MOVED_PERMANENTLY);
    let encoded = percent_encoding::utf8_percent_encode(path, percent_encoding::CONTROLS).to_string();
    let to = match query {
        Some(query) => format!("{encoded}?{query}"),
        None => encoded,
    };
    if let Ok(to) = http::HeaderValue::from_str(&to) {
        response.headers_mut().insert(http::header::LOCATION, to);
    }
    response
}

fn find(method: &Method, path: &str) -> Option<(&'static Route, BTreeMap<&'static str, String>)> {
    ROUTES
        .iter()
        .filter(|route| route.method == *method)
        .find_map(|route| Some((route, matched(route.path, path)?)))
}

/// The parts of the path that stand for the pattern's words.
fn matched(pattern: &'static str, path: &str) -> Option<BTreeMap<&'static str, String>> {
    let pattern: Vec<&'static str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    let mut params = BTreeMap::new();
    fit(&pattern, &path, &mut params).then_some(params)
}

fn fit(pattern: &[&'static str], path: &[&str], params: &mut BTreeMap<&'static str, String>) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return path.is_empty();
    };
    let Some(name) = first.strip_prefix('{').and_then(|name| name.strip_suffix('}')) else {
        return path.first() == Some(first) && fit(rest, &path[1..], params);
    };
    for taken in 1..=path.len() {
        if fit(rest, &path[taken..], params) {
            params.insert(name, path[..taken].join("/"));
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(method: Method, path: &str) -> Option<String> {
        let (_, params) = find(&method, path)?;
        Some(params.get("name").cloned().unwrap_or_default())
    }

    #[test]
    fn names_may_have_slashes() {
        assert_eq!(
            param(Method::GET, "/images/host:5/a/b:1/json").as_deref(),
            Some("host:5/a/b:1")
        );
        assert_eq!(param(Method::DELETE, "/images/a/b").as_deref(), Some("a/b"));
        assert_eq!(param(Method::GET, "/images/json").as_deref(), Some(""));
        assert_eq!(param(Method::GET, "/containers/web/json").as_deref(), Some("web"));
        assert_eq!(param(Method::DELETE, "/info"), None);
        assert_eq!(param(Method::GET, "/nothing"), None);
    }

    #[test]
    fn versions_and_odd_paths() {
        assert_eq!(versioned("/v1.41/info"), Some(("1.41", "/info")));
        assert_eq!(versioned("/volumes"), None);
        assert_eq!(versioned("/vx/info"), None);
        assert_eq!(
            cleaned("/containers/a/../b/json").as_deref(),
            Some("/containers/b/json")
        );
        assert_eq!(cleaned("//info").as_deref(), Some("/info"));
        assert_eq!(cleaned("/networks/"), None);
        assert_eq!(cleaned("/info"), None);
    }
}
