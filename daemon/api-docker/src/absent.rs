//! What there is none of here: swarms, plugins, experimental features; and what is not built yet. In Docker's words.

use crate::answer::{self, Answer, Failure};
use crate::call::{Call, UNHEARD};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};

/// A client that is still sending does not hear an answer, and takes the end of its connection for the end of the daemon.
async fn heard_out(mut call: Call) {
    let rest = async { while let Some(Ok(_)) = call.body.frame().await {} };
    // Who takes longer has been told enough.
    let _ = tokio::time::timeout(UNHEARD, rest).await;
}

/// As an engine that is in no swarm.
pub async fn manager(_: Call) -> Answer {
    Err(Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
    ))
}

pub async fn no_swarm(_: Call) -> Answer {
    Err(Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not part of a swarm",
    ))
}

pub async fn swarm(mut call: Call) -> Answer {
    let _: Value = call.must_json().await?;
    Err(Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "gantry does not form swarms: this engine stands alone",
    ))
}

pub async fn plugins(call: Call) -> Answer {
    call.filters()?;
    answer::ok(&json!([]))
}

pub async fn plugin(call: Call) -> Answer {
    Err(Failure::new(
        StatusCode::NOT_FOUND,
        format!("plugin \"{}\" not found", call.name()),
    ))
}

pub async fn no_plugins(_: Call) -> Answer {
    Err(Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "gantry has no plugins of Docker's kind",
    ))
}

pub async fn experimental(_: Call) -> Answer {
    Err(Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.",
    ))
}

pub async fn login(call: Call) -> Answer {
    heard_out(call).await;
    Err(Failure::new(StatusCode::NOT_IMPLEMENTED, "logging in is not built yet"))
}

pub async fn push(call: Call) -> Answer {
    heard_out(call).await;
    Err(Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "pushing images is not built yet",
    ))
}

pub async fn build(call: Call) -> Answer {
    heard_out(call).await;
    Err(Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "building images is not built yet",
    ))
}

/// Nothing is cached where nothing is built: pruning finds it clean.
pub async fn build_prune(call: Call) -> Answer {
    if call.before(31) {
        return Err(Failure::new(StatusCode::NOT_FOUND, "page not found"));
    }
    answer::ok(&json!({ "CachesDeleted": Value::Null, "SpaceReclaimed": 0 }))
}

pub async fn session(call: Call) -> Answer {
    match call.headers.get(http::header::UPGRADE) {
        None => Err(Failure::bad("no upgrade proto in request")),
        Some(_) => Err(Failure::new(
            StatusCode::NOT_IMPLEMENTED,
            "building images is not built yet",
        )),
    }
}
