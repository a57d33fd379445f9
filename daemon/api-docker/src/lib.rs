//! The door of the Docker Engine API, versions 1.24 to 1.51: what `docker`, compose and the SDKs speak.
//!
//! It translates: a request comes in, a use case of [`gantry_engine::Engine`] is called, JSON in Docker's order and case goes
//! out. It holds no state and no rule. What a body must look like to be translated at all is checked here, in the words Go's
//! decoder has for it; an option that the engine does not obey is refused by its name.
//!
//! The flow: [`serve`] reads requests from one connection; `routes` is the table of them and `route` finds who answers; `call` is what handlers see of a
//! request, `answer` what they give back, with the one wrapper for failures. `hijack` turns a connection into a process's
//! stdio. The other modules are the routes, a group each, and `model` the shapes.

mod absent;
mod answer;
mod archive;
mod attach;
mod auth;
mod call;
mod connection;
mod containers;
mod create;
mod distribution;
mod escape;
mod events;
mod exec;
mod framing;
mod go_json;
mod hijack;
mod images;
mod info;
mod inspect;
mod json;
mod life;
mod list;
mod logs;
mod model;
mod networks;
mod ports;
mod progress;
mod route;
mod routes;
mod stats;
mod syntax;
mod system;
mod time;
mod transfer;
mod unread_unsafe;
mod volumes;
mod websocket;

pub use connection::{Stream, serve};

use gantry_engine::Engine;
use std::sync::Arc;

/// The newest version of the API that is served, and the oldest.
pub const NEWEST: &str = "1.51";
pub const OLDEST: &str = "1.24";

/// The file below the data root that holds the daemon's id, which `info` prints.
const ID_FILE: &str = "engine-id";

/// What every request needs. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    engine: Engine,
    about: Arc<About>,
}

/// What the administrator decided about this door.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Proxies that the daemon was told of, for `info`.
    pub http_proxy: String,
    pub https_proxy: String,
    pub no_proxy: String,
}

impl Door {
    pub fn new(engine: Engine, about: About) -> Self {
        Self {
            engine,
            about: Arc::new(about),
        }
    }
}
