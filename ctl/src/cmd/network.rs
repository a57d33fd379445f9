//! `network` and what is under it, but `inspect`.

use std::sync::Arc;

use gantry_proto::gantry::v1 as pb;

use super::prune::confirmed;
use super::{Outcome, each};
use crate::cli::flag::parse_bool;
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::format::{Format, natural, row, short_id, time};
use crate::template::{Struct, Value};
use crate::{opts, out};

const TITLES: &[(&str, &str)] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];
const TABLE: &str = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.";

pub(crate) async fn create(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let given = |name: &str| parsed.text(name).and_then(parse_bool);
    let request = pb::CreateNetworkRequest {
        name: parsed.arg(0).to_owned(),
        driver: parsed.text("driver").unwrap_or_default().to_owned(),
        ipam: Some(opts::ipam(&parsed)?),
        ipv4: given("ipv4"),
        ipv6: given("ipv6"),
        internal: parsed.on("internal"),
        attachable: parsed.on("attachable"),
        options: opts::pairs(parsed.all("opt")),
        labels: opts::pairs(parsed.all("label")),
    };
    let created = daemon.take(daemon.networks().create(request).await)?;
    out::line(created.id);
    Ok(0)
}

pub(crate) async fn list(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let request = pb::ListNetworksRequest {
        filters: opts::filters(parsed.all("filter"))?,
    };
    let format = match parsed.on("quiet") {
        true if parsed.text("format").is_none() => Format::Raw("{{.ID}}".to_owned()),
        _ => Format::parse(parsed.text("format"), TABLE),
    };
    // A template that does not parse is said before the daemon is asked.
    format.render(TITLES, &[])?;
    let mut networks = daemon.take(daemon.networks().list(request).await)?.networks;
    networks.sort_by(|a, b| natural::compare(&a.name, &b.name));
    let short = !parsed.on("no-trunc");
    let rows: Vec<Value> = networks.iter().map(|it| network(it, short)).collect();
    out::put(format.render(TITLES, &rows)?);
    Ok(0)
}

fn network(it: &pb::Network, short: bool) -> Value {
    let created = time::from_wire(it.created_at.as_ref()).unwrap_or_default();
    let mut labels: Vec<String> = it
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    labels.sort_unstable();
    let by_name = it.labels.clone();
    let label = move |args: &[Value]| match args {
        [Value::Str(name)] => Ok(Value::from(by_name.get(name).map_or("", String::as_str))),
        _ => Err(format!("wrong number of args for Label: want 1 got {}", args.len())),
    };
    row(Struct::new("*network.networkContext")
        .with("ID", if short { short_id(&it.id) } else { it.id.clone() })
        .with("Name", &it.name)
        .with("Driver", &it.driver)
        .with("Scope", &it.scope)
        .with("IPv4", it.ipv4.to_string())
        .with("IPv6", it.ipv6.to_string())
        .with("Internal", it.internal.to_string())
        .with("Labels", labels.join(","))
        .with("CreatedAt", time::go_string_nano(created))
        .json_as("Label", None, Value::Method(Arc::new(label))))
}

pub(crate) async fn remove(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let force = parsed.on("force");
    each(&parsed.args, |network| {
        let daemon = daemon.clone();
        async move {
            let request = pb::RemoveNetworkRequest { network };
            match daemon.take(daemon.networks().remove(request).await) {
                Ok(_) => Ok(Outcome::Done),
                // With --force what is gone already is as wanted.
                Err(err) if force && err.is_not_found() => Ok(Outcome::Nothing),
                Err(err) => Err(err),
            }
        }
    })
    .await
}

pub(crate) async fn prune(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let filters = opts::filters(parsed.all("filter"))?;
    if !parsed.on("force") && !confirmed(WARNING)? {
        return Err(Error::refused("network prune has been cancelled"));
    }
    let removed = daemon
        .take(daemon.networks().prune(pb::PruneNetworksRequest { filters }).await)?
        .removed;
    out::put(pruned(&removed));
    Ok(0)
}

pub(super) fn pruned(removed: &[String]) -> String {
    if removed.is_empty() {
        return String::new();
    }
    let names: String = removed.iter().map(|name| format!("{name}\n")).collect();
    format!("Deleted Networks:\n{names}\n")
}

pub(crate) async fn connect(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let request = pb::ConnectNetworkRequest {
        network: parsed.arg(0).to_owned(),
        container: parsed.arg(1).to_owned(),
        settings: Some(opts::endpoint(&parsed)?),
    };
    daemon.take(daemon.networks().join(request).await)?;
    Ok(0)
}

pub(crate) async fn disconnect(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let request = pb::DisconnectNetworkRequest {
        network: parsed.arg(0).to_owned(),
        container: parsed.arg(1).to_owned(),
        force: parsed.on("force"),
    };
    daemon.take(daemon.networks().leave(request).await)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> pb::Network {
        pb::Network {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            scope: "local".into(),
            driver: "bridge".into(),
            ipv4: true,
            labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            ..pb::Network::default()
        }
    }

    fn show(format: Option<&str>) -> String {
        Format::parse(format, TABLE)
            .render(TITLES, &[network(&sample(), true)])
            .unwrap()
    }

    #[test]
    fn the_table_is_docker_s() {
        assert_eq!(
            show(None),
            "NETWORK ID     NAME      DRIVER    SCOPE\n0123456789ab   web       bridge    local\n"
        );
        assert_eq!(
            show(Some("{{.IPv4}} {{.IPv6}} {{.Internal}} {{.Labels}} {{.Label \"a\"}}")),
            "true false false a=1,b=2 1\n"
        );
        let json = show(Some("json"));
        assert!(json.starts_with("{\"CreatedAt\":\"1970-01-01 "), "{json}");
        assert!(
            json.ends_with(
                ",\"Driver\":\"bridge\",\"ID\":\"0123456789ab\",\"IPv4\":\"true\",\"IPv6\":\"false\",\"Internal\":\"false\",\
                 \"Labels\":\"a=1,b=2\",\"Name\":\"web\",\"Scope\":\"local\"}\n"
            ),
            "{json}"
        );
    }

    #[test]
    fn prune_names_what_is_gone() {
        assert_eq!(pruned(&["a".into(), "b".into()]), "Deleted Networks:\na\nb\n\n");
        assert_eq!(pruned(&[]), "");
    }
}
