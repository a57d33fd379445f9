//! Every method of every service of containerd's API, called on a real daemon with real state: each once as it is meant to be
//! called, and once so that it has to be refused, with the code and words in which it is.
//!
//! The descriptors say which methods there are. One without an entry here fails the test, an entry without a method
//! too, and so does an entry that does not call its method. No method may be unimplemented but those that containerd's own
//! clients know how to do without.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]
#![allow(
    clippy::needless_update,
    reason = "the macros make requests of more fields and of fewer"
)]

mod bad;
mod bed;
mod content;
mod controller;
mod diff;
mod images;
mod leases;
mod mounts;
mod records;
mod snapshots;
mod streams;
mod tasks;
mod telling;

use bed::{Bed, Entry};
use futures::FutureExt;
use gantry_proto_containerd::FILE_DESCRIPTOR_SET;
use gantry_proto_containerd::prost::Message;
use gantry_proto_containerd::prost_types::FileDescriptorSet;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use tonic::Code;

/// The one service that shims call, on a socket of their own.
const FORWARD: &str = "containerd.services.events.ttrpc.v1.Events/Forward";

/// What may answer that it is not implemented, whatever is asked of it (containerd's clients go another way then), and what
/// may say so of some of what it is asked.
const MAY_BE_UNIMPLEMENTED: [&str; 4] = [
    "containerd.services.diff.v1.Diff/",
    "containerd.services.leases.v1.Leases/AddResource",
    "containerd.services.snapshots.v1.Snapshots/Cleanup",
    "containerd.services.transfer.v1.Transfer/Transfer",
];

fn entries() -> Vec<Entry> {
    let mut all = Vec::new();
    for some in [
        telling::entries(),
        records::entries(),
        content::entries(),
        leases::entries(),
        images::entries(),
        snapshots::entries(),
        diff::entries(),
        streams::entries(),
        tasks::entries(),
        mounts::entries(),
        controller::entries(),
    ] {
        all.extend(some);
    }
    all
}

/// The methods of every service in the descriptors.
fn methods() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut all = BTreeSet::from([FORWARD.to_owned()]);
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            all.extend(service.method.iter().map(|method| format!("{name}/{}", method.name())));
        }
    }
    all
}

#[test]
fn each_method_has_one_entry() {
    let mut count: BTreeMap<String, usize> = methods().into_iter().map(|method| (method, 0)).collect();
    assert!(count.len() > 80, "the descriptors are whole: {}", count.len());
    for entry in entries() {
        let known = count.get_mut(&entry.method);
        *known.unwrap_or_else(|| panic!("there is no method {}", entry.method)) += 1;
    }
    let odd: Vec<_> = count.iter().filter(|(_, count)| **count != 1).collect();
    assert!(odd.is_empty(), "methods without an entry, or with several: {odd:#?}");
}

#[test]
fn every_method_does_what_it_should_and_refuses_what_it_must() {
    let (house, runtime) = bed::start();
    let failed = runtime.block_on(async {
        let bed = Bed::new(&house).await;
        let mut failed = Vec::new();
        let all = entries();
        println!("{} methods", all.len());
        for entry in all {
            if let Err(why) = one(&bed, &entry).await {
                println!("{}: {why}", entry.method);
                failed.push(format!("{}: {why}", entry.method));
            }
        }
        bed.clear().await;
        failed
    });
    drop(runtime);
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    drop(house);
}

/// Runs both cases of an entry.
async fn one(bed: &Bed, entry: &Entry) -> Result<(), String> {
    let begun = std::time::Instant::now();
    let _ = bed.connection.heard();
    let done = AssertUnwindSafe((entry.does)(bed)).catch_unwind().await;
    done.map_err(|panic| format!("does not succeed: {}", said(panic.as_ref())))?;
    if !bed.connection.heard().contains(&entry.method) {
        return Err("the entry succeeds without calling it".to_owned());
    }
    let _ = bed.connection.heard();
    let refused = AssertUnwindSafe((entry.refuses)(bed)).catch_unwind().await;
    let refused = refused.map_err(|panic| format!("is not refused: {}", said(panic.as_ref())))?;
    if !bed.connection.heard().contains(&entry.method) {
        return Err("the entry is refused without calling it".to_owned());
    }
    let status = refused.err().ok_or("is not refused")?;
    if status.code() != entry.code || !status.message().contains(entry.words) {
        return Err(format!(
            "answers {:?} {:?} and not {:?} {:?}",
            status.code(),
            status.message(),
            entry.code,
            entry.words
        ));
    }
    let may = MAY_BE_UNIMPLEMENTED.iter().any(|name| entry.method.starts_with(name));
    if entry.code == Code::Unimplemented && !may {
        return Err("is not implemented".to_owned());
    }
    println!(
        "{}: {:?}; {:?} {:?}",
        entry.method,
        begun.elapsed(),
        status.code(),
        status.message()
    );
    Ok(())
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}
