//! Networks.

use crate::answer::{self, Answer, Failure};
use crate::call::Call;
use crate::create::{endpoint, optional, text};
use crate::model::{asked, shown};
use crate::time;
use gantry_core::network::{IpamSettings, NetworkRecord, NewNetwork, Pool, PoolRequest};
use gantry_engine::{Connect, Member, NetworkView};
use http::StatusCode;
use serde_json::json;

pub async fn list(call: Call) -> Answer {
    let filters = call.filters()?;
    let all = call.engine().networks(&filters)?;
    // Since 1.28 a list does not say who is in them.
    let brief = call.since(28);
    let shown = all.into_iter().map(|mut view| {
        if brief {
            view.members.clear();
        }
        network(&call, &view)
    });
    answer::ok(&shown.collect::<Vec<_>>())
}

pub async fn inspect(call: Call) -> Answer {
    // Networks of a swarm have more to show; there are none.
    if let Some(text) = call.query.given("verbose").filter(|text| !text.is_empty())
        && !matches!(
            text,
            "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False"
        )
    {
        return Err(Failure::bad(format!(
            "invalid value for verbose: strconv.ParseBool: parsing \"{}\": invalid syntax",
            text.escape_default()
        )));
    }
    let view = call.engine().network(call.name())?;
    let scope = view.record.scope.name();
    let asked = call.query.text("scope");
    if !asked.is_empty() && asked != scope {
        return Err(Failure::new(
            StatusCode::NOT_FOUND,
            format!("network {} not found", call.name()),
        ));
    }
    answer::ok(&network(&call, &view))
}

pub async fn create(mut call: Call) -> Answer {
    let asked: asked::NewNetwork = call.json().await?;
    let new = new(asked)?;
    let record = call.engine().create_network(new).await?;
    answer::created(&json!({ "Id": record.id.to_string(), "Warning": "" }))
}

fn new(asked: asked::NewNetwork) -> Result<NewNetwork, Failure> {
    for (set, name) in [(asked.ingress, "Ingress"), (asked.config_only, "ConfigOnly")] {
        if set {
            return Err(Failure::unbuilt(name));
        }
    }
    if asked.config_from.is_some_and(|from| !from.network.is_empty()) {
        return Err(Failure::unbuilt("ConfigFrom"));
    }
    if !matches!(asked.scope.as_str(), "" | "local" | "global") {
        return Err(Failure::unbuilt(&format!("Scope {}", asked.scope)));
    }
    let ipam = asked.ipam.unwrap_or_default();
    Ok(NewNetwork {
        name: text("Name", asked.name)?,
        driver: text("Driver", asked.driver)?,
        pools: ipam.config.into_iter().map(pool).collect::<Result<_, _>>()?,
        ipam: IpamSettings {
            driver: ipam.driver,
            options: ipam.options,
            configured: false,
        },
        ipv4: asked.ipv4,
        ipv6: asked.ipv6,
        internal: asked.internal,
        attachable: asked.attachable,
        options: asked.options,
        labels: asked.labels.into_iter().collect(),
    })
}

fn pool(asked: asked::IpamPool) -> Result<PoolRequest, Failure> {
    let auxiliary = asked.auxiliary.into_iter().map(|(name, text)| {
        let address = text
            .parse()
            .map_err(|_| Failure::bad(format!("invalid auxiliary address {text}")))?;
        Ok((name, address))
    });
    Ok(PoolRequest {
        subnet: optional("subnet", &asked.subnet)?,
        range: optional("ip-range", &asked.range)?,
        gateway: optional("gateway address", &asked.gateway)?,
        auxiliary: auxiliary.collect::<Result<_, Failure>>()?,
    })
}

pub async fn connect(mut call: Call) -> Answer {
    let asked: asked::Connect = call.json().await?;
    let wish = Connect {
        network: call.name().to_owned(),
        container: asked.container,
        settings: endpoint(&asked.settings.unwrap_or_default())?,
    };
    call.engine().connect_network(wish).await?;
    answer::done()
}

pub async fn disconnect(mut call: Call) -> Answer {
    let asked: asked::Disconnect = call.json().await?;
    call.engine()
        .disconnect_network(call.name(), &asked.container, asked.force)
        .await?;
    answer::done()
}

pub async fn remove(call: Call) -> Answer {
    call.engine().remove_network(call.name()).await?;
    answer::no_content()
}

pub async fn prune(call: Call) -> Answer {
    let filters = call.filters()?;
    let removed = call.engine().prune_networks(filters).await?;
    let removed = Some(removed).filter(|removed| !removed.is_empty());
    answer::ok(&json!({ "NetworksDeleted": removed }))
}

fn network(call: &Call, view: &NetworkView) -> shown::Network {
    let record: &NetworkRecord = &view.record;
    shown::Network {
        name: record.name.clone(),
        id: record.id.to_string(),
        created: time::nano(record.created_at),
        scope: record.scope.name(),
        driver: record.driver.clone(),
        ipv4: call.since(48).then_some(record.ipv4),
        ipv6: record.ipv6,
        ipam: shown::Ipam {
            driver: match record.ipam.driver.as_str() {
                "" => "default".to_owned(),
                other => other.to_owned(),
            },
            options: record.ipam.options.clone(),
            config: record.pools.iter().map(shown_pool).collect(),
        },
        internal: record.internal,
        attachable: record.attachable,
        ingress: false,
        config_from: shown::ConfigFrom { network: "" },
        config_only: false,
        containers: view.members.iter().map(member).collect(),
        options: record.options.clone(),
        labels: record.labels.clone().into_iter().collect(),
    }
}

fn shown_pool(pool: &Pool) -> shown::IpamPool {
    shown::IpamPool {
        subnet: pool.subnet.to_string(),
        range: pool.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: pool.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary: pool
            .auxiliary
            .iter()
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect(),
    }
}

fn member(member: &Member) -> (String, shown::Member) {
    let endpoint = &member.endpoint;
    let shown = shown::Member {
        name: member.name.clone(),
        endpoint: endpoint.id.clone(),
        mac: endpoint.mac.to_string(),
        ipv4: endpoint.ipv4.map(|net| net.to_string()).unwrap_or_default(),
        ipv6: endpoint.ipv6.map(|net| net.to_string()).unwrap_or_default(),
    };
    (member.container.to_string(), shown)
}
