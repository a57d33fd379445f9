//! `POST /containers/create`: the body becomes the engine's words. What the engine does not obey is refused by its name.

pub mod host;
mod limits;
mod mounts;
pub mod unbuilt;
mod versions;

use crate::answer::{self, Answer, Failure};
use crate::call::Call;
use crate::images;
use crate::model::asked::{Create, Endpoint, EndpointIpam, Health, Host};
use gantry_core::ErrorKind;
use gantry_core::container::{ContainerConfig, HealthCheck, NetworkMode};
use gantry_core::network::EndpointSettings;
use gantry_engine::CreateContainer;
use gantry_image::Platform;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::str::FromStr;

pub async fn create(mut call: Call) -> Answer {
    let (lifted, asked) = body(&mut call).await?;
    if lifted == Value::Null {
        return Err(Failure::bad("config cannot be empty in order to create a container"));
    }
    if asked.image.is_empty() && asked.cmd.0.is_none() && asked.entrypoint.0.is_none() {
        return Err(Failure::bad("no command specified"));
    }
    platform(&call, &asked.image).await?;
    let request = request(&call, asked)?;
    let created = call.engine().create(request).await?;
    answer::created(&json!({ "Id": created.id.to_string(), "Warnings": created.warnings }))
}

/// The body, and as it was read. Engines of old knew the fields of `HostConfig` at its top; they are read there when it is absent.
async fn body(call: &mut Call) -> Result<(Value, Create), Failure> {
    use crate::json::Wire;
    let value: Value = call.must_json().await?;
    let bad = |message: String| Failure::bad(format!("invalid JSON: {message}"));
    let mut asked = Create::read(value.clone(), "").map_err(bad)?;
    if asked.host.is_none() && value.is_object() {
        asked.host = Some(Host::read(value.clone(), "").map_err(bad)?);
    }
    let empty = matches!(&value, Value::Object(map) if map.is_empty());
    Ok((if empty { Value::Null } else { value }, asked))
}

/// The image must be for the platform that is asked for. One that is not here is told of later.
async fn platform(call: &Call, image: &str) -> Result<(), Failure> {
    let text = call.query.text("platform");
    if text.is_empty() {
        return Ok(());
    }
    let wanted = Platform::parse(text)?;
    match call.engine().image(image).await {
        Ok(found) => images::for_platform(image, &found, wanted),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn request(call: &Call, mut asked: Create) -> Result<CreateContainer, Failure> {
    let mut host = asked.host.clone().unwrap_or_default();
    versions::as_of(call.version, &mut asked, &mut host)?;
    unbuilt::refuse(&host)?;
    let networks = networks(call, &asked)?;
    let (mut lent, anonymous) = host::translate(&host)?;
    if call.before(44) {
        // Read-only binds were so at their top only.
        for bind in &mut lent.binds {
            bind.shallow_read_only = true;
        }
    }
    if asked.network_disabled {
        lent.network_mode = NetworkMode::None;
    }
    lent.mac_address = optional("MacAddress", &asked.mac_address)?;
    Ok(CreateContainer {
        name: call.query.text("name").to_owned(),
        config: config(asked, anonymous)?,
        host: lent,
        networks,
    })
}

/// A zero byte ends a text for the kernel, so what stands behind it would be lost.
pub fn text(field: &str, value: String) -> Result<String, Failure> {
    match value.contains('\0') {
        true => Err(Failure::bad(format!("invalid {field}: contains a zero byte"))),
        false => Ok(value),
    }
}

pub fn texts(field: &str, values: Vec<String>) -> Result<Vec<String>, Failure> {
    values.into_iter().map(|value| text(field, value)).collect()
}

/// Empty = not given.
pub fn optional<T: FromStr>(field: &str, text: &str) -> Result<Option<T>, Failure> {
    match text {
        "" => Ok(None),
        text => match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Failure::bad(format!("invalid {field}: {text}"))),
        },
    }
}

