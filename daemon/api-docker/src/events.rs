//! `GET /events`.

use crate::answer::{self, Answer, Failure};
use crate::call::Call;
use crate::go_json;
use crate::time;
use bytes::Bytes;
use futures::StreamExt;
use gantry_engine::Event;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;
use tokio_stream::wrappers::ReceiverStream;

#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    from: String,
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    scope: &'static str,
    time: i64,
    #[serde(rename = "timeNano")]
    nanos: i64,
}

#[derive(Serialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: BTreeMap<String, String>,
}

pub async fn events(call: Call) -> Answer {
    let mut filters = call.filters()?;
    let (since, until) = (call.query.text("since"), call.query.text("until"));
    let bounds = (bound(since)?, bound(until)?);
    if let (Some(from), Some(to)) = bounds
        && from > to
    {
        return Err(Failure::bad(format!(
            "`since` time ({since}) cannot be after `until` time ({until})"
        )));
    }
    // Everything happens here; nothing happens in a swarm.
    let scopes = filters.0.remove("scope").unwrap_or_default();
    let here = scopes.is_empty() || scopes.iter().any(|scope| scope == "local");
    // Kinds that there are none of.
    let strange = ["config", "node", "plugin", "secret", "service"].map(|key| filters.0.remove(key).is_some());
    let silent = !here || strange.contains(&true);
    let told = call.engine().events(bounds.0, bounds.1, filters).await?;
    let images_made = call.since(46);
    let lines = ReceiverStream::new(told).filter_map(move |told| {
        let line = match told {
            Err(error) => Some(Err(io::Error::other(error))),
            Ok(_) if silent => None,
            Ok((event, _)) if event.kind == "image" && event.action == "create" && !images_made => None,
            Ok((event, missed)) => {
                if missed > 0 {
                    // There is no word for it in the stream.
                    tracing::warn!(missed, "a client reads events too slowly");
                }
                Some(Ok(Bytes::from(go_json::line(&shown(event)))))
            }
        };
        futures::future::ready(line)
    });
    Ok(answer::stream(answer::JSON, lines))
}

/// Here 0 is the beginning of all, and not no bound.
fn bound(text: &str) -> Result<Option<SystemTime>, Failure> {
    let none = (!text.is_empty()).then_some(SystemTime::UNIX_EPOCH);
    Ok(time::bound(text)?.or(none))
}

/// Before there were kinds, a container's or an image's event stood at the top.
fn shown(event: Event) -> Shown {
    let (seconds, nanos) = time::unix(event.time);
    let old = matches!(event.kind.as_str(), "container" | "image");
    let from = match event.kind.as_str() {
        "container" => event.attributes.get("image").cloned().unwrap_or_default(),
        _ => String::new(),
    };
    Shown {
        status: if old { event.action.clone() } else { String::new() },
        id: if old { event.actor.clone() } else { String::new() },
        from,
        kind: event.kind,
        action: event.action,
        actor: Actor {
            id: event.actor,
            attributes: event.attributes.into_iter().collect(),
        },
        scope: "local",
        time: seconds,
        nanos,
    }
}
