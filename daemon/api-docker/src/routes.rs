//! Every route, with what it reads of a query: one table, in the order in which it is asked.
//!
//! A handler sees of a query only what stands here for its route, so that nothing is read that is not in the table. A word of a
//! query is a parameter; `word@48` is one since version 1.48 and nothing before; `word!` is known and not obeyed yet: who asks
//! for something with it is refused by that name. A word that begins with `X-` is a header.

use crate::answer::{Answer, Failure};
use crate::call::{Call, Query, Version};
use crate::{
    absent, archive, attach, containers, create, distribution, events, exec, images, info, inspect, life, list, logs,
    networks, stats, system, transfer, volumes, websocket,
};
use futures::future::BoxFuture;
use http::Method;

type Handler = fn(Call) -> BoxFuture<'static, Answer>;

pub struct Route {
    pub method: Method,
    /// `{name}` stands for one or more parts of a path, as few as fit.
    pub path: &'static str,
    query: &'static str,
    filters: &'static str,
    #[cfg(test)]
    handler: &'static str,
    pub run: Handler,
}

/// A word of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    name: &'static str,
    /// Minor version.
    since: u32,
    refused: bool,
}

impl Word {
    fn read(text: &'static str) -> Self {
        let (text, refused) = text.strip_suffix('!').map_or((text, false), |text| (text, true));
        let (name, since) = text.split_once('@').unwrap_or((text, "0"));
        Self {
            name,
            since: since.parse().expect("a minor version stands behind the @"),
            refused,
        }
    }
}

impl Route {
    fn words(&self) -> impl Iterator<Item = Word> {
        self.query.split_whitespace().map(Word::read)
    }

    /// Keys that its `filters` may have.
    pub fn filters(&self) -> Vec<&'static str> {
        self.filters.split_whitespace().collect()
    }

    /// What the route reads of a query at a version. What it would have to refuse is refused.
    pub fn read(&self, version: Version, text: &str) -> Result<Query, Failure> {
        let whole = Query::parse(text);
        let known = |name: &str| {
            self.words()
                .find(|word| word.name == name && version >= Version(1, word.since))
        };
        let refused = self.words().filter(|word| word.refused);
        for word in refused.filter(|word| version >= Version(1, word.since)) {
            if whole.flag(word.name) {
                return Err(Failure::unbuilt(word.name));
            }
        }
        Ok(whole.only(|name| known(name).is_some()))
    }
}

macro_rules! table {
    ($($method:ident $path:literal ($query:literal $(filters $filters:literal)?) => $handler:path,)*) => {
        &[$(Route {
            method: Method::$method,
            path: $path,
            query: $query,
            filters: concat!($($filters)?),
            #[cfg(test)]
            handler: stringify!($handler),
            run: |call| Box::pin($handler(call)),
        },)*]
    };
}