pub fn env(values: Vec<String>) -> Result<Vec<String>, Failure> {
    for value in &values {
        if value.is_empty() || value.starts_with('=') {
            return Err(Failure::bad(format!("invalid environment variable: {value}")));
        }
    }
    texts("Env", values)
}

fn health(asked: Health) -> HealthCheck {
    HealthCheck {
        test: asked.test,
        interval: asked.interval,
        timeout: asked.timeout,
        start_period: asked.start_period,
        start_interval: asked.start_interval,
        retries: asked.retries,
        exit_on_unhealthy: asked.exit_on_unhealthy,
    }
}

/// The configuration alone, as a commit takes it.
pub fn config(asked: Create, anonymous: Vec<String>) -> Result<ContainerConfig, Failure> {
    let mut volumes: Vec<String> = asked.volumes.into_keys().collect();
    volumes.extend(anonymous);
    Ok(ContainerConfig {
        hostname: text("Hostname", asked.hostname)?,
        domainname: text("Domainname", asked.domainname)?,
        user: text("User", asked.user)?,
        attach_stdin: asked.attach_stdin,
        attach_stdout: asked.attach_stdout,
        attach_stderr: asked.attach_stderr,
        tty: asked.tty,
        open_stdin: asked.open_stdin,
        stdin_once: asked.stdin_once,
        env: env(asked.env)?,
        cmd: texts("Cmd", asked.cmd.0.unwrap_or_default())?,
        entrypoint: asked.entrypoint.0.map(|words| texts("Entrypoint", words)).transpose()?,
        image: text("Image", asked.image)?,
        labels: asked.labels.into_iter().collect(),
        working_dir: text("WorkingDir", asked.working_dir)?,
        stop_signal: asked.stop_signal,
        stop_timeout: asked.stop_timeout,
        exposed_ports: asked.exposed_ports.into_keys().collect(),
        volumes: texts("Volumes", volumes)?,
        healthcheck: asked.healthcheck.map(health),
        on_build: texts("OnBuild", asked.on_build)?,
        shell: texts("Shell", asked.shell.0.unwrap_or_default())?,
    })
}

fn networks(call: &Call, asked: &Create) -> Result<BTreeMap<String, EndpointSettings>, Failure> {
    let endpoints = &asked.networking.endpoints;
    if call.before(44) && endpoints.len() > 1 {
        let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
        return Err(Failure::bad(format!(
            "Container cannot be created with multiple network endpoints: {}",
            names.join(", ")
        )));
    }
    let one = |(name, settings): (&String, &Option<Endpoint>)| {
        let settings = endpoint(&settings.clone().unwrap_or_default())?;
        Ok((text("EndpointsConfig", name.clone())?, settings))
    };
    // "default" is the network of the mode that is called so.
    let named = endpoints.iter().map(one).collect::<Result<BTreeMap<_, _>, Failure>>()?;
    Ok(named
        .into_iter()
        .map(|(name, settings)| match name.as_str() {
            "default" => ("bridge".to_owned(), settings),
            _ => (name, settings),
        })
        .collect())
}

/// What a container asks of one network.
pub fn endpoint(asked: &Endpoint) -> Result<EndpointSettings, Failure> {
    let ipam: EndpointIpam = asked.ipam.clone().unwrap_or_default();
    Ok(EndpointSettings {
        ipv4: optional("IPv4 address", &ipam.ipv4)?,
        ipv6: optional("IPv6 address", &ipam.ipv6)?,
        link_local: ipam
            .link_local
            .iter()
            .filter_map(|text| optional("link-local IP address", text).transpose())
            .collect::<Result<_, _>>()?,
        mac: optional("MAC address", &asked.mac_address)?,
        aliases: texts("Aliases", asked.aliases.clone())?,
        links: texts("Links", asked.links.clone())?,
        driver_options: asked.driver_opts.clone(),
        gateway_priority: asked.gateway_priority,
    })
}
