//! `inspect`, of containers, images, networks and volumes alike.

use gantry_proto::gantry::v1 as pb;

use super::{inspect_container, inspect_image, inspect_network, inspect_volume};
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::out;
use crate::template::{Template, Value};

pub(crate) async fn any(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    match parsed.text("type") {
        None | Some("") => {
            let all = [Kind::Container, Kind::Image, Kind::Network, Kind::Volume];
            show(&daemon, &parsed, &all).await
        }
        Some("container") => show(&daemon, &parsed, &[Kind::Container]).await,
        Some("image") => show(&daemon, &parsed, &[Kind::Image]).await,
        Some("network") => show(&daemon, &parsed, &[Kind::Network]).await,
        Some("volume") => show(&daemon, &parsed, &[Kind::Volume]).await,
        Some(other) => Err(Error::refused(format!(
            "unknown type: {other:?}: must be one of \"container\", \"image\", \"network\", \"volume\""
        ))),
    }
}

pub(crate) async fn containers(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    show(&daemon, &parsed, &[Kind::Container]).await
}

pub(crate) async fn images(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    show(&daemon, &parsed, &[Kind::Image]).await
}

pub(crate) async fn networks(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    show(&daemon, &parsed, &[Kind::Network]).await
}

pub(crate) async fn volumes(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    show(&daemon, &parsed, &[Kind::Volume]).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

async fn show(daemon: &Daemon, parsed: &Parsed, kinds: &[Kind]) -> Result<i32> {
    if parsed.on("size") && !kinds.contains(&Kind::Container) {
        let kind = match kinds {
            [Kind::Image, ..] => "images",
            [Kind::Volume, ..] => "volumes",
            _ => "networks",
        };
        out::warn(format!("WARNING: --size ignored for {kind}"));
    }
    let shape = Shape::read(parsed.text("format"))?;
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for name in &parsed.args {
        match find(daemon, name, kinds, parsed.on("size")).await {
            Ok(value) => found.push(value),
            Err(err) => errors.push(err.to_string()),
        }
    }
    out::put(shape.render(&found)?);
    if errors.is_empty() {
        Ok(0)
    } else {
        Err(Error::Several(errors))
    }
}

/// The first kind under which the daemon knows the name.
async fn find(daemon: &Daemon, name: &str, kinds: &[Kind], size: bool) -> Result<Value> {
    for kind in kinds {
        let looked = match kind {
            Kind::Container => container(daemon, name, size).await,
            Kind::Image => image(daemon, name).await,
            Kind::Network => network(daemon, name).await,
            Kind::Volume => volume(daemon, name).await,
        };
        match looked {
            // Asked for one kind only, the daemon has the word.
            other if kinds.len() == 1 => return other,
            // A name that none of this kind can bear is none's.
            Err(err) if err.is_not_found() || (*kind != Kind::Container && err.kind() == "invalid-argument") => {}
            other => return other,
        }
    }
    Err(Error::refused(format!("Error: No such object: {name}")))
}

async fn container(daemon: &Daemon, name: &str, size: bool) -> Result<Value> {
    let request = pb::InspectContainerRequest {
        container: name.to_owned(),
        size,
    };
    let answer = daemon.take(daemon.containers().inspect(request).await)?;
    Ok(inspect_container::value(&answer.container.unwrap_or_default()))
}

async fn image(daemon: &Daemon, name: &str) -> Result<Value> {
    let request = pb::InspectImageRequest { image: name.to_owned() };
    daemon
        .take(daemon.images().inspect(request).await)
        .map(|image| inspect_image::value(&image))
}

async fn network(daemon: &Daemon, name: &str) -> Result<Value> {
    let request = pb::InspectNetworkRequest {
        network: name.to_owned(),
    };
    daemon
        .take(daemon.networks().inspect(request).await)
        .map(|network| inspect_network::value(&network))
}

async fn volume(daemon: &Daemon, name: &str) -> Result<Value> {
    let request = pb::InspectVolumeRequest {
        volume: name.to_owned(),
    };
    daemon
        .take(daemon.volumes().inspect(request).await)
        .map(|volume| inspect_volume::value(&volume))
}

/// How what was found is shown.
enum Shape {
    Array,
    Json,
    Template(Template),
}

impl Shape {
    fn read(format: Option<&str>) -> Result<Self> {
        match format {
            None | Some("") => Ok(Self::Array),
            Some("json") => Ok(Self::Json),
            Some(source) => {
                let parsed = Template::parse(source);
                parsed
                    .map(Self::Template)
                    .map_err(|err| Error::refused(format!("template parsing error: {err}")))
            }
        }
    }

    fn render(&self, found: &[Value]) -> Result<String> {
        let mut text = String::new();
        match self {
            Self::Array => return Ok(format!("{}\n", Value::List(found.to_vec()).pretty_json())),
            Self::Json => found
                .iter()
                .for_each(|value| text.push_str(&format!("{}\n", value.json()))),
            Self::Template(template) => {
                for value in found {
                    text.push_str(&by_template(template, value)?);
                    text.push('\n');
                }
            }
        }
        Ok(text)
    }
}

/// By Go's field names; where they fail, by those of the JSON, as docker does.
fn by_template(template: &Template, value: &Value) -> Result<String> {
    let typed = template.run(value);
    if let Ok(text) = typed {
        return Ok(text);
    }
    let raw = template.run_strict(&as_json(value));
    raw.map_err(|err| Error::refused(format!("template parsing error: {err}")))
}

/// Structs as maps under their JSON names.
fn as_json(value: &Value) -> Value {
    match value {
        Value::Struct(it) => {
            let named = it
                .fields
                .iter()
                .filter_map(|field| field.json.map(|json| (json, as_json(&field.value))));
            named.collect()
        }
        Value::Map(items) => items.iter().map(|(key, item)| (key, as_json(item))).collect(),
        Value::List(items) => Value::List(items.iter().map(as_json).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value() -> Value {
        let state = pb::ContainerState {
            status: pb::ContainerStatus::Exited.into(),
            exit_code: 7,
            ..Default::default()
        };
        let config = pb::ContainerConfig {
            labels: [("tier".to_owned(), "web".to_owned())].into(),
            cmd: vec!["sh".into()],
            ..Default::default()
        };
        let it = pb::Container {
            id: "abc".into(),
            name: "web".into(),
            state: Some(state),
            config: Some(config),
            host: Some(pb::HostConfig {
                network_mode: "none".into(),
                ..Default::default()
            }),
            network: Some(pb::NetworkSettings {
                endpoints: vec![pb::Endpoint {
                    network: "none".into(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        inspect_container::value(&it)
    }

    fn show(format: Option<&str>) -> Result<String> {
        Shape::read(format)?.render(&[value()])
    }

    #[test]
    fn templates_know_go_and_json_names() {
        for (source, want) in [
            ("{{.ID}} {{.Name}}", "abc /web\n"),
            ("{{.Id}}", "abc\n"),
            (
                "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}",
                "exited 7 false\n",
            ),
            ("{{.Config.Labels.tier}} {{.Config.Labels.nope}}", "web <no value>\n"),
            ("{{index .Config.Labels \"tier\"}}", "web\n"),
            ("{{json .Config.Cmd}}", "[\"sh\"]\n"),
            (
                "{{range $net, $it := .NetworkSettings.Networks}}{{$net}}{{end}}",
                "none\n",
            ),
            ("{{.HostConfig.NetworkMode}}", "none\n"),
        ] {
            assert_eq!(show(Some(source)).unwrap(), want, "{source}");
        }
    }

    #[test]
    fn errors_are_docker_s() {
        let why = |source| show(Some(source)).unwrap_err().to_string();
        assert_eq!(
            why("{{.Nope}}"),
            "template parsing error: template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""
        );
        assert_eq!(why("{{.Id"), "template parsing error: template: :1: unclosed action");
    }

    #[test]
    fn the_array_is_indented_by_four_and_keeps_docker_s_order() {
        let text = show(None).unwrap();
        assert!(
            text.starts_with("[\n    {\n        \"Id\": \"abc\",\n        \"Created\": \""),
            "{text}"
        );
        let keys = [
            "Id",
            "Path",
            "State",
            "Image",
            "HostConfig",
            "GraphDriver",
            "Mounts",
            "Config",
            "NetworkSettings",
        ];
        let at = |key: &str| {
            text.find(&format!("\n        \"{key}\": "))
                .unwrap_or_else(|| panic!("{key} is missing"))
        };
        let keys: Vec<usize> = keys.into_iter().map(at).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(Shape::Array.render(&[]).unwrap(), "[]\n");
    }
}
