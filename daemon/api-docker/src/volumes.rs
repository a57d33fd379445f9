//! Volumes.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::create::text;
use crate::inspect::text as shown_path;
use crate::json::wire;
use crate::time;
use gantry_engine::{NewVolume, VolumeView};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

wire! {
    Asked = "volume.CreateOptions" {
        name: String = "Name",
        driver: String = "Driver",
        options: BTreeMap<String, String> = "DriverOpts",
        labels: BTreeMap<String, String> = "Labels",
        cluster: Option<Value> = "ClusterVolumeSpec",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Shown {
    created_at: String,
    driver: String,
    labels: Option<BTreeMap<String, String>>,
    mountpoint: String,
    name: String,
    options: Option<BTreeMap<String, String>>,
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_data: Option<Usage>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Usage {
    ref_count: usize,
    size: i64,
}

/// `measured`: with how much is in it, -1 where that is not known.
pub fn shown(view: &VolumeView, measured: bool) -> Shown {
    let record = &view.record;
    let some = |table: BTreeMap<String, String>| Some(table).filter(|table| !table.is_empty());
    Shown {
        created_at: time::seconds(record.created_at),
        driver: record.driver.clone(),
        labels: some(record.labels.clone().into_iter().collect()),
        mountpoint: shown_path(&view.path),
        name: record.name.clone(),
        options: some(record.options.clone()),
        scope: "local",
        usage_data: measured.then(|| Usage {
            ref_count: view.users.len(),
            size: view.size.map_or(-1, crate::list::bytes),
        }),
    }
}

pub async fn list(call: Call) -> Answer {
    let filters = call.filters()?;
    let views = call.engine().volumes(&filters)?;
    let volumes: Vec<Shown> = views.iter().map(|view| shown(view, false)).collect();
    answer::ok(&json!({ "Volumes": volumes, "Warnings": Value::Null }))
}

pub async fn create(mut call: Call) -> Answer {
    let asked: Asked = call.json().await?;
    if asked.cluster.is_some() {
        return crate::absent::manager(call).await;
    }
    let new = NewVolume {
        name: text("Name", asked.name)?,
        driver: asked.driver,
        options: asked.options,
        labels: asked.labels.into_iter().collect(),
    };
    let made = call.engine().create_volume(new).await?;
    let view = call.engine().volume(&made.name)?;
    answer::created(&shown(&view, false))
}

pub async fn inspect(call: Call) -> Answer {
    let view = call.engine().volume(call.name())?;
    answer::ok(&shown(&view, false))
}

pub async fn remove(call: Call) -> Answer {
    call.engine()
        .remove_volume(call.name(), call.query.flag("force"))
        .await?;
    answer::no_content()
}

/// Before 1.42 those with a name went, too.
pub async fn prune(call: Call) -> Answer {
    let mut filters = call.filters()?;
    if call.before(42) {
        filters.0.insert("all".to_owned(), vec!["true".to_owned()]);
    }
    let pruned = call.engine().prune_volumes(filters).await?;
    answer::ok(&json!({ "SpaceReclaimed": pruned.space, "VolumesDeleted": pruned.removed }))
}
