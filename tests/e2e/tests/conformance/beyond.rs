//! What only a client of the services can see: leases in headers, messages out of their order, filters, what a restart leaves.

mod content;
mod snapshots;

use crate::remote::Place;
use gantry_e2e::client::Caller;
use gantry_proto_containerd::services::leases::v1 as leases;
use std::collections::BTreeMap;
use tonic::{Code, Status};

type Scenario = fn(&mut Place);

const SCENARIOS: [(&str, Scenario); 18] = [
    (
        "content: expected bytes that are there are leased",
        content::existing_is_leased,
    ),
    (
        "content: a commit of what is there is leased",
        content::commit_of_existing_is_leased,
    ),
    (
        "content: bytes that came meanwhile end the write, and are leased",
        content::came_meanwhile,
    ),
    ("content: a blob that lost its bytes is sent again", content::healed),
    (
        "content: a wrong offset is refused, and the ingest goes on",
        content::wrong_offset,
    ),
    ("content: a first message without a reference", content::no_reference),
    ("content: a malformed digest", content::malformed_digest),
    ("content: a negative total", content::negative_total),
    ("content: a large message", content::large_message),
    ("content: an unknown lease", content::unknown_lease),
    ("content: over-long labels of a commit", content::long_labels),
    (
        "content: a killed daemon's ingest is resumed",
        content::resumed_after_kill,
    ),
    ("content: reads at the edges", content::reads),
    (
        "snapshots: an existing key is leased",
        snapshots::existing_key_is_leased,
    ),
    ("snapshots: a target that is there", snapshots::target_there),
    ("snapshots: filters", snapshots::filters),
    ("snapshots: masks", snapshots::masks),
    (
        "snapshots: an unknown lease leaves nothing",
        snapshots::unknown_lease_of_snapshot,
    ),
];

#[test]
fn scenarios_of_clients() {
    let mut place = Place::new();
    for (name, scenario) in SCENARIOS {
        println!("{name}");
        scenario(&mut place);
    }
    println!("beyond the suites: {} scenarios", SCENARIOS.len());
}

async fn lease(caller: &Caller, id: &str) -> Caller {
    let request = leases::CreateRequest {
        id: id.to_owned(),
        ..leases::CreateRequest::default()
    };
    caller.leases().create(request).await.unwrap();
    caller.under(id)
}

/// What a lease holds, as `type id`.
async fn held(caller: &Caller, id: &str) -> Vec<String> {
    let request = leases::ListResourcesRequest { id: id.to_owned() };
    let found = caller
        .leases()
        .list_resources(request)
        .await
        .unwrap()
        .into_inner()
        .resources;
    found
        .into_iter()
        .map(|one| format!("{} {}", one.r#type, one.id))
        .collect()
}

#[track_caller]
fn refused<T>(result: Result<T, Status>, code: Code, words: &str) {
    let status = result.err().expect("it has to be refused");
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(words), "{status}");
}

fn pairs(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let each = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    each.collect()
}
