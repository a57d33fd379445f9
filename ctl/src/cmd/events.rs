//! `events`.

use chrono::{DateTime, Utc};
use gantry_proto::gantry::v1 as pb;

use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::format::time;
use crate::template::{Struct, Template, Value};
use crate::{opts, out};

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let moment = |name: &str| -> Result<Option<DateTime<Utc>>> {
        let given = parsed.text(name).filter(|text| !text.is_empty());
        given
            .map(|text| time::parse(text, Utc::now()).map_err(Error::refused))
            .transpose()
    };
    let template = match parsed.text("format") {
        None | Some("") => None,
        Some("json") => Some(Template::parse("{{json .}}").map_err(Error::TemplateParse)?),
        Some(source) => Some(Template::parse(source).map_err(Error::TemplateParse)?),
    };
    let request = pb::EventsRequest {
        since: moment("since")?.map(time::to_wire),
        until: moment("until")?.map(time::to_wire),
        filters: opts::filters(parsed.all("filter"))?,
    };
    let mut events = daemon.take(daemon.system().events(request).await)?;
    while let Some(event) = events.message().await.map_err(|status| daemon.error(status))? {
        if event.missed > 0 {
            out::warn(format!(
                "WARNING: {} events were missed: too slow a reader",
                event.missed
            ));
        }
        match &template {
            None => out::line(line(&event)),
            Some(template) => out::line(template.run(&as_value(&event)).map_err(Error::TemplateRun)?),
        }
    }
    Ok(0)
}

/// "2026-01-02T15:04:05.000000000Z container start 0123 (image=busybox, name=web)"
fn line(event: &pb::Event) -> String {
    let at = time::from_wire(event.time.as_ref()).unwrap_or_default();
    let mut text = format!(
        "{} {} {} {}",
        time::rfc3339_fixed_local(at),
        event.r#type,
        event.action,
        event.actor_id
    );
    if !event.attributes.is_empty() {
        let mut attributes: Vec<String> = event
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        attributes.sort_unstable();
        text.push_str(&format!(" ({})", attributes.join(", ")));
    }
    text
}

fn as_value(event: &pb::Event) -> Value {
    let at = time::from_wire(event.time.as_ref()).unwrap_or_default();
    let attributes: Value = event.attributes.iter().collect();
    let actor = Struct::new("events.Actor")
        .with("ID", &event.actor_id)
        .with("Attributes", attributes);
    let from = event.attributes.get("image").map_or("", String::as_str);
    let of_container = event.r#type == "container";
    let only = |json: &'static str| of_container.then_some(json);
    Struct::new("events.Message")
        .json_as("Status", only("status"), event.action.as_str())
        .json_as("ID", only("id"), event.actor_id.as_str())
        .json_as("From", only("from"), from)
        .with("Type", &event.r#type)
        .with("Action", &event.action)
        .with("Actor", actor)
        .json_as("Scope", Some("scope"), "local")
        .json_as("Time", Some("time"), at.timestamp())
        .json_as("TimeNano", Some("timeNano"), at.timestamp_nanos_opt().unwrap_or(0))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_json_are_docker_s() {
        let event = pb::Event {
            r#type: "container".into(),
            action: "start".into(),
            actor_id: "abc".into(),
            attributes: [
                ("name".to_owned(), "web".to_owned()),
                ("image".to_owned(), "busybox".to_owned()),
            ]
            .into(),
            time: Some(prost_types::Timestamp { seconds: 1, nanos: 5 }),
            ..pb::Event::default()
        };
        assert!(line(&event).ends_with(" container start abc (image=busybox, name=web)"));
        assert_eq!(
            as_value(&event).json(),
            r#"{"status":"start","id":"abc","from":"busybox","Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"image":"busybox","name":"web"}},"scope":"local","time":1,"timeNano":1000000005}"#
        );
    }

    #[test]
    fn events_of_networks_name_the_container() {
        let event = pb::Event {
            r#type: "network".into(),
            action: "connect".into(),
            actor_id: "n1".into(),
            attributes: [("container", "c1"), ("name", "web"), ("type", "bridge")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..pb::Event::default()
        };
        assert!(line(&event).ends_with(" network connect n1 (container=c1, name=web, type=bridge)"));
        let json = as_value(&event).json();
        assert!(
            json.starts_with("{\"Type\":\"network\",\"Action\":\"connect\",\"Actor\":{\"ID\":\"n1\","),
            "{json}"
        );
    }
}
