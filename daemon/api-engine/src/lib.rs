//! The door of gantry.v1: what `gantry` speaks.
//!
//! It translates: a wire type comes in, a use case of [`gantry_engine::Engine`] is called, a wire type goes out. It holds no state and
//! no rule; what a message must look like to be translated at all (a field that is missing, negative or odd) is checked here
//! and refused by the field's name.
//!
//! The flow: `containers`, `execs`, `images` and `system` serve the rpcs; `config` and `view` turn messages into the engine's
//! words and back; every failure leaves through the one wrapper in `status`.

mod check;
mod config;
mod containers;
mod copy;
mod execs;
mod host;
mod images;
mod mounts;
mod networks;
mod status;
mod stream;
mod system;
mod time;
mod view;
mod volumes;

use gantry_engine::Engine;
use gantry_proto::gantry::v1::containers_server::ContainersServer;
use gantry_proto::gantry::v1::execs_server::ExecsServer;
use gantry_proto::gantry::v1::images_server::ImagesServer;
use gantry_proto::gantry::v1::networks_server::NetworksServer;
use gantry_proto::gantry::v1::system_server::SystemServer;
use gantry_proto::gantry::v1::volumes_server::VolumesServer;
use tonic::service::RoutesBuilder;
use tracing::Span;

/// Largest message either way, in bytes.
pub const MESSAGE_LIMIT: usize = 16 << 20;

/// The file below the data root that holds the daemon's id, which `info` prints.
pub const ID_FILE: &str = "engine-id";

/// Names of the services, for the health service.
pub const SERVICES: [&str; 6] = [
    "gantry.v1.Containers",
    "gantry.v1.Execs",
    "gantry.v1.Images",
    "gantry.v1.Networks",
    "gantry.v1.System",
    "gantry.v1.Volumes",
];

/// The services' common state: none but the engine.
#[derive(Clone)]
struct Door {
    engine: Engine,
}

/// Adds the six services to a server.
pub fn add_services(engine: Engine, routes: &mut RoutesBuilder) {
    let door = Door { engine };
    macro_rules! add {
        ($($server:ident),*) => {
            $(routes.add_service(
                $server::new(door.clone()).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT),
            );)*
        };
    }
    add!(
        ContainersServer,
        ExecsServer,
        ImagesServer,
        NetworksServer,
        SystemServer,
        VolumesServer
    );
}

/// The span of one request.
pub fn span(request: &http::Request<()>) -> Span {
    tracing::info_span!("request", req = request.uri().path())
}
