//! The daemon itself: `_ping`, `version`, `system/df`.

use crate::answer::{self, Answer, Body, Failure};
use crate::call::Call;
use crate::{NEWEST, OLDEST, images, list, volumes};
use gantry_engine::{ImageSummary, ImageUsage, Measure};
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue, PRAGMA};
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The runtime that is built in.
pub const RUNTIME: &str = "io.containerd.gantry.v1";

pub async fn ping(_: Call) -> Answer {
    Ok(pong("OK"))
}

/// The same without its body.
pub async fn ping_head(_: Call) -> Answer {
    Ok(pong(""))
}

fn pong(text: &'static str) -> Response<Body> {
    let mut response = answer::text(StatusCode::OK, text);
    let headers = response.headers_mut();
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(
        HeaderName::from_static("builder-version"),
        HeaderValue::from_static("1"),
    );
    headers.insert(HeaderName::from_static("swarm"), HeaderValue::from_static("inactive"));
    response
}

pub async fn version(call: Call) -> Answer {
    let config = call.engine().config();
    let (arch, kernel) = (call.engine().facts().arch.clone(), line("/proc/sys/kernel/osrelease"));
    let details = BTreeMap::from([
        ("ApiVersion", NEWEST.to_owned()),
        ("Arch", arch.clone()),
        ("BuildTime", String::new()),
        ("Experimental", "false".to_owned()),
        ("GitCommit", config.git_commit.clone()),
        ("GoVersion", String::new()),
        ("KernelVersion", kernel.clone()),
        ("MinAPIVersion", OLDEST.to_owned()),
        ("Os", "linux".to_owned()),
    ]);
    answer::ok(&Version {
        platform: Platform { name: "gantry" },
        components: vec![Component {
            name: "Engine",
            version: config.version.clone(),
            details,
        }],
        version: config.version.clone(),
        api_version: NEWEST,
        min_api: OLDEST,
        git_commit: config.git_commit.clone(),
        go_version: "",
        os: "linux",
        arch,
        kernel_version: kernel,
        build_time: "",
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    platform: Platform,
    components: Vec<Component>,
    version: String,
    api_version: &'static str,
    #[serde(rename = "MinAPIVersion")]
    min_api: &'static str,
    git_commit: String,
    go_version: &'static str,
    os: &'static str,
    arch: String,
    kernel_version: String,
    build_time: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Platform {
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    name: &'static str,
    version: String,
    details: BTreeMap<&'static str, String>,
}

pub fn line(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

pub fn host_name() -> String {
    line("/proc/sys/kernel/hostname")
}

/// What takes up space. Layers that several images share are counted once for the whole.
pub async fn disk(call: Call) -> Answer {
    let kinds = call.query.all("type");
    let known = ["container", "image", "volume", "build-cache"];
    if let Some(other) = kinds.iter().find(|kind| !known.contains(&kind.as_str())) {
        return Err(Failure::bad(format!("unknown object type: {other}")));
    }
    let wanted = |kind: &str| kinds.is_empty() || kinds.iter().any(|asked| asked == kind);
    let measure = Measure {
        images: wanted("image"),
        containers: wanted("container"),
        volumes: wanted("volume"),
    };
    let usage = call.engine().usage(measure).await?;
    let image = |one: &ImageUsage| {
        let row = ImageSummary {
            image: one.image.clone(),
            containers: one.containers,
        };
        let mut shown = images::summary(&call, &row, true);
        shown.shared_size = list::bytes(one.shared);
        shown
    };
    answer::ok(&Disk {
        layers_size: list::bytes(usage.layers),
        // What was not asked for is not there, and not empty.
        images: wanted("image").then(|| usage.images.iter().map(image).collect()),
        containers: wanted("container").then(|| {
            let rows = usage.containers.iter();
            rows.map(|row| list::summary(&call, row)).collect()
        }),
        volumes: wanted("volume").then(|| {
            let views = usage.volumes.iter();
            views.map(|view| volumes::shown(view, true)).collect()
        }),
        build_cache: wanted("build-cache").then(Vec::new),
        builder_size: call.before(42).then_some(0),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Disk {
    layers_size: i64,
    images: Option<Vec<crate::model::shown::ImageRow>>,
    containers: Option<Vec<crate::model::shown::Summary>>,
    volumes: Option<Vec<volumes::Shown>>,
    build_cache: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    builder_size: Option<i64>,
}