pub const ROUTES: &[Route] = table! {
    GET "/_ping" ("") => system::ping,
    HEAD "/_ping" ("") => system::ping_head,
    GET "/version" ("") => system::version,
    GET "/info" ("") => info::info,
    GET "/events" (
        "since until filters"
        filters "config container daemon event image label network node plugin scope secret service type volume"
    ) => events::events,
    GET "/system/df" ("type@42") => system::disk,
    POST "/auth" ("") => absent::login,
    POST "/session" ("") => absent::session,
    POST "/grpc" ("") => absent::session,

    GET "/containers/json" (
        "all before filters limit since size"
        filters "ancestor before exited expose health id is-task isolation label name network publish since status volume"
    ) => list::list,
    POST "/containers/create" ("name platform@41") => create::create,
    POST "/containers/prune" ("filters" filters "label label! until") => containers::prune,
    HEAD "/containers/{name}/archive" ("path") => archive::stat,
    GET "/containers/{name}/archive" ("path") => archive::get,
    PUT "/containers/{name}/archive" ("copyUIDGID noOverwriteDirNonDir path") => archive::put,
    GET "/containers/{name}/export" ("") => containers::export,
    GET "/containers/{name}/changes" ("") => containers::changes,
    GET "/containers/{name}/json" ("size") => inspect::inspect,
    GET "/containers/{name}/top" ("ps_args") => containers::top,
    GET "/containers/{name}/logs" ("details follow since stderr stdout tail timestamps until") => logs::logs,
    GET "/containers/{name}/stats" ("one-shot@41 stream") => stats::stats,
    GET "/containers/{name}/attach/ws" ("detachKeys logs stderr@42 stdin@42 stdout@42 stream") => websocket::attach,
    POST "/containers/{name}/kill" ("signal") => life::kill,
    POST "/containers/{name}/pause" ("") => life::pause,
    POST "/containers/{name}/unpause" ("") => life::unpause,
    POST "/containers/{name}/restart" ("signal@42 t") => life::restart,
    POST "/containers/{name}/start" ("checkpoint checkpoint-dir detachKeys") => life::start,
    POST "/containers/{name}/stop" ("signal@42 t") => life::stop,
    POST "/containers/{name}/wait" ("condition@30") => life::wait,
    POST "/containers/{name}/resize" ("h w") => life::resize,
    POST "/containers/{name}/attach" ("detachKeys logs stderr stdin stdout stream") => attach::attach,
    POST "/containers/{name}/rename" ("name") => life::rename,
    POST "/containers/{name}/update" ("") => containers::update,
    POST "/containers/{name}/exec" ("") => exec::create,
    DELETE "/containers/{name}" ("force link v") => life::remove,
    GET "/containers/{name}/checkpoints" ("dir") => absent::experimental,
    POST "/containers/{name}/checkpoints" ("") => absent::experimental,
    DELETE "/containers/{name}/checkpoints/{checkpoint}" ("dir") => absent::experimental,
    POST "/commit" ("author changes comment container pause repo tag") => containers::commit,
    POST "/exec/{name}/start" ("") => exec::start,
    POST "/exec/{name}/resize" ("h w") => exec::resize,
    GET "/exec/{name}/json" ("") => exec::inspect,

    GET "/images/json" (
        "all digests filter filters manifests@47! shared-size@42"
        filters "before dangling label label! reference since until"
    ) => images::list,
    GET "/images/search" ("filters limit term" filters "is-automated is-official stars") => images::search,
    GET "/images/get" ("names platform@48!") => transfer::save,
    GET "/images/{name}/get" ("platform@48!") => transfer::save,
    GET "/images/{name}/history" ("platform@48") => images::history,
    GET "/images/{name}/json" ("manifests@48! platform@49") => images::inspect,
    POST "/images/load" ("platform@48! quiet") => transfer::load,
    POST "/images/create" (
        "changes fromImage fromSrc message platform@32 repo tag X-Registry-Auth"
    ) => transfer::create,
    POST "/images/prune" ("filters" filters "dangling label label! until") => images::prune,
    POST "/images/{name}/push" ("platform tag X-Registry-Auth") => absent::push,
    POST "/images/{name}/tag" ("repo tag") => images::tag,
    DELETE "/images/{name}" ("force noprune platforms@50!") => images::remove,
    GET "/distribution/{name}/json" ("X-Registry-Auth") => distribution::inspect,
    POST "/build" (
        "buildargs cachefrom cpuperiod cpuquota cpusetcpus cpusetmems cpushares dockerfile extrahosts forcerm labels memory memswap networkmode nocache outputs platform pull q remote rm session shmsize squash t target ulimits version X-Registry-Config"
    ) => absent::build,
    POST "/build/prune" (
        "all filters keep-storage max-used-space min-free-space reserved-space"
    ) => absent::build_prune,
    POST "/build/cancel" ("id") => absent::build,

    GET "/networks" ("filters" filters "dangling driver id label name scope type") => networks::list,
    GET "/networks/" ("filters" filters "dangling driver id label name scope type") => networks::list,
    POST "/networks/create" ("") => networks::create,
    POST "/networks/prune" ("filters" filters "label label! until") => networks::prune,
    POST "/networks/{name}/connect" ("") => networks::connect,
    POST "/networks/{name}/disconnect" ("") => networks::disconnect,
    GET "/networks/{name}" ("scope verbose") => networks::inspect,
    DELETE "/networks/{name}" ("") => networks::remove,

    GET "/volumes" ("filters" filters "dangling driver label name") => volumes::list,
    POST "/volumes/create" ("") => volumes::create,
    POST "/volumes/prune" ("filters" filters "all label label!") => volumes::prune,
    GET "/volumes/{name}" ("") => volumes::inspect,
    PUT "/volumes/{name}" ("version") => absent::manager,
    DELETE "/volumes/{name}" ("force") => volumes::remove,

    GET "/plugins" ("filters" filters "capability enabled") => absent::plugins,
    GET "/plugins/privileges" ("") => absent::no_plugins,
    POST "/plugins/pull" ("") => absent::no_plugins,
    POST "/plugins/create" ("") => absent::no_plugins,
    GET "/plugins/{name}/json" ("") => absent::plugin,
    POST "/plugins/{name}/enable" ("") => absent::plugin,
    POST "/plugins/{name}/disable" ("") => absent::plugin,
    POST "/plugins/{name}/push" ("") => absent::plugin,
    POST "/plugins/{name}/upgrade" ("") => absent::plugin,
    POST "/plugins/{name}/set" ("") => absent::plugin,
    DELETE "/plugins/{name}" ("") => absent::plugin,

    POST "/swarm/init" ("") => absent::swarm,
    POST "/swarm/join" ("") => absent::swarm,
    POST "/swarm/leave" ("") => absent::no_swarm,
    GET "/swarm" ("") => absent::manager,
    GET "/swarm/unlockkey" ("") => absent::manager,
    POST "/swarm/update" ("") => absent::manager,
    POST "/swarm/unlock" ("") => absent::manager,
    GET "/services" ("") => absent::manager,
    GET "/services/{name}" ("") => absent::manager,
    POST "/services/create" ("") => absent::manager,
    POST "/services/{name}/update" ("") => absent::manager,
    DELETE "/services/{name}" ("") => absent::manager,
    GET "/services/{name}/logs" ("") => absent::manager,
    GET "/nodes" ("") => absent::manager,
    GET "/nodes/{name}" ("") => absent::manager,
    DELETE "/nodes/{name}" ("") => absent::manager,
    POST "/nodes/{name}/update" ("") => absent::manager,
    GET "/tasks" ("") => absent::manager,
    GET "/tasks/{name}" ("") => absent::manager,
    GET "/tasks/{name}/logs" ("") => absent::manager,
    GET "/secrets" ("") => absent::manager,
    POST "/secrets/create" ("") => absent::manager,
    DELETE "/secrets/{name}" ("") => absent::manager,
    GET "/secrets/{name}" ("") => absent::manager,
    POST "/secrets/{name}/update" ("") => absent::manager,
    GET "/configs" ("") => absent::manager,
    POST "/configs/create" ("") => absent::manager,
    DELETE "/configs/{name}" ("") => absent::manager,
    GET "/configs/{name}" ("") => absent::manager,
    POST "/configs/{name}/update" ("") => absent::manager,
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// What becomes of a route as a whole.
    fn answer(handler: &str) -> &'static str {
        match handler.replace(' ', "").as_str() {
            "absent::manager" | "absent::swarm" | "absent::no_swarm" => "no swarm",
            "absent::plugins" | "absent::plugin" | "absent::no_plugins" => "no plugins",
            "absent::build_prune" => "nothing cached",
            "absent::login" | "absent::push" | "absent::build" | "absent::session" | "images::search" => "not built",
            "absent::experimental" => "experimental",
            _ => "served",
        }
    }

    fn printed() -> String {
        let mut text = String::from(concat!(
            "# Routes of the Docker Engine API\n\n",
            "Printed from the table in `daemon/api-docker/src/routes.rs` by its test; with `GANTRY_WRITE_ROUTES=1` the test writes this file.\n\n",
            "What a route reads of a query: `word@48` since version 1.48, `word!` refused by its name, `X-` a header. ",
            "What stands here for no route is not read. Every word of a route that is served has a test of its effect ",
            "(`tests/e2e/tests/docker/params`).\n\n",
            "| route | answer | query | filters |\n|---|---|---|---|\n",
        ));
        for route in ROUTES {
            let line = format!(
                "| {} {} | {} | {} | {} |",
                route.method,
                route.path,
                answer(route.handler),
                route.query,
                route.filters
            );
            writeln!(text, "{line}").expect("text takes what is written");
        }
        text
    }

    #[test]
    fn the_table_is_the_documents() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/docker-routes.md");
        let printed = printed();
        if std::env::var_os("GANTRY_WRITE_ROUTES").is_some() {
            std::fs::write(path, &printed).expect("the document can be written");
        }
        let written = std::fs::read_to_string(path).expect("the document is there");
        assert!(
            written == printed,
            "{path} is not the table: run this test with GANTRY_WRITE_ROUTES=1"
        );
    }

    #[test]
    fn a_query_is_what_the_table_has() {
        let route = |path: &str| ROUTES.iter().find(|route| route.path == path).expect("a route");
        let stop = route("/containers/{name}/stop");
        let query = stop.read(Version(1, 41), "t=5&signal=INT&odd=1").expect("it is read");
        assert_eq!(
            (query.text("t"), query.given("signal"), query.given("odd")),
            ("5", None, None)
        );
        let query = stop.read(Version(1, 42), "signal=INT").expect("it is read");
        assert_eq!(query.text("signal"), "INT");
        let save = route("/images/get");
        assert!(save.read(Version(1, 47), "platform=x").is_ok());
        assert!(save.read(Version(1, 48), "platform=").is_ok());
        let refused = save.read(Version(1, 48), "platform=x").expect_err("it is refused");
        assert_eq!(refused.message, "platform is not built yet: leave it out");
    }

    #[test]
    fn filters_go_with_a_parameter() {
        for route in ROUTES.iter().filter(|route| answer(route.handler) == "served") {
            let takes = route.words().any(|word| word.name == "filters");
            assert_eq!(takes, !route.filters.is_empty(), "{}", route.path);
        }
    }
}
