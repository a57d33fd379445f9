//! Looking into containers, and what is done with many or with their files.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::create::{self, unbuilt};
use crate::model::asked::{Create, Host};
use gantry_engine::{Change, ChangeKind, CommitContainer, UpdateContainer};
use serde_json::{Value, json};

pub async fn top(call: Call) -> Answer {
    let table = call.engine().top(call.name(), call.query.text("ps_args")).await?;
    answer::ok(&json!({ "Processes": table.rows, "Titles": table.titles }))
}

pub async fn changes(call: Call) -> Answer {
    let changes = call.engine().changes(call.name()).await?;
    let one = |change: &Change| {
        let kind = match change.kind {
            ChangeKind::Modified => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        };
        Raw {
            path: change.path.to_string_lossy().into_owned(),
            kind,
        }
    };
    match changes.is_empty() {
        true => answer::ok(&Value::Null),
        false => answer::ok(&changes.iter().map(one).collect::<Vec<_>>()),
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    path: String,
    kind: u8,
}

pub async fn export(call: Call) -> Answer {
    let tar = call.engine().export(call.name()).await?;
    answer::tar(tar).await
}

pub async fn update(mut call: Call) -> Answer {
    let mut asked: Host = call.json().await?;
    if call.since(42) {
        asked.kernel_memory = 0;
    }
    if call.before(40) {
        asked.pids_limit = None;
    }
    unbuilt::refuse_update(&asked)?;
    let number = |value: i64| Some(value).filter(|value| *value != 0);
    let list = |value: &String| Some(value.clone()).filter(|value| !value.is_empty());
    let update = UpdateContainer {
        memory: number(asked.memory),
        memory_swap: number(asked.memory_swap),
        memory_reservation: number(asked.memory_reservation),
        nano_cpus: number(asked.nano_cpus),
        cpu_shares: number(asked.cpu_shares),
        cpu_period: number(asked.cpu_period),
        cpu_quota: number(asked.cpu_quota),
        cpuset_cpus: list(&asked.cpuset_cpus),
        cpuset_mems: list(&asked.cpuset_mems),
        pids_limit: asked.pids_limit,
        cpu_rt_period: number(asked.cpu_rt_period),
        cpu_rt_runtime: number(asked.cpu_rt_runtime),
        blkio_weight: Some(asked.blkio_weight).filter(|weight| *weight != 0),
        restart: match asked.restart.name.is_empty() {
            true => None,
            false => Some(create::host::restart(&asked)?),
        },
    };
    let warnings = call.engine().update(call.name(), update).await?;
    answer::ok(&json!({ "Warnings": Some(warnings).filter(|warnings| !warnings.is_empty()) }))
}

pub async fn commit(mut call: Call) -> Answer {
    let asked: Option<Create> = call.json().await?;
    let config = match asked {
        None => None,
        Some(asked) if asked == Create::default() => None,
        Some(asked) => Some(create::config(asked, Vec::new())?),
    };
    let query = &call.query;
    let mut reference = query.text("repo").to_owned();
    if !reference.is_empty() && !query.text("tag").is_empty() {
        reference = format!("{reference}:{}", query.text("tag"));
    }
    let request = CommitContainer {
        container: query.text("container").to_owned(),
        reference,
        author: query.text("author").to_owned(),
        message: query.text("comment").to_owned(),
        changes: query.all("changes"),
        pause: query.flag_or("pause", true),
        config,
    };
    let id = call.engine().commit(request).await?;
    answer::created(&json!({ "Id": id.to_string() }))
}

pub async fn prune(call: Call) -> Answer {
    let filters = call.filters()?;
    let pruned = call.engine().prune_containers(filters).await?;
    let removed = Some(pruned.removed).filter(|removed| !removed.is_empty());
    answer::ok(&Gone {
        containers: removed,
        space: pruned.space,
    })
}

#[derive(serde::Serialize)]
struct Gone {
    #[serde(rename = "ContainersDeleted")]
    containers: Option<Vec<String>>,
    #[serde(rename = "SpaceReclaimed")]
    space: u64,
}
