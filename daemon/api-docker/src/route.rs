//! Who answers what: one table, in the order in which it is asked.

use crate::answer::{self, Answer, Body, Failure};
use crate::call::{Call, Query, Version};
use crate::{
    Door, absent, archive, attach, containers, create, distribution, events, exec, images, info, inspect, life, list,
    logs, networks, stats, system, transfer, volumes,
};
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use tracing::Instrument;

type Handler = fn(Call) -> BoxFuture<'static, Answer>;

struct Route {
    method: Method,
    /// `{name}` stands for one or more parts of a path, as few as fit.
    path: &'static str,
    run: Handler,
}

macro_rules! table {
    ($($method:ident $path:literal => $handler:path,)*) => {
        &[$(Route { method: Method::$method, path: $path, run: |call| Box::pin($handler(call)) },)*]
    };
}

const ROUTES: &[Route] = table! {
    GET "/_ping" => system::ping,
    HEAD "/_ping" => system::ping_head,
    GET "/version" => system::version,
    GET "/info" => info::info,
    GET "/events" => events::events,
    GET "/system/df" => system::disk,
    POST "/auth" => absent::login,
    POST "/session" => absent::session,
    POST "/grpc" => absent::session,

    GET "/containers/json" => list::list,
    GET "/containers/ps" => list::list,
    POST "/containers/create" => create::create,
    POST "/containers/prune" => containers::prune,
    HEAD "/containers/{name}/archive" => archive::stat,
    GET "/containers/{name}/archive" => archive::get,
    PUT "/containers/{name}/archive" => archive::put,
    GET "/containers/{name}/export" => containers::export,
    GET "/containers/{name}/changes" => containers::changes,
    GET "/containers/{name}/json" => inspect::inspect,
    GET "/containers/{name}/top" => containers::top,
    GET "/containers/{name}/logs" => logs::logs,
    GET "/containers/{name}/stats" => stats::stats,
    GET "/containers/{name}/attach/ws" => absent::websocket,
    POST "/containers/{name}/kill" => life::kill,
    POST "/containers/{name}/pause" => life::pause,
    POST "/containers/{name}/unpause" => life::unpause,
    POST "/containers/{name}/restart" => life::restart,
    POST "/containers/{name}/start" => life::start,
    POST "/containers/{name}/stop" => life::stop,
    POST "/containers/{name}/wait" => life::wait,
    POST "/containers/{name}/resize" => life::resize,
    POST "/containers/{name}/attach" => attach::attach,
    POST "/containers/{name}/rename" => life::rename,
    POST "/containers/{name}/update" => containers::update,
    POST "/containers/{name}/exec" => exec::create,
    DELETE "/containers/{name}" => life::remove,
    GET "/containers/{name}/checkpoints" => absent::experimental,
    POST "/containers/{name}/checkpoints" => absent::experimental,
    DELETE "/containers/{name}/checkpoints/{checkpoint}" => absent::experimental,
    POST "/commit" => containers::commit,
    POST "/exec/{name}/start" => exec::start,
    POST "/exec/{name}/resize" => exec::resize,
    GET "/exec/{name}/json" => exec::inspect,

    GET "/images/json" => images::list,
    GET "/images/search" => images::search,
    GET "/images/get" => transfer::save,
    GET "/images/{name}/get" => transfer::save,
    GET "/images/{name}/history" => images::history,
    GET "/images/{name}/json" => images::inspect,
    POST "/images/load" => transfer::load,
    POST "/images/create" => transfer::create,
    POST "/images/prune" => images::prune,
    POST "/images/{name}/push" => absent::push,
    POST "/images/{name}/tag" => images::tag,
    DELETE "/images/{name}" => images::remove,
    GET "/distribution/{name}/json" => distribution::inspect,
    POST "/build" => absent::build,
    POST "/build/prune" => absent::build_prune,
    POST "/build/cancel" => absent::build,

    GET "/networks" => networks::list,
    GET "/networks/" => networks::list,
    POST "/networks/create" => networks::create,
    POST "/networks/prune" => networks::prune,
    POST "/networks/{name}/connect" => networks::connect,
    POST "/networks/{name}/disconnect" => networks::disconnect,
    GET "/networks/{name}" => networks::inspect,
    DELETE "/networks/{name}" => networks::remove,

    GET "/volumes" => volumes::list,
    POST "/volumes/create" => volumes::create,
    POST "/volumes/prune" => volumes::prune,
    GET "/volumes/{name}" => volumes::inspect,
    PUT "/volumes/{name}" => absent::manager,
    DELETE "/volumes/{name}" => volumes::remove,

    GET "/plugins" => absent::plugins,
    GET "/plugins/privileges" => absent::no_plugins,
    POST "/plugins/pull" => absent::no_plugins,
    POST "/plugins/create" => absent::no_plugins,
    GET "/plugins/{name}/json" => absent::plugin,
    POST "/plugins/{name}/enable" => absent::plugin,
    POST "/plugins/{name}/disable" => absent::plugin,
    POST "/plugins/{name}/push" => absent::plugin,
    POST "/plugins/{name}/upgrade" => absent::plugin,
    POST "/plugins/{name}/set" => absent::plugin,
    DELETE "/plugins/{name}" => absent::plugin,

    POST "/swarm/init" => absent::swarm,
    POST "/swarm/join" => absent::swarm,
    POST "/swarm/leave" => absent::no_swarm,
    GET "/swarm" => absent::manager,
    GET "/swarm/unlockkey" => absent::manager,
    POST "/swarm/update" => absent::manager,
    POST "/swarm/unlock" => absent::manager,
    GET "/services" => absent::manager,
    GET "/services/{name}" => absent::manager,
    POST "/services/create" => absent::manager,
    POST "/services/{name}/update" => absent::manager,
    DELETE "/services/{name}" => absent::manager,
    GET "/services/{name}/logs" => absent::manager,
    GET "/nodes" => absent::manager,
    GET "/nodes/{name}" => absent::manager,
    DELETE "/nodes/{name}" => absent::manager,
    POST "/nodes/{name}/update" => absent::manager,
    GET "/tasks" => absent::manager,
    GET "/tasks/{name}" => absent::manager,
    GET "/tasks/{name}/logs" => absent::manager,
    GET "/secrets" => absent::manager,
    POST "/secrets/create" => absent::manager,
    DELETE "/secrets/{name}" => absent::manager,
    GET "/secrets/{name}" => absent::manager,
    POST "/secrets/{name}/update" => absent::manager,
    GET "/configs" => absent::manager,
    POST "/configs/create" => absent::manager,
    DELETE "/configs/{name}" => absent::manager,
    GET "/configs/{name}" => absent::manager,
    POST "/configs/{name}/update" => absent::manager,
};

/// Answers one request. What changes something goes to its end, whether or not the client stays.
pub async fn answer(door: Door, request: Request<Incoming>) -> Response<Body> {
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
        Ok(version) => run(route, call(door, version, params, request), span).await,
        Err(refused) => refused.response(),
    };
    answer::dress(&mut response, &server);
    response
}

fn call(door: Door, version: Version, params: BTreeMap<&'static str, String>, mut request: Request<Incoming>) -> Call {
    let upgrade = Some(hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    Call {
        door,
        version,
        params,
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body,
        upgrade,
    }
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
